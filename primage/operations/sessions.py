"""Interactive sessions seen from outside: whether one runs, what opens it, and the way to it."""

from __future__ import annotations

import base64
import time
from dataclasses import dataclass
from urllib.parse import urlencode

from primage.clients.cluster import Cluster, Object, Ref
from primage.clients.port_forward import PortForward
from primage.clients.web import status_of
from primage.contract.gateway import COOKIE_SECRET
from primage.contract.names import ANNOTATION_OPENS, LABEL_PRIVATE
from primage.engine.api import Engine, Options
from primage.errors import ExitCode, PrimageError
from primage.kubernetes.annotations import opens
from primage.kubernetes.readiness import State, verdict
from primage.kubernetes.waiting import pods_of
from primage.operations.stack import JOB, StackHandle, stack_handle, the_one
from primage.projects.project import StackName

ANSWER_S = 30


@dataclass(frozen=True)
class StackSession:
    """The session of a stack that is up.

    Attributes:
        job: the Job it is.
        port, path: of its server.
        secret: the Secret with its token, or with the keys of the login before it.
        origin: where the site has a browser find it; empty where the site has no way in, or the session has no login before it.
    """

    cluster: Cluster
    job: Ref
    port: int
    path: str
    secret: Ref
    origin: str = ""

    @property
    def address(self) -> str:
        """What any browser opens, after a login; empty where it has to be forwarded."""
        return f"{self.origin}{self.path}" if self.origin else ""

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


def session_of(stack: StackName, engine: Engine, options: Options) -> StackSession:
    """The stack's session, started again by `engine` when it has ended.

    Raises:
        PrimageError: the stack is not up, or is none that is opened in a browser.
    """
    handle = stack_handle(stack)
    secret, job = _find(handle)
    if job is None or verdict(job).state is State.FAILED:
        engine.up(stack, options)
        secret, job = _find(handle)
    if job is None:
        raise PrimageError(f"{stack} is up, and has no job that serves its page", todo=f"see `primage status {stack}`")
    port, path = _opens(job, stack)
    return StackSession(handle.cluster, Ref.of(job), port, path, Ref.of(secret), _origin(handle, secret))


def _find(stack: StackHandle) -> tuple[Object, Object | None]:
    """A session's Secret with the token, and its Job, which may be over and gone.

    Both have one name: no object says which other one holds the token that is handed to its pod.
    """
    secret = the_one(filter(_is_token, stack.of_kind("v1", "Secret")), stack.name, "session")
    if secret is None:
        raise PrimageError(
            f"{stack.name} has nothing to open",
            todo=f"run `primage up {stack.name}` first, or name a stack of app notebook, desktop or web",
            code=ExitCode.USAGE,
        )
    return secret, stack.get(Ref(*JOB, secret["metadata"]["name"], stack.namespace))


def _origin(handle: StackHandle, secret: Object) -> str:
    """From the site's own settings, for a session with a login before it: nothing that a tenant can write says where it opens."""
    gateway = handle.site.outputs.gateway
    return gateway.origin(handle.namespace) if gateway and COOKIE_SECRET in (secret.get("data") or {}) else ""


def _is_token(secret: Object) -> bool:
    """Whether a stack's Secret is a session's: one that Kubernetes itself gives a meaning holds another kind of token."""
    labels = secret["metadata"].get("labels") or {}
    return labels.get(LABEL_PRIVATE) == "true" and secret.get("type", "Opaque") == "Opaque"


def _opens(job: Object, stack: StackName) -> tuple[int, str]:
    """Port and path of the page to open, which whoever may change the Job may have written."""
    found = opens(job)
    if found is None:
        raise PrimageError(
            f"{stack} is not opened: its job does not say which page of which port",
            where=f"{Ref.of(job)}, annotation {ANNOTATION_OPENS}",
            todo=f"run `primage up {stack}`; if it was changed by somebody, find out by whom",
        )
    return found


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
