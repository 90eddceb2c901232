"""What an `up` or a `destroy` must not delete, said before anything is touched, whichever engine does the work.

`protect` in a site's settings holds in the very `up` that reads it: what the last one noted does not matter.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from primage.engine.api import Action, Change
from primage.errors import PrimageError
from primage.projects.connection import SETTINGS
from primage.projects.project import Project, StackName, stack_config

KINDS = frozenset({"Member", "Namespace", "PersistentVolume", "PersistentVolumeClaim", "VirtualOrganisation"})
"""Kinds whose loss is the loss of what is in them, or of what is made for them."""
IF_MEANT = (
    "if the loss is meant, set `protect: false` (for a site, in its settings), run `primage up` without the change, and then make "
    "the change"
)
"""The way to do what protection refuses."""
GOES_WITH = {
    "Member": "with their namespace, its jobs and volumes; files stay on the shared file system",
    "VirtualOrganisation": "with its namespace, the namespaces of its members, their jobs and volumes; files stay on the shared "
    "file system",
}
"""What is deleted with an object and is not in its stack: the authorizer made it."""
_VERBS = {Action.DELETE: "deleted", Action.REPLACE: "replaced"}
_MOST_NAMED = 10


def protected_kinds(project: Project, name: StackName, overrides: Mapping[str, Any]) -> frozenset[str]:
    """The kinds that the stack's settings protect: those of a site, unless its settings say `protect: false`."""
    if name.app:
        return frozenset()
    settings = overrides.get("site", stack_config(project, name).get(SETTINGS))
    protect = overrides.get("site.protect", settings.get("protect", True) if isinstance(settings, dict) else True)
    return frozenset() if protect is False else KINDS


def kind_of(urn: str) -> str:
    """The kind of the object that a resource stands for: the end of its type, which is the third part of its URN."""
    parts = urn.split("::")
    return parts[2].rpartition("$")[2].rpartition(":")[2] if len(parts) > 2 else ""


def objection(change: Change, *, kinds: frozenset[str], protected: bool = False) -> str:
    """Why a change is refused, as what is said of its object; empty when protection has nothing against it.

    Args:
        protected: whether the program, or the last `up`, protects this very object.
    """
    if change.action not in _VERBS or not (protected or kind_of(change.urn) in kinds):
        return ""
    return f"is protected and would be {_VERBS[change.action]}, with everything in it"


def goes_with(change: Change) -> str:
    """What is deleted with an object, as what is said of it; empty where its stack has all of it, and where it is protected."""
    return GOES_WITH.get(kind_of(change.urn), "") if change.action in _VERBS and not change.refused else ""


def marked(change: Change, *, kinds: frozenset[str], protected: bool = False) -> Change:
    """The change, with what protection has against it."""
    why = objection(change, kinds=kinds, protected=protected)
    return replace(change, refused=why, protected=True) if why else change


def mark(changes: Iterable[Change], kinds: frozenset[str]) -> list[Change]:
    """The changes, with what is refused said of each."""
    return [marked(change, kinds=kinds) for change in changes]


def require_allowed(changes: Iterable[Change], *, where: str) -> None:
    """Raise, with every object that is in the way, before anything is touched.

    Raises:
        PrimageError: a change is refused.
    """
    in_the_way = [change for change in changes if change.refused]
    if not in_the_way:
        return
    refused = sorted(f"{change.label} {change.refused}" for change in in_the_way)
    more = f"\n  and {len(refused) - _MOST_NAMED} more" if len(refused) > _MOST_NAMED else ""
    what = refused[0] if len(refused) == 1 else "nothing was changed:\n  " + "\n  ".join(refused[:_MOST_NAMED]) + more + "\n"
    if any(change.protected for change in in_the_way):
        todo = f"undo the change that asks for it; or, {IF_MEANT}"
    else:
        todo = "find out who wrote that into the stack's state; remove the object by hand if it is to go, or the entry with it"
    raise PrimageError(what, where=where, todo=todo)
