"""A tenant's folders on the shared volumes, which its claims lead to."""

from __future__ import annotations

from typing import NamedTuple

from primage.contract import names
from primage.contract.tenant import Tenant

ROOT = 0
LOOKED_INTO, SHARED = 0o2750, 0o2770
"""The set-group-ID bit keeps what is made inside in the folder's group; nobody outside the group looks in."""


class Folder(NamedTuple):
    """One folder.

    Attributes:
        volume: `datalake` or `home`.
        path: names from the volume's root down to it.
        mode: permission bits, the set-group-ID bit among them.
        personal: whether it is somebody's own, so that another owner is a mistake and no reason to change it.
    """

    volume: str
    path: tuple[str, ...]
    uid: int
    gid: int
    mode: int
    personal: bool


def claimed(tenant: Tenant) -> dict[str, Folder]:
    """The folder of each claim.

    The private one has a group of the member's own, as Debian has it: what kubelet makes inside is root's, and theirs only by
    the group.
    """
    vo, gid = tenant.vo.name, tenant.vo.gid
    uid, group = (tenant.member.uid, tenant.member.uid) if tenant.member else (ROOT, gid)
    return {
        names.CLAIM_DATALAKE: Folder("datalake", (vo,), ROOT, gid, LOOKED_INTO, personal=False),
        names.CLAIM_HOME_PRIVATE: Folder("home", (vo, "private", tenant.identity), uid, group, SHARED, personal=True),
        names.CLAIM_HOME_SHARED: Folder("home", (vo, "shared"), ROOT, gid, SHARED, personal=False),
    }


def folders(tenant: Tenant) -> list[Folder]:
    """All that have to be there for it, each after the one it is in."""
    vo, gid = tenant.vo.name, tenant.vo.gid
    claims = claimed(tenant)
    return [
        claims[names.CLAIM_DATALAKE],
        Folder("home", (vo,), ROOT, gid, LOOKED_INTO, personal=False),
        claims[names.CLAIM_HOME_SHARED],
        Folder("home", (vo, "private"), ROOT, gid, LOOKED_INTO, personal=False),
        claims[names.CLAIM_HOME_PRIVATE],
    ]
