"""POSIX users that tenants' jobs run as: on shared file systems, and at HPC centres of ours."""

from __future__ import annotations

VO_UID = 10001
"""User the jobs of a VO's own namespace run as; what they may touch is decided by the VO's group."""


def vo_account(gid: int) -> str:
    """The account at an HPC centre of ours that a VO's own jobs run as."""
    return f"vo{gid}"


def member_account(uid: int) -> str:
    """The account at an HPC centre of ours that a member's jobs run as."""
    return f"u{uid}"
