"""A Jupyter notebook, of one VO on one site."""

import pulumi

from primage.components.app import this_app
from primage.components.sessions.jupyter import jupyter
from primage.components.sessions.session import Session
from primage.components.sessions.session_settings import NotebookSettings
from primage.components.settings import load_settings

app = this_app("notebook")
settings = load_settings("notebook", NotebookSettings)
session = Session(settings, jupyter(settings), app)

pulumi.export("session", session.address)
