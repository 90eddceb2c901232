"""primage: a federated cloud for medical imaging research, declared site by site."""

__version__ = "0.1.0"
