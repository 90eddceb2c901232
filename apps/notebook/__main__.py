"""A Jupyter notebook, of one VO on one site."""

import pulumi

from primage.stacks.app import this_app
from primage.stacks.jupyter import jupyter
from primage.stacks.session import Session
from primage.stacks.session_settings import NotebookSettings
from primage.stacks.settings import load_settings

app = this_app("notebook")
settings = load_settings("notebook", NotebookSettings)
session = Session(settings, jupyter(settings), app)

pulumi.export("session", session.address)
