"""A language host for Python programs, for tests: what `pulumi` starts as `pulumi-language-python`.

Pulumi's own is not served as a Go module; this one speaks the same protocol (`LanguageRuntime`) from the Python SDK's own
protobufs, and runs programs by the SDK's own `pulumi-language-python-exec`. Packages are not its business: tests run in a
virtual environment that is there.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import types
from concurrent import futures
from importlib.metadata import version
from pathlib import Path
from typing import Any

import grpc
from google.protobuf import empty_pb2, json_format

# The SDK takes half a second to import, and only its protocol is needed here: its packages are found, not run.
for _name in ("pulumi", "pulumi.runtime"):
    _found = importlib.util.find_spec(_name)
    sys.modules[_name] = types.ModuleType(_name)
    sys.modules[_name].__path__ = list(_found.submodule_search_locations if _found else ())

from pulumi.runtime.proto import language_pb2, language_pb2_grpc, plugin_pb2  # noqa: E402

LARGEST_MESSAGE = 400 * 1024 * 1024
SHOWN_TO_THE_USER = 32
"""The status of a program whose error has been reported already."""
EXEC = "pulumi-language-python-exec"


class LanguageHost(language_pb2_grpc.LanguageRuntimeServicer):
    """Runs one program at a time for the engine at `engine`."""

    def __init__(self, engine: str) -> None:
        self._engine = engine
        self._running: subprocess.Popen[bytes] | None = None

    def GetPluginInfo(self, _request: Any, _context: Any) -> Any:
        """Its version is the SDK's."""
        return plugin_pb2.PluginInfo(version=version("pulumi"))

    def About(self, request: Any, _context: Any) -> Any:
        """Which Python a program runs on."""
        return language_pb2.AboutResponse(executable=str(_python(request.info)), version=sys.version.split()[0])

    def GetRequiredPackages(self, _request: Any, _context: Any) -> Any:
        """Nothing is fetched: providers are on PATH."""
        return language_pb2.GetRequiredPackagesResponse()

    def GetRequiredPlugins(self, _request: Any, _context: Any) -> Any:
        """The same, as older engines ask."""
        return language_pb2.GetRequiredPluginsResponse()

    def GetProgramDependencies(self, _request: Any, _context: Any) -> Any:
        """Only `pulumi about` would show them."""
        return language_pb2.GetProgramDependenciesResponse()

    def Run(self, request: Any, _context: Any) -> Any:
        """Run the program to its end."""
        python = _python(request.info)
        if not python.is_file():
            return language_pb2.RunResponse(error=f"there is no {python}: see `virtualenv` in Pulumi.yaml")
        self._running = subprocess.Popen([str(python), "-u", *self._arguments(request)], env=_environment(request, python))
        status = self._running.wait()
        if status == 0:
            return language_pb2.RunResponse()
        if status == SHOWN_TO_THE_USER:
            return language_pb2.RunResponse(bail=True)
        return language_pb2.RunResponse(error=f"the program ended with status {status}")

    def Cancel(self, _request: Any, _context: Any) -> Any:
        """End the program that runs."""
        self.end()
        return empty_pb2.Empty()

    def end(self) -> None:
        """End the program, if one runs."""
        if self._running and self._running.poll() is None:
            self._running.terminate()

    def _arguments(self, request: Any) -> list[str]:
        options = {
            "monitor": request.monitor_address,
            "engine": self._engine,
            "project": request.project,
            "stack": request.stack,
            "organization": request.organization,
            "pwd": request.pwd,
            "dry_run": "true" if request.dryRun else "false",
            "parallel": str(request.parallel),
            "root_directory": request.info.root_directory,
        }
        given = [part for name, value in options.items() if value for part in (f"--{name}", value)]
        return [_beside(EXEC), *given, request.info.entry_point or request.program, *request.args]


def _beside(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise SystemExit(f"{name} is not on PATH")
    return found


def _python(info: Any) -> Path:
    """The interpreter of the project's virtual environment, which is named from the project's root."""
    virtualenv = json_format.MessageToDict(info.options).get("virtualenv")
    return Path(info.root_directory, virtualenv, "bin/python") if virtualenv else Path(sys.executable)


def _environment(request: Any, python: Path) -> dict[str, str]:
    return {
        **os.environ,
        "PATH": f"{python.parent}:{os.environ['PATH']}",
        "PULUMI_CONFIG": json.dumps(dict(request.config)),
        "PULUMI_CONFIG_SECRET_KEYS": json.dumps(list(request.configSecretKeys)),
    }


def main() -> None:
    """Serve until the engine interrupts it; the last argument is the engine's address."""
    host = LanguageHost(sys.argv[-1])
    sizes = [("grpc.max_receive_message_length", LARGEST_MESSAGE), ("grpc.max_send_message_length", LARGEST_MESSAGE)]
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=8), options=sizes)
    language_pb2_grpc.add_LanguageRuntimeServicer_to_server(host, server)
    port = server.add_insecure_port("127.0.0.1:0")
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    server.start()
    print(port, flush=True)
    ended.wait()
    host.end()
    server.stop(grace=None)
    # The server's threads are left where they are: the engine waits for this process alone.
    os._exit(0)


if __name__ == "__main__":
    main()
