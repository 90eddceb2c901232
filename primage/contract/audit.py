"""A line of the audit log: who was given, lost, launched or opened what, when and why.

One model for both roads that a line comes by: the authorizer writes its own, and `primage audit` makes the others of what the API
server has logged (`primage/operations/audit/derivation.py`).
"""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints

LONGEST_LINE = 20 * 1024
"""Bytes of a line that the authorizer writes: as many as all of its fields take, spelled in ASCII, and more than it ever has."""
_Text = Annotated[str, StringConstraints(max_length=256)]


class Verb(StrEnum):
    """What happened."""

    GIVEN = "given"
    """A role; written before the rights that it brings are there."""
    LOST = "lost"
    """A role; written once its rights are gone."""
    DECIDED = "decided"
    """An administrator of a VO has decided who is a member, or a member has left; written before it is carried out."""
    LAUNCHED = "launched"
    """Something that runs was made."""
    STOPPED = "stopped"
    """Something that runs was deleted."""
    OPENED = "opened"
    """A way into a pod, a service or a node: a command, a forwarded port."""
    READ_SECRET = "read-secret"  # noqa: S105  # a verb
    """A Secret was read, or a token made."""
    CHANGED = "changed"
    """Anything else was made, changed or deleted."""
    REFUSED = "refused"
    """Something was asked for, and not allowed."""


class Source(StrEnum):
    """Whose word it is that the account is who it is."""

    IDENTITY_PROVIDER = "identity-provider"
    SITE_FILE = "site-file"
    OPERATOR = "operator"
    """Whoever holds an operator's kubeconfig."""
    SERVICE_ACCOUNT = "service-account"
    KUBERNETES = "kubernetes"
    """A part of Kubernetes itself, or a user whom only the cluster knows."""


class Road(StrEnum):
    """Who wrote it down."""

    AUTHORIZER = "authorizer"
    API_SERVER = "api-server"


class Who(BaseModel):
    """Whom a line is about: who got or lost a role, or who did what it says."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    account: _Text
    source: Source


class What(BaseModel):
    """What it was given, or done to.

    Attributes:
        vo: the VO's name; empty where it is none's, or none that is known any more.
        kind: as the API spells the resource (`jobs`, `pods/exec`), or `role`.
        name: empty where the request named none: one of a list, or of a name that the API server chose.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    vo: _Text = ""
    namespace: _Text = ""
    kind: _Text
    name: _Text = ""


class Line(BaseModel):
    """One line."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    time: Annotated[AwareDatetime, AfterValidator(lambda time: time.astimezone(UTC))]
    who: Who
    verb: Verb
    object: What
    why: _Text = Field(default="", description="Why, as far as whoever wrote it knows.")
    road: Road

    def text(self) -> str:
        """As it is written: one line of ASCII, without its end, whatever names hold."""
        # The one control character that JSON leaves as it is.
        return self.model_dump_json(ensure_ascii=True).replace("\x7f", r"\u007f")


def now() -> datetime:
    """The time of a line that is written now."""
    return datetime.now(UTC)
