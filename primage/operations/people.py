"""Who is in a virtual organisation (VO), as whoever administers it sees them, on their own connection."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from primage.clients.cluster import Cluster, Object, Ref
from primage.contract.custom_resources import API_VERSION, MEMBER, Phase, phase_of
from primage.contract.memberships import DECISION, REQUEST
from primage.contract.names import namespace_for
from primage.operations.memberships import Standing, standing_of

SHOWN = 200
"""Objects of a kind in one answer; whoever has an account may make one."""


@dataclass(frozen=True)
class Person:
    """A member of a VO."""

    identity: str
    roles: tuple[str, ...]
    phase: Phase
    problem: str

    def as_dict(self) -> dict[str, Any]:
        """For `--json`."""
        return asdict(self)


@dataclass(frozen=True)
class People:
    """Of a VO.

    Attributes:
        more: kinds of which there are more than are shown.
    """

    members: tuple[Person, ...]
    requests: tuple[Standing, ...]
    decisions: tuple[Standing, ...]
    more: tuple[str, ...]


def people_of(cluster: Cluster, vo: str) -> People:
    """Who is in a VO, who asks to be, and what was decided lately; as who administers it."""
    space = namespace_for(vo)
    members, more_members = cluster.first(API_VERSION, MEMBER, space, SHOWN)
    requests, more_requests = cluster.first(API_VERSION, REQUEST, space, SHOWN)
    decisions, _ = cluster.first(API_VERSION, DECISION, space, SHOWN)
    more = [what for what, is_more in (("members", more_members), ("requests", more_requests)) if is_more]
    return People(
        tuple(sorted(map(person_of, members), key=lambda one: one.identity)),
        tuple(sorted(map(standing_of, requests), key=lambda one: one.identity)),
        tuple(sorted(map(standing_of, decisions), key=lambda one: one.identity)),
        tuple(more),
    )


def member_called(cluster: Cluster, vo: str, identity: str) -> Person | None:
    """A member of a VO, as who administers it sees them."""
    found = cluster.get(Ref(API_VERSION, MEMBER, namespace_for(identity), namespace_for(vo)))
    return person_of(found) if found else None


def person_of(obj: Object) -> Person:
    """Of an object, whatever is in it."""
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    return Person(
        identity=str(spec.get("identity", "")),
        roles=tuple(str(role) for role in spec.get("roles") or ()),
        phase=phase_of(obj),
        problem=str(status.get("problem", "")),
    )
