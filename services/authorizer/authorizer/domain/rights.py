"""Which of a member's roles the audit log has a line of, and what its lines say; no I/O.

It is kept in the Member's status, as text, since a process may end between any two steps:

1. the role is noted as in doubt (`researcher?`);
2. its line is written: `given`;
3. the rights are made, and the role is noted as given (`researcher`).

What is lost goes the same way: the rights are taken, the role is in doubt, its line is written, the note goes. A role that is in
doubt when the next process starts may have its line or not: it gets another one. So a right is never there without a line, and a
line may be there twice.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from primage.contract import audit, names
from primage.contract.audit import Line, Road, Source, Verb, What, Who
from primage.contract.custom_resources import AUDITED
from primage.contract.roles import Role
from primage.contract.tenant_objects.objects import Object

ROLE = "role"
_DOUBT = "?"
_LONGEST = 256


@dataclass(frozen=True)
class Told:
    """Roles whose last line says that they are given, and those that are in doubt."""

    given: frozenset[str] = field(default_factory=frozenset)
    doubted: frozenset[str] = field(default_factory=frozenset)

    @classmethod
    def read(cls, text: str) -> Told:
        """As a status has it; words that are no role are nothing."""
        words = {word.strip() for word in text.split(",")}
        given = words & {role.value for role in Role}
        return cls(frozenset(given), frozenset(role.value for role in Role if f"{role.value}{_DOUBT}" in words) - given)

    def __str__(self) -> str:
        return ", ".join(sorted([*self.given, *(f"{role}{_DOUBT}" for role in self.doubted)]))

    def without_line(self, wanted: Iterable[str]) -> frozenset[str]:
        """Of the roles somebody is to have, those that need one first."""
        return frozenset(wanted) - self.given

    def more_than(self, wanted: Iterable[str]) -> frozenset[str]:
        """Those that somebody has, or may have had, and has no more."""
        return (self.given | self.doubted) - frozenset(wanted)

    def doubting(self, roles: frozenset[str]) -> Told:
        """Before a line of theirs is written, be it that they are given or that they are lost."""
        return Told(self.given - roles, self.doubted | roles)

    def having(self, roles: frozenset[str]) -> Told:
        """Once their lines are."""
        return Told(self.given | roles, self.doubted - roles)

    def losing(self, roles: frozenset[str]) -> Told:
        """Once the lines of their loss are."""
        return Told(self.given - roles, self.doubted - roles)


@dataclass(frozen=True)
class Named:
    """A Member, as its lines name it.

    Attributes:
        vo: the VO's name, or where that is not known any more, its namespace.
        namespace: the member's own.
        source: whose word it is that they are one.
        why: in a sentence.
    """

    account: str
    vo: str
    namespace: str
    source: Source
    why: str

    @classmethod
    def of(cls, obj: Object, vo: str) -> Named:
        """Of a Member as it is by now, whatever its specification holds."""
        about, spec = obj["metadata"], obj.get("spec") or {}
        labels, notes = about.get("labels") or {}, about.get("annotations") or {}
        if labels.get(names.LABEL_ORIGIN) == names.ORIGIN_LOGIN:
            source, why = Source.IDENTITY_PROVIDER, str(notes.get(names.ANNOTATION_WHY, ""))
        elif names.LABEL_STACK in labels:
            source, why = Source.SITE_FILE, "the site's file says so"
        else:
            source, why = Source.OPERATOR, "an operator's Member says so"
        if about.get("deletionTimestamp"):
            why = "the Member is deleted"
        return cls(str(spec.get("identity", ""))[:_LONGEST], vo[:_LONGEST], about["name"], source, why[:_LONGEST])

    def lines(self, verb: Verb, roles: Iterable[str]) -> list[Line]:
        """One for each role."""
        what = {"vo": self.vo, "namespace": self.namespace, "kind": ROLE}
        who, now = Who(account=self.account, source=self.source), audit.now()
        return [
            Line(time=now, who=who, verb=verb, object=What(**what, name=role), why=self.why, road=Road.AUTHORIZER)
            for role in sorted(roles)
        ]


def told_of(obj: Object) -> Told:
    """What a Member's status says."""
    return Told.read(str((obj.get("status") or {}).get(AUDITED) or ""))


def orphaned(binding: Object) -> list[Line]:
    """Of a binding that was nobody's any more: its Member went without the authorizer."""
    about = binding["metadata"]
    what = What(
        vo=str(about["labels"].get(names.LABEL_VO, ""))[:_LONGEST],
        namespace=about["namespace"],
        kind="rolebindings",
        name=about["name"],
    )
    why = "its Member was removed without the authorizer, which has taken the right away"
    return [
        Line(
            time=audit.now(),
            who=Who(account=str(subject.get("name", "")).removeprefix(names.USER_PREFIX)[:_LONGEST], source=Source.KUBERNETES),
            verb=Verb.LOST,
            object=what,
            why=why,
            road=Road.AUTHORIZER,
        )
        for subject in binding.get("subjects") or []
        if subject.get("kind") == "User"
    ]
