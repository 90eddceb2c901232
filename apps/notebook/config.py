"""Settings of the notebook app: the schema of `primage-notebook:notebook`."""

from primage.components.sessions.session_settings import NotebookSettings

MODELS = {"notebook": NotebookSettings}
