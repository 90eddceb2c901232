"""Why a tenant is not as it should be."""

from __future__ import annotations


class RefusedError(Exception):
    """What is wanted cannot be, and a person has to look at it."""


class WaitingError(Exception):
    """Something is on its way, or cannot be reached now."""
