"""A folder's files behind NGINX, of one VO on one site."""

import pulumi

from primage.components.app import this_app
from primage.components.sessions.nginx import nginx
from primage.components.sessions.session import Session
from primage.components.sessions.session_settings import WebSettings
from primage.components.settings import load_settings

app = this_app("web")
settings = load_settings("web", WebSettings)
session = Session(settings, nginx(settings), app)

pulumi.export("session", session.address)
