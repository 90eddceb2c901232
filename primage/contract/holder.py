"""Who a token is about, from the claims of one whose signature holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from primage.contract.login import GROUPS_CLAIM, IDENTITY_CLAIM
from primage.contract.roles import Role


class NobodyError(ValueError):
    """A token that does not say who somebody is; the message says what it lacks."""


@dataclass(frozen=True)
class Holder:
    """Whom a token is about.

    Attributes:
        account: the identity provider's own name for the account, which no other ever has.
        groups: all that the token tells, of whatever VO.
    """

    identity: str
    account: str
    groups: frozenset[str]

    def roles_in(self, vo: str) -> tuple[Role, ...]:
        """Theirs in a VO, in the order of the table of roles."""
        return tuple(role for role in Role if f"/{vo}/{role.value}" in self.groups)

    def is_in(self, vo: str) -> bool:
        """Whether they are in it, with a role or without one."""
        return f"/{vo}" in self.groups or bool(self.roles_in(vo))


def holder_of(claims: Mapping[str, Any]) -> Holder:
    """Whom a token is about.

    Args:
        claims: of a token whose signature holds.

    Raises:
        NobodyError: it names nobody.
    """
    identity, account = claims.get(IDENTITY_CLAIM), claims.get("sub")
    if not isinstance(identity, str) or not identity or not isinstance(account, str) or not account:
        raise NobodyError(f"the identity provider's token has no {IDENTITY_CLAIM}")
    groups = claims.get(GROUPS_CLAIM)
    told = frozenset(group for group in groups if isinstance(group, str)) if isinstance(groups, list) else frozenset()
    return Holder(identity, account, told)
