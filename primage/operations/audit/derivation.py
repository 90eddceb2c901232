"""What an event of the API server's audit log means to people: one line, or none. No I/O.

https://kubernetes.io/docs/reference/config-api/apiserver-audit.v1/

Events have no bodies, so a line knows of an object what the request's address names: of a stack, its objects one by one. Names,
user agents and addresses are whatever a client sent; everything is bounded here, and spelled out where it is printed.
"""

from __future__ import annotations

from typing import Annotated
from urllib.parse import parse_qs

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field

from primage.contract.audit import Line, Road, Source, Verb, What, Who
from primage.contract.names import USER_PREFIX

STARTED, COMPLETE, PANIC = "ResponseStarted", "ResponseComplete", "Panic"
FORBIDDEN, CREATED = 403, 201
READS = frozenset({"get", "list", "watch"})
DELETES = frozenset({"delete", "deletecollection"})
WRITES = frozenset({"create", "update", "patch"}) | DELETES
RUNS = frozenset({"pods", "jobs", "cronjobs", "deployments", "statefulsets", "daemonsets", "replicasets", "replicationcontrollers"})
"""Resources that run, or have others run."""
WAYS_IN = frozenset({"exec", "attach", "portforward", "proxy"})
LONG_RUNNING = WAYS_IN | {"log"}
"""Of these the API server logs the beginning and the end."""
OPERATORS = frozenset({"system:masters", "kubeadm:cluster-admins"})
PATH = "path"
"""In place of a resource, where the request was for none."""
LONGEST = 256


def _text(value: object) -> object:
    """As much of a text as a line holds."""
    return value if not isinstance(value, str) or len(value) <= LONGEST else f"{value[: LONGEST - 1]}…"


_Text = Annotated[str, BeforeValidator(_text)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class _User(_Part):
    username: _Text = ""
    groups: tuple[str, ...] = ()


class _Object(_Part):
    resource: _Text = ""
    namespace: _Text = ""
    name: _Text = ""
    subresource: _Text = ""


class _Status(_Part):
    code: int = 0


class Event(_Part):
    """As much of an event as a line needs."""

    stage: str
    verb: _Text = ""
    uri: str = Field(default="", alias="requestURI")
    user: _User = _User()
    impersonated: _User | None = Field(default=None, alias="impersonatedUser")
    object: _Object | None = Field(default=None, alias="objectRef")
    status: _Status | None = Field(default=None, alias="responseStatus")
    time: AwareDatetime = Field(alias="stageTimestamp")

    @property
    def code(self) -> int:
        """HTTP status; 0 where the API server ended before it answered."""
        return self.status.code if self.status else 0

    @property
    def tried(self) -> bool:
        """Whether it was only to be tried. Of what is deleted, the body may say otherwise than the address, and is not logged."""
        said = parse_qs(self.uri.partition("?")[2], keep_blank_values=True).get("dryRun", [])
        return self.verb not in DELETES and bool(said) and set(said) == {"All"}


def line_of(event: Event) -> Line | None:
    """The line that an event makes; None for one that is of no interest: a read, or what did not happen."""
    found = event.object or _Object(resource=PATH, name=event.uri.partition("?")[0])
    if not _counts(event, found) or (verb := _verb(event, found)) is None:
        return None
    kind = f"{found.resource}/{found.subresource}" if found.subresource else found.resource
    what = What(namespace=found.namespace, kind=_cut(kind), name=found.name)
    return Line(time=event.time, who=_who(event.user), verb=verb, object=what, why=_why(event), road=Road.API_SERVER)


def _cut(text: str) -> str:
    return str(_text(text))


def _counts(event: Event, found: _Object) -> bool:
    """Whether this is the event of a request that its line is made of: each has one or two."""
    long = event.verb == "watch" or found.subresource in LONG_RUNNING
    return event.stage == (STARTED if long else COMPLETE) or event.stage == PANIC


def _verb(event: Event, found: _Object) -> Verb | None:
    if event.code == FORBIDDEN:
        return Verb.REFUSED
    if not _happened(event.code) or found.resource == PATH:
        return None
    # Whoever reads or enters does so, whatever the address says of trying: the API server looks at that where something is written.
    if found.subresource in WAYS_IN:
        return Verb.OPENED
    if (found.resource == "secrets" and event.verb in READS) or found.subresource == "token":
        return Verb.READ_SECRET
    if event.verb not in WRITES or event.tried:
        return None
    if found.resource in RUNS and not found.subresource:
        if event.verb in DELETES:
            return Verb.STOPPED
        if event.verb == "create" or event.code == CREATED:
            return Verb.LAUNCHED
    return Verb.CHANGED


def _happened(code: int) -> bool:
    """A request that the server did not answer well may have been done nevertheless."""
    return code < 400 or code >= 500


def _who(user: _User) -> Who:
    name = user.username
    if name.startswith(USER_PREFIX):
        return Who(account=name.removeprefix(USER_PREFIX), source=Source.IDENTITY_PROVIDER)
    # The API server itself is in a group of operators.
    if OPERATORS & set(user.groups) and not name.startswith("system:"):
        return Who(account=name, source=Source.OPERATOR)
    if name.startswith("system:serviceaccount:"):
        return Who(account=name, source=Source.SERVICE_ACCOUNT)
    return Who(account=name, source=Source.KUBERNETES)


def _why(event: Event) -> str:
    """How it was asked for and answered, where that is not plain."""
    parts = [event.verb]
    if event.impersonated:
        parts.append(f"as {event.impersonated.username}")
    if event.code >= 500 or not event.code:
        parts.append(f"answered {event.code or 'nothing'}, and may have been done")
    return _cut(", ".join(parts))
