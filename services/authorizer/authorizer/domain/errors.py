"""Why a tenant is not as it should be."""

from __future__ import annotations

from primage.contract.custom_resources import Phase


class RefusedError(Exception):
    """What is wanted cannot be, and a person has to look at it."""


class WaitingError(Exception):
    """Something is on its way, or cannot be reached now."""


def phase_of(error: RefusedError | WaitingError) -> Phase:
    """What `status.phase` says of a tenant that this keeps from being ready."""
    return Phase.REFUSED if isinstance(error, RefusedError) else Phase.WAITING
