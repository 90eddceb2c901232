"""Settings of the web app: the schema of `primage-web:web`."""

from primage.components.sessions.session_settings import WebSettings

MODELS = {"web": WebSettings}
