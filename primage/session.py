"""Interactive sessions seen from outside: whether one runs, what opens it, and the way to it."""

from __future__ import annotations

import base64
import http.client
import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from primage.clients.cluster import Cluster, Ref
from primage.clients.port_forward import PortForward
from primage.engine.embedded.engine import EmbeddedEngine
from primage.engine.embedded.readiness import State, verdict
from primage.engine.embedded.waiting import pods_of
from primage.engine.engine import Options
from primage.errors import ExitCode, PrimageError
from primage.stack import StackName

ANSWER_S = 30


@dataclass(frozen=True)
class StackSession:
    """The session of a stack that is up.

    Attributes:
        job: the Job it is.
        port, path: of its server.
        secret: the Secret with its token.
    """

    cluster: Cluster
    job: Ref
    port: int
    path: str
    secret: Ref

    def runs(self) -> bool:
        """Whether it answers, as Kubernetes sees it."""
        live = self.cluster.get(self.job)
        return live is not None and verdict(live).state is State.READY

    def ended(self) -> bool:
        """Whether it is over: gone, idle for too long, or failed."""
        live = self.cluster.get(self.job)
        return live is None or verdict(live).state is State.FAILED

    def forward(self, local: int = 0) -> PortForward:
        """The way to its pod, to be entered.

        Raises:
            PrimageError: it has no pod that runs.
        """
        running = [pod for pod in pods_of(self.cluster, self.job) if pod.get("status", {}).get("phase") == "Running"]
        if not running:
            raise PrimageError(f"{self.job} has no running pod", todo="see `primage why` for it", code=ExitCode.UNREACHABLE)
        return PortForward(
            self.cluster, Ref("v1", "Pod", running[-1]["metadata"]["name"], self.job.namespace), self.port, local=local
        )

    def url(self, port: int) -> str:
        """What a browser of this machine opens; whoever has it is let in."""
        found = self.cluster.get(self.secret)
        if found is None:
            raise PrimageError(f"{self.secret}, which holds the token, is gone", todo="run `primage up` for the stack again")
        token = base64.b64decode(found["data"]["token"]).decode()
        return f"http://127.0.0.1:{port}{self.path}?{urlencode({'token': token})}"


def session_of(stack: StackName, options: Options) -> StackSession:
    """The stack's session, started anew when it has ended.

    Raises:
        PrimageError: the stack is not up, or is none that is opened in a browser.
    """
    engine = EmbeddedEngine()
    session = _session(engine, stack)
    if session.ended():
        engine.up(stack, options)
        session = _session(engine, stack)
    return session


def _session(engine: EmbeddedEngine, stack: StackName) -> StackSession:
    address: dict[str, Any] = engine.outputs(stack).get("session") or {}
    if not address:
        raise PrimageError(
            f"{stack} has nothing to open",
            todo=f"run `primage up {stack}` first, or name a stack of app notebook or web",
            code=ExitCode.USAGE,
        )
    site = engine.outputs(StackName(stack.site))["site"]
    space = str(address["namespace"])
    return StackSession(
        cluster=Cluster(str(site["kubeconfig"]), str(site["context"])),
        job=Ref("batch/v1", "Job", str(address["job"]), space),
        port=int(address["port"]),
        path=str(address["path"]),
        secret=Ref("v1", "Secret", str(address["secret"]), space),
    )


def require_answer(url: str) -> None:
    """Ask once for the page that a browser will open.

    Raises:
        PrimageError: no answer, or a refusal.
    """
    address, _, path = url.removeprefix("http://").partition("/")
    end = time.monotonic() + ANSWER_S
    while True:
        connection = http.client.HTTPConnection(address, timeout=ANSWER_S)
        try:
            connection.request("GET", f"/{path}")
            status = connection.getresponse().status
            break
        except (OSError, http.client.HTTPException) as error:
            if time.monotonic() > end:
                raise PrimageError(
                    f"the session does not answer ({type(error).__name__})", todo="see `primage logs` for it",
                    code=ExitCode.UNREACHABLE,
                ) from error  # fmt: skip
            time.sleep(0.5)
        finally:
            connection.close()
    if status >= 400:
        raise PrimageError(f"the session refuses its own page (HTTP {status})", todo="see `primage logs` for it")
