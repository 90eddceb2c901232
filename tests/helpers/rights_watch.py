"""Watches, in the store itself, that nobody has more than their Member says, at any revision, and that nothing is lost."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from store_watch import watching

from primage.contract import names

Object = dict[str, Any]
BINDINGS, MEMBERS = "rolebindings/", "primage.eu/members/"
DATA = ("namespaces/", "persistentvolumes/", "persistentvolumeclaims/")
OWN = {"admin": "edit", "researcher": "edit", "guest": "view"}
SHARED = {"admin": "edit", "researcher": "view", "guest": "view"}
"""What a role is in the member's own namespace, and in the VO's: as docs/reference/roles.md has it, and not as the code does."""


@dataclass
class RightsWatch:
    """What is there, and what should never have been.

    Attributes:
        wrong: each in a sentence.
        keep: people whose rights nothing takes; namespaces that nothing empties, nor takes away.
        still: while it is set, nobody's roles may change.
    """

    wrong: list[str] = field(default_factory=list)
    keep: set[str] = field(default_factory=set)
    still: bool = False
    _members: dict[str, Object] = field(default_factory=dict)
    _bindings: dict[str, Object] = field(default_factory=dict)

    def told(self, key: str, obj: Object | None) -> None:
        """Of a revision."""
        if key.startswith(MEMBERS):
            self._member(key, obj)
        elif key.startswith(BINDINGS):
            self._binding(key, obj)
        elif obj is None and any(space in key for space in self.keep):
            self.wrong.append(f"{key} is lost")

    def _member(self, key: str, obj: Object | None) -> None:
        before = self._members.pop(key, None)
        if obj is not None:
            self._members[key] = obj
        if self.still and _roles(before) != _roles(obj):
            self.wrong.append(f"{key}: {_roles(before)} has become {_roles(obj)} while nobody could know")
        if before and obj is None and (left := self.held_by(before["spec"]["identity"])):
            self.wrong.append(f"{key} is gone before {sorted(left)}")

    def _binding(self, key: str, obj: Object | None) -> None:
        before = self._bindings.pop(key, None)
        if obj is None:
            lost = [who for who in _people(before) if names.namespace_for(who) in self.keep]
            self.wrong.extend(f"{who} has lost {key}" for who in lost)
        elif whose := _people(obj):
            self._bindings[key] = obj
            self.wrong.extend(f"{who} is given {_right(obj)}" for who in whose if _right(obj) not in self._may(who))

    def _may(self, identity: str) -> set[tuple[str, str]]:
        mine = [obj for obj in self._members.values() if obj["spec"]["identity"] == identity]
        own = {(obj["metadata"]["name"], _best(OWN, _roles(obj))) for obj in mine}
        own |= {(obj["metadata"]["namespace"], "primage-membership") for obj in mine if "admin" in _roles(obj)}
        return own | {(obj["metadata"]["namespace"], _best(SHARED, _roles(obj))) for obj in mine}

    def held_by(self, identity: str) -> set[tuple[str, str]]:
        """Somebody's rights now: namespaces, and the role in each."""
        return {_right(obj) for obj in list(self._bindings.values()) if identity in _people(obj)}


def _roles(obj: Object | None) -> tuple[str, ...]:
    """A Member's, of which one that is being deleted has none."""
    return () if obj is None or obj["metadata"].get("deletionTimestamp") else tuple(sorted(obj["spec"].get("roles") or ()))


def _best(table: dict[str, str], roles: tuple[str, ...]) -> str:
    rights = {table[role] for role in roles}
    return "edit" if "edit" in rights else "view" if rights else "nothing"


def _people(obj: Object | None) -> list[str]:
    found = [subject["name"] for subject in (obj or {}).get("subjects") or [] if subject["kind"] == "User"]
    return [name.removeprefix(names.USER_PREFIX) for name in found]


def _right(obj: Object) -> tuple[str, str]:
    return obj["metadata"]["namespace"], obj["roleRef"]["name"]


@contextmanager
def rights_watch(store: str) -> Iterator[RightsWatch]:
    """One, of a store in which nobody is yet."""
    made = RightsWatch()
    with watching(store, (BINDINGS, MEMBERS, *DATA), made.told):
        yield made
