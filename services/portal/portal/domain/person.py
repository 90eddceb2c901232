"""Who somebody is, as the identity provider's token says it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from primage.contract.holder import holder_of
from primage.contract.names import namespace_for
from primage.contract.roles import RIGHTS, Access, Role, access


@dataclass(frozen=True)
class Membership:
    """Somebody in one VO.

    Attributes:
        roles: in the order of the table of roles.
    """

    vo: str
    roles: tuple[Role, ...]

    @property
    def namespace(self) -> str:
        """The VO's."""
        return namespace_for(self.vo)

    @property
    def own(self) -> Access | None:
        """What the roles allow in the person's own namespace."""
        return access(self.roles)[0]

    @property
    def shared(self) -> Access | None:
        """What they allow in the VO's."""
        return access(self.roles)[1]

    @property
    def says(self) -> list[tuple[str, str]]:
        """Each role and what it is for."""
        return [(role.value, RIGHTS[role].says) for role in self.roles]

    @property
    def administers(self) -> bool:
        """Whether they look after the VO."""
        return Role.ADMIN in self.roles


@dataclass(frozen=True)
class Person:
    """Somebody who has logged in.

    Attributes:
        account: the identity provider's own name for the account, which no other ever has.
        memberships: of the VOs that the site serves.
    """

    identity: str
    account: str
    memberships: tuple[Membership, ...]

    @property
    def namespace(self) -> str:
        """Their own."""
        return namespace_for(self.identity)

    def membership(self, vo: str) -> Membership | None:
        """Theirs of a VO; None where they are not in it."""
        return next((one for one in self.memberships if one.vo == vo), None)


KNOWN_ROLES = tuple((role.value, rights.says) for role, rights in RIGHTS.items())
"""Each and what it is for."""
WORDS = {
    Access.RUN: "run applications and jobs, see all of them, and stop them",
    Access.LOOK: "see what there is and what became of it; not start anything, and see no secrets",
    None: "nothing: without a role, namespace and files are kept and nobody may use them",
}
"""What an access lets people do, as the end of a sentence."""


def login_of(claims: Mapping[str, Any]) -> str:
    """The identity provider's name of the login that a token is part of; empty where it gives none."""
    login = claims.get("sid")
    return login if isinstance(login, str) else ""


def person_of(claims: Mapping[str, Any], vos: Collection[str]) -> Person:
    """Whom a token is about.

    Args:
        claims: of a token whose signature holds.
        vos: those that the site serves; others' groups say nothing here.

    Raises:
        NobodyError: it names nobody.
    """
    told = holder_of(claims)
    memberships = tuple(Membership(vo, told.roles_in(vo)) for vo in sorted(vos) if told.is_in(vo))
    return Person(told.identity, told.account, memberships)
