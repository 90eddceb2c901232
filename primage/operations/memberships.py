"""Asking to join a virtual organisation (VO), leaving it, and deciding who is a member: as whoever a connection is.

What is allowed Kubernetes decides, and the authorizer carries it out (services/authorizer); here it is only said and asked for.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from primage.clients.cluster import Cluster, Object, Ref
from primage.contract.custom_resources import API_VERSION
from primage.contract.memberships import (
    DECISION,
    REQUEST,
    MembershipDecisionSpec,
    MembershipRequestSpec,
    State,
    Verdict,
    Wish,
    decision,
    object_name,
    request,
    state_of,
)
from primage.contract.names import USER_PREFIX, namespace_for
from primage.contract.roles import Role
from primage.errors import ExitCode, PrimageError

MANAGER = "primage"
PATIENCE_S, PAUSE_S = 15.0, 0.25
"""For what has been asked for or decided to be carried out, and between two looks."""
Spec = TypeVar("Spec", bound=BaseModel)


@dataclass(frozen=True)
class Standing:
    """A request or a decision as it stands.

    Attributes:
        asks: `join` or `leave`; of a decision, its verdict.
        by: who has decided; empty where nobody has.
    """

    identity: str
    asks: str
    roles: tuple[str, ...]
    says: str
    state: State
    by: str
    reason: str
    problem: str

    @property
    def is_open(self) -> bool:
        """Whether it waits for somebody, or for something."""
        return not self.state.is_end

    def as_dict(self) -> dict[str, Any]:
        """For `--json`."""
        return asdict(self)


def who_is(cluster: Cluster) -> str:
    """The identity that somebody has logged in by.

    Raises:
        PrimageError: nobody has: this is an operator's connection, or a pod's.
    """
    user = cluster.user()
    if not user.startswith(USER_PREFIX):
        raise PrimageError(
            f"{user} is nobody who belongs to a virtual organisation",
            todo="log in as yourself (`primage login`), and use the kubeconfig that it writes",
            code=ExitCode.UNSUPPORTED,
        )
    return user.removeprefix(USER_PREFIX)


def own_request(cluster: Cluster, vo: str, identity: str) -> Standing | None:
    """Somebody's own request in a VO, as themselves, who may delete it; None for none."""
    return _standing(cluster.deletable(_ref(REQUEST, vo, identity)))


def ask_to_join(cluster: Cluster, vo: str, identity: str, roles: tuple[str, ...], message: str) -> None:
    """Ask to join a VO, in place of a request of one's own that has ended.

    Raises:
        PrimageError: it cannot be asked like this, or has been already.
    """
    _ask(cluster, vo, _request(identity=identity, wish=Wish.JOIN, roles=roles, message=message))


def leave(cluster: Cluster, vo: str, identity: str) -> Standing:
    """Leave a VO; what has become of it, within a while.

    Raises:
        PrimageError: it cannot be.
    """
    _ask(cluster, vo, _request(identity=identity, wish=Wish.LEAVE))
    return _carried_out(lambda: own_request(cluster, vo, identity))


def withdraw(cluster: Cluster, vo: str, identity: str) -> None:
    """Take one's own request back; quiet where there is none."""
    cluster.delete(_ref(REQUEST, vo, identity), propagation="Background")


def decide(
    cluster: Cluster, vo: str, identity: str, verdict: Verdict, *, by: str, roles: tuple[str, ...] = (), reason: str = ""
) -> Standing:
    """Decide about somebody, as who administers the VO; what has become of it, within a while.

    Raises:
        PrimageError: it cannot be carried out; says why.
    """
    spec = _checked(MembershipDecisionSpec, identity=identity, verdict=verdict, roles=roles, reason=reason, decided_by=by)
    ref = _ref(DECISION, vo, identity)
    before = cluster.get(ref)
    if before is not None:
        if not state_of(before).is_end:
            raise PrimageError(
                f"{standing_of(before).by} has decided about {identity} a moment ago", todo="look at what becomes of that first"
            )
        cluster.delete(ref, propagation="Background", uid=str(before["metadata"]["uid"]))
    cluster.create(decision(vo, spec), manager=MANAGER)
    return _carried_out(lambda: _standing(cluster.get(ref)))


def request_by(cluster: Cluster, vo: str, identity: str) -> Standing | None:
    """Somebody's request, as who administers the VO sees it."""
    return _standing(cluster.get(_ref(REQUEST, vo, identity)))


def standing_of(obj: Object) -> Standing:
    """What a request or a decision says, whatever is in it."""
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    return Standing(
        identity=str(spec.get("identity", "")),
        asks=str(spec.get("wish") or spec.get("verdict") or ""),
        roles=tuple(str(role) for role in spec.get("roles") or ()),
        says=str(spec.get("message") or spec.get("reason") or ""),
        state=state_of(obj),
        by=str(status.get("decidedBy") or spec.get("decidedBy") or ""),
        reason=str(status.get("reason", "")),
        problem=str(status.get("problem", "")),
    )


def _standing(obj: Object | None) -> Standing | None:
    return standing_of(obj) if obj else None


def _ask(cluster: Cluster, vo: str, spec: MembershipRequestSpec) -> None:
    before = own_request(cluster, vo, spec.identity)
    if before is not None and before.is_open and before.asks == spec.wish.value:
        raise PrimageError(f"you have asked to {before.asks} {vo} already", todo="wait for an answer, or take that back first")
    if before is not None:
        withdraw(cluster, vo, spec.identity)
    cluster.create(request(vo, spec), manager=MANAGER)


def _carried_out(look: Callable[[], Standing | None]) -> Standing:
    """What becomes of something, within a while.

    Raises:
        PrimageError: it was refused.
    """
    end = time.monotonic() + PATIENCE_S
    while True:
        found = look()
        if found is None:
            raise PrimageError("it was taken back before it was carried out", todo="look who else decides")
        if found.state is State.REFUSED:
            raise PrimageError(found.problem or "it was refused", code=ExitCode.INVALID)
        if not found.is_open or time.monotonic() > end:
            return found
        time.sleep(PAUSE_S)


def _request(**given: Any) -> MembershipRequestSpec:
    return _checked(MembershipRequestSpec, **given)


def _checked(model: type[Spec], **given: Any) -> Spec:
    try:
        return model(**given)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"] if isinstance(part, str))
        says = str(first["msg"]).removeprefix("Value error, ")
        known = ", ".join(role.value for role in Role)
        todo = f"use roles of {known}" if where == "roles" else "change that, and try again"
        raise PrimageError(f"{where}: {says}" if where else says, todo=todo, code=ExitCode.INVALID) from error


def _ref(kind: str, vo: str, identity: str) -> Ref:
    return Ref(API_VERSION, kind, object_name(identity), namespace_for(vo))
