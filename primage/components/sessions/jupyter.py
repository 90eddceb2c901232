"""A Jupyter server as a session serves it."""

from __future__ import annotations

from urllib.parse import quote

from primage.components.sessions.session import BASE_PATH, HOST, TOKEN_FILE, Serving
from primage.components.sessions.session_settings import NotebookSettings

PORT = 8888
PROBE = f"import os, urllib.request as u; u.urlopen('http://127.0.0.1:8888' + os.environ['{BASE_PATH}'] + 'api', timeout=5)"

SCRIPT = f"""
# Where a login stands before it, it has no token; what keeps pages of other origins out stays as it is.
if [ -n "${TOKEN_FILE}" ]; then export JUPYTER_TOKEN_FILE="${TOKEN_FILE}"; else set -- "$@" --IdentityProvider.token=; fi
python3 -m jupyterlab "$@" &
server=$!
# Something outside ended it; it did not end by itself. The Job then starts it again.
trap 'kill -TERM $server 2> /dev/null; wait $server; exit 143' TERM
wait $server
"""


def jupyter(settings: NotebookSettings) -> Serving:
    """JupyterLab on the loopback, showing everything below MOUNT_POINT; it ends itself when it has been idle.

    Its options: https://jupyter-server.readthedocs.io/en/latest/other/full-config.html
    """
    idle = settings.idle_seconds
    options = {
        "ServerApp.ip": "127.0.0.1",
        "ServerApp.port": PORT,
        "ServerApp.port_retries": 0,
        "ServerApp.open_browser": False,
        "ServerApp.base_url": f"$({BASE_PATH})",
        # Beside the loopback's: a page that reaches it by another name is refused.
        "ServerApp.local_hostnames": f"$({HOST})",
        # Kubernetes itself puts the variable in: the program need not know the site.
        "ServerApp.root_dir": "$(MOUNT_POINT)",
        # First idle kernels and terminals go, also those a forgotten browser tab still shows; then the server.
        "ServerApp.shutdown_no_activity_timeout": idle,
        "MappingKernelManager.cull_idle_timeout": idle,
        "MappingKernelManager.cull_interval": max(5, min(60, idle // 4)),
        "MappingKernelManager.cull_connected": True,
        "TerminalManager.cull_inactive_timeout": idle,
        # A file system that machines share has no locks for SQLite.
        "NotebookNotary.data_dir": "/tmp",  # noqa: S108  # inside the container
        "LabApp.extension_manager": "readonly",
        "LabApp.check_for_updates_class": "jupyterlab.NeverCheckForUpdate",
        "LabApp.news_url": "None",
    }
    scratch = {"JUPYTER_RUNTIME_DIR": "/tmp/jupyter", "IPYTHONDIR": "/tmp/ipython", "MPLCONFIGDIR": "/tmp/matplotlib"}  # noqa: S108
    return Serving(
        command=("/bin/sh", "-c", SCRIPT, "jupyter"),
        args=tuple(f"--{name}={value}" for name, value in options.items()),
        env=scratch,
        probe=("python3", "-c", PROBE),
        port=PORT,
        path=f"lab/tree/{quote(settings.folder)}",
    )
