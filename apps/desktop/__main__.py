"""A desktop in a browser, of one VO on one site."""

import pulumi

from primage.components.app import this_app
from primage.components.sessions.desktop import desktop
from primage.components.sessions.session import Session
from primage.components.sessions.session_settings import DesktopSettings
from primage.components.settings import load_settings

app = this_app("desktop")
settings = load_settings("desktop", DesktopSettings)
session = Session(settings, desktop(settings), app)

pulumi.export("session", session.address)
