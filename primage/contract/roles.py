"""What people may be in a VO, and what that lets them do: the one table that rights, documentation and tests are made from.

The names are the paper's (Segrelles Quilis et al. 2022, sections 3 and 4) with those that sites ask for besides.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Role(StrEnum):
    """A role of a person in a VO; a person may have several."""

    ADMIN = "admin"
    DEPLOY_MANAGER = "deploy-manager"
    CLINICIAN = "clinician"
    RESEARCHER = "researcher"
    DEVELOPER = "developer"
    GUEST = "guest"


class Access(StrEnum):
    """What a person may do in a namespace; the value is the name of the ClusterRole that says it."""

    RUN = "edit"
    """Run things and see all of them: Kubernetes' own role, within what admission allows (infra/admission)."""
    LOOK = "view"
    """See what there is and what became of it, but no secrets."""


@dataclass(frozen=True)
class Rights:
    """What a role lets people do.

    Attributes:
        own: in their own namespace.
        shared: in the VO's.
        says: what the role is for, in a sentence.
    """

    own: Access
    shared: Access
    says: str


RIGHTS = {
    Role.ADMIN: Rights(Access.RUN, Access.RUN, "looks after what runs for the whole VO"),
    Role.DEPLOY_MANAGER: Rights(Access.RUN, Access.RUN, "deploys and releases the VO's backends and services"),
    Role.CLINICIAN: Rights(Access.RUN, Access.LOOK, "enters data and looks at results"),
    Role.RESEARCHER: Rights(Access.RUN, Access.LOOK, "runs jobs on the VO's data"),
    Role.DEVELOPER: Rights(Access.RUN, Access.LOOK, "makes and tries applications and models"),
    Role.GUEST: Rights(Access.LOOK, Access.LOOK, "reads what is shared"),
}


def access(roles: tuple[Role, ...]) -> tuple[Access | None, Access | None]:
    """What several roles allow together, in a person's own namespace and in the VO's; None for nothing."""
    granted = [RIGHTS[role] for role in roles]
    return _most(rights.own for rights in granted), _most(rights.shared for rights in granted)


def _most(given: Iterable[Access]) -> Access | None:
    found = set(given)
    return next((access for access in Access if access in found), None)
