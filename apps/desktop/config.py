"""Settings of the desktop app: the schema of `primage-desktop:desktop`."""

from primage.components.sessions.session_settings import DesktopSettings

MODELS = {"desktop": DesktopSettings}
