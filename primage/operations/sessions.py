"""Interactive sessions seen from outside: whether one runs, what opens it, and the way to it."""

from __future__ import annotations

import base64
import time
from dataclasses import dataclass
from urllib.parse import urlencode

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from primage.clients.cluster import Cluster, Ref
from primage.clients.port_forward import PortForward
from primage.clients.web import status_of
from primage.engine.api import Options
from primage.engine.embedded.engine import EmbeddedEngine
from primage.errors import ExitCode, PrimageError
from primage.kubernetes.readiness import State, verdict
from primage.kubernetes.waiting import pods_of
from primage.projects.project import StackName
from primage.projects.validation import sentences

ANSWER_S = 30
DNS_NAME = r"^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$"


class Address(BaseModel):
    """What a session's stack outputs, as far as it is believed: names of one namespace, a port, and a path of its server."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    namespace: str
    job: str = Field(pattern=DNS_NAME)
    secret: str = Field(pattern=DNS_NAME)
    port: int = Field(strict=True, ge=1, le=65_535)
    path: str = Field(max_length=1000, pattern=r"^/[A-Za-z0-9._~%/+-]*$")


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
        try:
            token = base64.b64decode(found["data"]["token"], validate=True).decode()
        except (KeyError, TypeError, ValueError) as error:
            raise PrimageError(
                f"{self.secret} holds no token", todo="run `primage destroy` and `primage up` for the stack"
            ) from error
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
    given = engine.outputs(stack).get("session")
    if not given:
        raise PrimageError(
            f"{stack} has nothing to open",
            todo=f"run `primage up {stack}` first, or name a stack of app notebook or web",
            code=ExitCode.USAGE,
        )
    try:
        address = Address.model_validate(given)
    except ValidationError as error:
        raise _unusable(stack, f"its outputs do not say where its session is ({sentences(error, 'session')[0]})") from error
    if address.namespace != stack.namespace:
        raise _unusable(stack, f"its outputs name a session in {address.namespace}, and the stack's are in {stack.namespace}")
    return StackSession(
        cluster=engine.cluster_of(stack),
        job=Ref("batch/v1", "Job", address.job, stack.namespace),
        port=address.port,
        path=address.path,
        secret=Ref("v1", "Secret", address.secret, stack.namespace),
    )


def _unusable(stack: StackName, why: str) -> PrimageError:
    return PrimageError(
        f"{stack} is not opened: {why}", todo=f"find out who changed the stack's state, then run `primage up {stack}`"
    )


def require_answer(url: str) -> None:
    """Ask once for the page that a browser will open.

    Raises:
        PrimageError: no answer, or a refusal.
    """
    end = time.monotonic() + ANSWER_S
    while True:
        try:
            status = status_of(url, timeout_s=ANSWER_S)
            break
        except PrimageError as error:
            if time.monotonic() > end:
                raise PrimageError(
                    f"the session does not answer: {error.what}", todo="see `primage logs` for it", code=ExitCode.UNREACHABLE
                ) from error
            time.sleep(0.5)
    if status >= 400:
        raise PrimageError(f"the session refuses its own page (HTTP {status})", todo="see `primage logs` for it")
