"""A pod of the site's own on this machine, by podman: what a program declares, without a cluster.

Its containers run as they would there: one network, which leads nowhere, no root, no capabilities, and a root folder that nobody
writes.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import secrets
import shutil
import socket
import socketserver
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from primage.local.images import storage

NETWORK = 0x40000000  # CLONE_NEWNET
START_S = 60


@dataclass
class PodHere:
    """One pod.

    Attributes:
        spec: of the pod.
        folder: where its volumes are; empty when it is new.
        config_maps, secrets: what is in them, by name.
    """

    spec: dict[str, Any]
    folder: Path
    config_maps: dict[str, dict[str, str]]
    secrets: dict[str, dict[str, str]]
    name: str = field(default_factory=lambda: f"primage-pod-{secrets.token_hex(4)}")

    def __enter__(self) -> PodHere:
        for volume in self.spec["volumes"]:
            self._make(volume)
        self._podman(
            "run",
            "--detach",
            "--name",
            self.name,
            "--network=none",
            "--entrypoint=/bin/sleep",
            self._image(self._containers[0]),
            "infinity",
        )
        try:
            for container in self._containers:
                self.start(container)
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._remove()

    def start(self, container: dict[str, Any]) -> None:
        """Run one as Kubernetes does: one that begins the pod has ended before the next, unless it stays beside them."""
        begins = container in self.spec.get("initContainers", []) and container.get("restartPolicy") != "Always"
        own = container["securityContext"]
        user = own.get("runAsUser", self.spec["securityContext"]["runAsUser"])
        assert own["readOnlyRootFilesystem"]
        assert own["capabilities"] == {"drop": ["ALL"]}
        arguments = ["--name", self.called(container["name"]), f"--network=container:{self.name}", f"--user={user}:{user}"]
        arguments += ["--read-only", "--read-only-tmpfs=false", "--cap-drop=all", "--security-opt=no-new-privileges"]
        for variable in container.get("env", []):
            arguments.append(f"--env={variable['name']}={self._value(variable)}")
        for mount in container["volumeMounts"]:
            source = self.folder / mount["name"] / mount.get("subPath", "")
            if "subPath" in mount and not source.exists():
                _own(source, user)
            arguments.append(f"--volume={source}:{mount['mountPath']}{':ro' if mount.get('readOnly') else ''}")
        command = container.get("command", [])
        if command:
            arguments += ["--entrypoint", command[0]]
        self._podman(
            "run", *([] if begins else ["--detach"]), *arguments, self._image(container), *command[1:], *container.get("args", [])
        )
        self._wait(container)

    def kill(self, name: str) -> None:
        """End a container at once, and run it again."""
        self._podman("kill", "--signal=KILL", self.called(name))
        self._podman("wait", self.called(name))
        self._podman("rm", self.called(name))
        self.start(next(one for one in self._containers if one["name"] == name))

    def called(self, name: str) -> str:
        """What podman calls a container."""
        return f"{self.name}-{name}"

    def inside(self, *command: str, timeout_s: float = 60) -> subprocess.CompletedProcess[str]:
        """Run a program of this machine in the pod's network."""
        entered = ["nsenter", f"--net=/proc/{self._pid}/ns/net", "--", *command]
        return subprocess.run(entered, capture_output=True, text=True, timeout=timeout_s, check=False)

    def said(self, name: str) -> str:
        """What a container has logged."""
        done = subprocess.run(
            ["podman", "logs", self.called(name)], env=_environment(), capture_output=True, text=True, timeout=60, check=False
        )
        return done.stdout + done.stderr

    @contextlib.contextmanager
    def port(self, there: int) -> Iterator[int]:
        """A port of this machine's loopback that leads to one of the pod's."""
        pid = self._pid

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                _carry(self.request, _dial(pid, there))

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads = True

        with Server(("127.0.0.1", 0), Handler) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            yield server.server_address[1]
            server.shutdown()

    @property
    def _containers(self) -> list[dict[str, Any]]:
        return [*self.spec.get("initContainers", []), *self.spec["containers"]]

    @property
    def _pid(self) -> int:
        return int(self._podman("inspect", "--format", "{{.State.Pid}}", self.name))

    def _image(self, container: dict[str, Any]) -> str:
        return f"localhost/{container['image']}"

    def _value(self, variable: dict[str, Any]) -> str:
        if "value" in variable:
            return str(variable["value"])
        found = variable["valueFrom"]["secretKeyRef"]
        return self.secrets[found["name"]][found["key"]]

    def _make(self, volume: dict[str, Any]) -> None:
        target = self.folder / volume["name"]
        user = self.spec["securityContext"]["runAsUser"]
        _own(target, user)
        sources = volume.get("projected", {}).get("sources", [volume])
        for source in sources:
            if "configMap" in source:
                self._write(target, self.config_maps[source["configMap"]["name"]], [], user)
            elif "secret" in source:
                name = source["secret"].get("secretName") or source["secret"]["name"]
                self._write(target, self.secrets[name], source["secret"].get("items", []), user)

    def _write(self, target: Path, data: dict[str, str], items: list[dict[str, str]], user: int) -> None:
        for item in items or [{"key": key, "path": key} for key in data]:
            path = target / item["path"]
            path.write_text(data[item["key"]])
            os.chown(path, user, user)
            path.chmod(0o440)

    def _wait(self, container: dict[str, Any]) -> None:
        """Until its probe holds."""
        asked = container.get("startupProbe") or container.get("readinessProbe")
        if not asked:
            return
        until = time.monotonic() + START_S
        while not self._answers(container["name"], asked):
            runs = self._podman("inspect", "--format", "{{.State.Running}}", self.called(container["name"])) == "true"
            assert runs, self.said(container["name"])[-4000:]
            assert time.monotonic() < until, self.said(container["name"])[-4000:]
            time.sleep(0.2)

    def _answers(self, name: str, asked: dict[str, Any]) -> bool:
        if "exec" in asked:
            command = ["podman", "exec", self.called(name), *asked["exec"]["command"]]
            return subprocess.run(command, env=_environment(), capture_output=True, timeout=60, check=False).returncode == 0
        try:
            _dial(self._pid, asked["tcpSocket"]["port"]).close()
        except OSError:
            return False
        return True

    def _remove(self) -> None:
        names = [self.called(one["name"]) for one in reversed(self._containers)]
        self._podman("rm", "--force", "--time=0", "--ignore", *names)
        self._podman("rm", "--force", "--time=0", self.name)

    def _podman(self, *arguments: str) -> str:
        done = subprocess.run(["podman", *arguments], env=_environment(), capture_output=True, text=True, timeout=180, check=False)
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout.strip()


def _environment() -> dict[str, str]:
    return {**os.environ, **storage.environment()}


def _own(folder: Path, user: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    shutil.chown(folder, user, user)


def _dial(pid: int, port: int) -> socket.socket:
    """A connection that was made in a process's network: a thread alone goes there, and ends."""
    found: list[socket.socket | OSError] = []

    def connect() -> None:
        with open(f"/proc/{pid}/ns/net") as there:  # noqa: PTH123  # its number is what counts
            if ctypes.CDLL(None, use_errno=True).setns(there.fileno(), NETWORK):
                found.append(OSError(ctypes.get_errno(), "cannot enter the pod's network"))
                return
        try:
            found.append(socket.create_connection(("127.0.0.1", port), timeout=20))
        except OSError as error:
            found.append(error)

    thread = threading.Thread(target=connect)
    thread.start()
    thread.join()
    if isinstance(found[0], OSError):
        raise found[0]
    return found[0]


def _carry(near: socket.socket, far: socket.socket) -> None:
    def pump(source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                target.sendall(data)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)

    far.settimeout(None)
    back = threading.Thread(target=pump, args=(far, near), daemon=True)
    back.start()
    pump(near, far)
    back.join()
    far.close()
