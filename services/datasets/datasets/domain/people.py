"""Who somebody is, as the identity provider's token says it, and what their roles let them do with cases and datasets."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from datasets.domain.errors import LoginRefusedError
from primage.contract.holder import NobodyError, holder_of
from primage.contract.roles import Role


class Act(StrEnum):
    """What people do here."""

    READ_CASES = "read cases"
    """Complete ones, under their pseudonyms."""
    WRITE_CASES = "enter cases"
    """And see drafts."""
    WITHDRAW = "withdraw cases"
    SEND_IMAGES = "send images"
    """And see which are held for review, of all that the VO has sent."""
    LIST_DATASETS = "list datasets"
    """Their names, versions and digests; no pseudonym."""
    READ_DATASETS = "read datasets"
    FREEZE = "freeze datasets"


_DATASETS = frozenset({Act.LIST_DATASETS, Act.READ_DATASETS})
RIGHTS: dict[Role, frozenset[Act]] = {
    Role.ADMIN: frozenset({Act.READ_CASES, Act.WITHDRAW}) | _DATASETS,
    Role.DEPLOY_MANAGER: frozenset(),
    Role.CLINICIAN: frozenset({Act.READ_CASES, Act.WRITE_CASES, Act.WITHDRAW, Act.SEND_IMAGES}) | _DATASETS,
    Role.RESEARCHER: frozenset({Act.READ_CASES, Act.FREEZE}) | _DATASETS,
    Role.DEVELOPER: _DATASETS,
    Role.GUEST: frozenset({Act.LIST_DATASETS}),
}
"""Who deploys what runs has no need to see anybody's data."""


@dataclass(frozen=True)
class Person:
    """Somebody who has logged in.

    Attributes:
        account: the identity provider's own name for the account, which no other ever has.
        roles: by VO, of those that the site serves.
    """

    identity: str
    account: str
    roles: Mapping[str, frozenset[Role]]

    def may(self, vo: str, act: Act) -> bool:
        """Whether one of their roles in a VO lets them."""
        return any(act in RIGHTS[role] for role in self.roles.get(vo, ()))


def person_of(claims: Mapping[str, Any], vos: Collection[str]) -> Person:
    """Whom a token is about.

    Args:
        claims: of a token whose signature holds.
        vos: those that the site serves; others' groups say nothing here.

    Raises:
        LoginRefusedError: it names nobody.
    """
    try:
        told = holder_of(claims)
    except NobodyError as error:
        raise LoginRefusedError(str(error)) from error
    return Person(told.identity, told.account, {vo: frozenset(told.roles_in(vo)) for vo in vos})
