"""Settings of the notebook app: the schema of `primage-notebook:notebook`."""

from primage.stacks.session_settings import NotebookSettings

MODELS = {"notebook": NotebookSettings}
