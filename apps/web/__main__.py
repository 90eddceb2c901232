"""A folder's files behind NGINX, of one VO on one site."""

import pulumi

from primage.stacks.app import this_app
from primage.stacks.nginx import nginx
from primage.stacks.session import Session
from primage.stacks.session_settings import WebSettings
from primage.stacks.settings import load_settings

app = this_app("web")
settings = load_settings("web", WebSettings)
session = Session(settings, nginx(settings), app)

pulumi.export("session", session.address)
