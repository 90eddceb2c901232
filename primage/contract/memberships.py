"""Who asks to join a virtual organisation (VO) or to leave it, and what its administrators decide: two kinds of object in the VO's
own namespace, on sites where people log in.

A `MembershipRequest` is written by whom it is about, a `MembershipDecision` by who administers the VO. Both are named after whom
they are about, so there is one of each for a person. Admission (infra/admission/memberships.py) sees to it that nobody writes one
in somebody else's name; the authorizer carries them out, and says in their status what became of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from primage.contract.custom_resources import definition, object_of, read
from primage.contract.names import MEMBERSHIP_NAME, namespace_for
from primage.contract.roles import Role
from primage.contract.spelling import Identity
from primage.contract.tenant_objects.objects import Object

REQUEST, REQUESTS = "MembershipRequest", "membershiprequests"
DECISION, DECISIONS = "MembershipDecision", "membershipdecisions"
LONGEST_MESSAGE, LONGEST_REASON = 500, 200
KEPT, REFUSAL_KEPT = timedelta(hours=1), timedelta(days=7)
"""How long one stays there once it has ended: whoever wrote it is to see what became of it."""

STATUS = {
    "state": "Waiting, Asked, Approved, Refused or Done.",
    "decidedBy": "Who has decided.",
    "reason": "Why, in their words.",
    "decision": "Of a request: which decision has ended it.",
    "when": "When it ended.",
    "problem": "Why it could not be done, and what to do.",
}


def _plain(text: str) -> str:
    if any(not (letter.isprintable() or letter == "\n") for letter in text):
        raise ValueError("must be plain text")
    return text


_Plain = AfterValidator(_plain)


class Wish(StrEnum):
    """What somebody asks for, for themselves."""

    JOIN = "join"
    LEAVE = "leave"


class Verdict(StrEnum):
    """What an administrator of a VO decides about somebody."""

    APPROVE = "approve"
    """Of a request to join: they get roles."""
    REFUSE = "refuse"
    """Of a request to join: they get none."""
    CHANGE = "change"
    """Of a member: these are their roles from now on."""
    REMOVE = "remove"
    """Of a member: they are one no longer."""

    @property
    def gives(self) -> bool:
        """Whether it names roles."""
        return self in (Verdict.APPROVE, Verdict.CHANGE)


class State(StrEnum):
    """What `status.state` says of a request or a decision."""

    WAITING = "Waiting"
    """Nobody has looked at it yet, or what it needs is away."""
    ASKED = "Asked"
    """Of a request: an administrator has to decide."""
    APPROVED = "Approved"
    """Of a request: an administrator has approved."""
    REFUSED = "Refused"
    """By an administrator, or because it cannot be."""
    DONE = "Done"
    """It has been carried out."""

    @property
    def is_end(self) -> bool:
        """Whether nothing more becomes of it."""
        return self in (State.APPROVED, State.REFUSED, State.DONE)


class _Written(BaseModel):
    """What people write, who may mean what a file's author would not: `<script>` is no value that somebody forgot to fill in."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class MembershipRequestSpec(_Written):
    """What somebody asks for: custom resource `MembershipRequest`."""

    identity: Identity = Field(max_length=200, description="Whom it is about: who has written it.")
    wish: Wish = Field(description="To join the VO, or to leave it.")
    roles: tuple[Role, ...] = Field(default=(), max_length=len(Role), description="Roles that they would like to have.")
    message: Annotated[str, _Plain] = Field(
        default="", max_length=LONGEST_MESSAGE, description="What its administrators should know."
    )

    @model_validator(mode="after")
    def _complete(self) -> MembershipRequestSpec:
        if (self.wish is Wish.JOIN) != bool(self.roles):
            raise ValueError("who asks to join names one role or more, and who leaves names none")
        return self


class MembershipDecisionSpec(_Written):
    """What an administrator has decided: custom resource `MembershipDecision`."""

    identity: Identity = Field(max_length=200, description="Whom it is about.")
    verdict: Verdict = Field(description="What is to be done.")
    roles: tuple[Role, ...] = Field(default=(), max_length=len(Role), description="All roles that they have from now on.")
    reason: Annotated[str, _Plain] = Field(
        default="", max_length=LONGEST_REASON, description="Why; they and the audit log are told."
    )
    decided_by: Identity = Field(max_length=200, description="Who decides: who has written it.")

    @model_validator(mode="after")
    def _complete(self) -> MembershipDecisionSpec:
        if self.verdict.gives != bool(self.roles):
            raise ValueError("who approves or changes names one role or more, and who refuses or removes names none")
        return self


def definitions() -> list[Object]:
    """The CustomResourceDefinitions of both."""
    asked = {"Identity": ".spec.identity", "Wish": ".spec.wish", "Roles": ".spec.roles", "State": ".status.state"}
    decided = {"Identity": ".spec.identity", "Verdict": ".spec.verdict", "By": ".spec.decidedBy", "State": ".status.state"}
    return [
        definition(REQUEST, REQUESTS, "Namespaced", MembershipRequestSpec, {**asked, "Problem": ".status.problem"}, STATUS),
        definition(DECISION, DECISIONS, "Namespaced", MembershipDecisionSpec, {**decided, "Problem": ".status.problem"}, STATUS),
    ]


def object_name(identity: str) -> str:
    """The name of both objects of a person: no two people share one, and admission can spell it too, which has no digests.

    As a namespace it reads where the identity is a plain one: `ada-at-example-dot-org`.
    """
    for letter, spelled in MEMBERSHIP_NAME.items():
        identity = identity.replace(letter, spelled)
    return identity


def request(vo: str, spec: MembershipRequestSpec) -> Object:
    """The object of a request.

    Args:
        vo: the VO's name.
    """
    return object_of(REQUEST, {"name": object_name(spec.identity), "namespace": namespace_for(vo)}, spec)


def decision(vo: str, spec: MembershipDecisionSpec) -> Object:
    """The object of a decision; `vo` as for `request`."""
    return object_of(DECISION, {"name": object_name(spec.identity), "namespace": namespace_for(vo)}, spec)


def request_of(obj: Object) -> MembershipRequestSpec:
    """What an object says that somebody asks for.

    Raises:
        ValueError: it is none, or has another name than it must have.
    """
    found = read(obj, MembershipRequestSpec)
    _require_name(obj, found.identity)
    return found


def decision_of(obj: Object) -> MembershipDecisionSpec:
    """What an object says that an administrator has decided; raises as `request_of` does."""
    found = read(obj, MembershipDecisionSpec)
    _require_name(obj, found.identity)
    return found


def state_of(obj: Mapping[str, Any]) -> State:
    """How far a request or a decision is; waiting, as long as nothing is said that is known here."""
    try:
        return State(str((obj.get("status") or {}).get("state")))
    except ValueError:
        return State.WAITING


def is_old(obj: Mapping[str, Any], now: datetime) -> bool:
    """Whether one has ended so long ago that nobody looks for it any more."""
    state = state_of(obj)
    if not state.is_end:
        return False
    kept = REFUSAL_KEPT if obj.get("kind") == REQUEST and state is State.REFUSED else KEPT
    try:
        return now - datetime.fromisoformat(str(obj["status"]["when"])) > kept
    except (KeyError, ValueError, TypeError):
        return True


def _require_name(obj: Object, identity: str) -> None:
    if obj["metadata"]["name"] != object_name(identity):
        raise ValueError(f"metadata.name has to be {object_name(identity)} for {identity}")
