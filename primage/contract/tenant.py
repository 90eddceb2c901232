"""Who has a namespace on a site: each VO, and each member of one that has users."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from primage.contract import names
from primage.contract.accounts import VO_UID
from primage.contract.vo import QuotaConfig, UserConfig, VoConfig


@dataclass(frozen=True)
class Tenant:
    """A VO's own namespace, or a member's.

    Attributes:
        vo: the VO, whose group, data lake, shared folder, limits and backends it has.
        user: the member; None for the VO itself.
    """

    vo: VoConfig
    user: UserConfig | None = None

    @property
    def identity(self) -> str:
        """As the identity provider has it."""
        return self.user.name if self.user else self.vo.name

    @property
    def namespace(self) -> str:
        """Name of the namespace; also tells the tenant's resources from others'."""
        return names.namespace_for(self.identity)

    @property
    def uid(self) -> int:
        """POSIX user that its jobs run as."""
        return self.user.uid if self.user else VO_UID

    @property
    def quota(self) -> QuotaConfig:
        """Limits of its namespace."""
        return (self.user.quota if self.user else None) or self.vo.quota

    @property
    def labels(self) -> dict[str, str]:
        """What every object of it carries."""
        whose = {names.LABEL_USER: self.namespace} if self.user else {}
        return {names.LABEL_VO: names.namespace_for(self.vo.name), **whose}


def tenants_of(vo: VoConfig) -> list[Tenant]:
    """A VO, then its members."""
    return [Tenant(vo), *(Tenant(vo, user) for user in vo.users)]


def tenants(vos: Iterable[VoConfig]) -> list[Tenant]:
    """All of a site, each VO before its members."""
    return [tenant for vo in vos for tenant in tenants_of(vo)]
