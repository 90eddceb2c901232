"""Who has a namespace on a site: each VO, and each member of one that has users."""

from __future__ import annotations

from dataclasses import dataclass

from primage.contract import names
from primage.contract.accounts import VO_UID
from primage.contract.vo import MemberSpec, QuotaConfig, VirtualOrganisationSpec


@dataclass(frozen=True)
class Tenant:
    """A VO's own namespace, or a member's.

    Attributes:
        vo: the VO, whose group, data lake, shared folder, limits and backends it has.
        member: of it; None for the VO itself.
    """

    vo: VirtualOrganisationSpec
    member: MemberSpec | None = None

    @property
    def identity(self) -> str:
        """As the identity provider has it."""
        return self.member.identity if self.member else self.vo.name

    @property
    def namespace(self) -> str:
        """Name of the namespace; also tells the tenant's resources from others'."""
        return names.namespace_for(self.identity)

    @property
    def uid(self) -> int:
        """POSIX user that its jobs run as."""
        return self.member.uid if self.member else VO_UID

    @property
    def quota(self) -> QuotaConfig:
        """Limits of its namespace."""
        return (self.member.quota if self.member else None) or self.vo.quota

    @property
    def labels(self) -> dict[str, str]:
        """What every object of it carries."""
        return names.tenant_labels(names.namespace_for(self.vo.name), self.namespace if self.member else "")
