"""High-throughput computing over a queue of arguments (Segrelles Quilis et al. 2022, section 4.1.5).

A producer pushes arguments, any number of consumers run a command for each. An argument is acknowledged after success,
handed out again when its consumer dies, tried a limited number of times, and kept with the reason when it fails for good.
"""

__version__ = "0.1.0"
