"""What becomes of a request or a decision about a membership, by what the identity provider says of the people in it; no I/O.

Nothing that an object says is believed here but what admission has seen to: who has written it. Whether whoever has decided
administers the VO is asked of the identity provider, at the moment when it is carried out.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from authorizer.domain.errors import RefusedError
from authorizer.domain.people import Account
from primage.contract import audit, names
from primage.contract.audit import Line, Road, Source, Verb, What, Who
from primage.contract.memberships import MembershipDecisionSpec, MembershipRequestSpec, Verdict, Wish
from primage.contract.roles import Role
from primage.contract.tenant_objects.objects import Object

KIND = "membership"
_LONGEST = 256


@dataclass(frozen=True)
class Change:
    """What is to be done at the identity provider.

    Attributes:
        account: its own name there.
        roles: all that they have in the VO from now on.
        inside: whether they are in the VO still.
    """

    account: str
    roles: frozenset[Role]
    inside: bool


@dataclass(frozen=True)
class Asked:
    """Somebody's request, as it stands.

    Attributes:
        is_open: it is to be decided on, or this very decision has ended it and the process ended before that was noted.
    """

    spec: MembershipRequestSpec
    is_open: bool


def leaving(vo: str, identity: str, accounts: Iterable[Account]) -> Change:
    """What has to be done for a member who leaves.

    Args:
        accounts: of the VO.

    Raises:
        RefusedError: they cannot; says why.
    """
    known = {account.identity: account for account in accounts}
    if (account := known.get(identity)) is None:
        raise RefusedError(f"{identity} is in no group of {vo} at the identity provider")
    _require_administrator_left(vo, account, frozenset(), known.values())
    return Change(account.id, frozenset(), inside=False)


def decided(
    vo: str,
    spec: MembershipDecisionSpec,
    accounts: Iterable[Account],
    found: Account | None,
    asked: Asked | None,
    served: Collection[str],
) -> Change | None:
    """What has to be done for what an administrator has decided; None for nothing: a refusal, or roles that are so already.

    Args:
        accounts: of the VO.
        found: the account of whom it is about, where there is one, in the VO or not, with what it has in others.
        asked: their own request, where there is one.
        served: the VOs of this site, of which a person is a member of one.

    Raises:
        RefusedError: it cannot be so; says why, and what to do.
    """
    known = {account.identity: account for account in accounts}
    require_administrator(vo, spec.decided_by, known.values())
    roles, member = frozenset(spec.roles), known.get(spec.identity)
    if spec.verdict in (Verdict.APPROVE, Verdict.REFUSE):
        if asked is None or not asked.is_open or (asked.spec.identity, asked.spec.wish) != (spec.identity, Wish.JOIN):
            raise RefusedError(f"{spec.identity} does not ask to join {vo}, or not any more: nobody is made a member unasked")
        if spec.verdict is Verdict.REFUSE:
            return None
        if found is None or not found.enabled:
            raise RefusedError(f"the identity provider has no account {spec.identity} that is enabled")
        _require_nowhere_else(vo, found, served)
        if _is_so(vo, member, roles):
            return None
        # Who has been put into a group meanwhile keeps nothing beside what is approved.
        _require_administrator_left(vo, member or found, roles, known.values())
        return Change(found.id, roles, inside=True)
    if member is None:
        raise RefusedError(f"{spec.identity} is in no group of {vo} at the identity provider: they are not a member")
    if spec.verdict is Verdict.CHANGE and _is_so(vo, member, roles):
        return None
    _require_administrator_left(vo, member, roles, known.values())
    return Change(member.id, roles, inside=spec.verdict is Verdict.CHANGE)


def require_administrator(vo: str, identity: str, accounts: Iterable[Account]) -> None:
    """Raise RefusedError unless somebody administers a VO now."""
    if identity not in {account.identity for account in administrators(vo, accounts)}:
        raise RefusedError(f"{identity} has not role {Role.ADMIN.value} in {vo}, so it is not theirs to decide")


def administrators(vo: str, accounts: Iterable[Account]) -> list[Account]:
    """Who looks after a VO and can log in."""
    return [account for account in accounts if account.enabled and Role.ADMIN in account.roles.get(vo, ())]


def require_free(vo: str, identity: str, elsewhere: Iterable[str], live: Object | None) -> None:
    """Raise RefusedError where somebody's membership is not the identity provider's to say, or not of this VO.

    Args:
        elsewhere: other VOs of the site that have a Member of this name.
        live: their Member in this VO, where there is one.
    """
    for other in elsewhere:
        raise RefusedError(
            f"what {identity} has on this site belongs to {other}, and a person is a member of one VO on a site: ask the site's "
            "operators to remove that Member first"
        )
    if live is not None and (live["metadata"].get("labels") or {}).get(names.LABEL_ORIGIN) != names.ORIGIN_LOGIN:
        raise RefusedError(f"{identity} is a member of {vo} by the word of the site's operators: ask them to change it")


def _require_nowhere_else(vo: str, account: Account, served: Collection[str]) -> None:
    """Raise RefusedError where somebody is in another VO of this site at the provider: no Member may say so yet."""
    for other in sorted(set(account.roles) & set(served) - {vo}):
        raise RefusedError(
            f"{account.identity} is in {other} by now, and a person is a member of one VO on a site: they have to leave {other} "
            "first, or its administrators to remove them"
        )


def line(vo: str, who: str, whom: str, why: str) -> Line:
    """Of the audit log: who has decided what about whom."""
    what = What(vo=vo[:_LONGEST], namespace=names.namespace_for(whom), kind=KIND, name=whom[:_LONGEST])
    by = Who(account=who[:_LONGEST], source=Source.IDENTITY_PROVIDER)
    return Line(time=audit.now(), who=by, verb=Verb.DECIDED, object=what, why=why[:_LONGEST], road=Road.AUTHORIZER)


def said(spec: MembershipDecisionSpec) -> str:
    """A decision in the audit log's words."""
    roles = f" {', '.join(role.value for role in Role if role in spec.roles)}" if spec.roles else ""
    return f"{spec.verdict.value}{roles}" + (f": {spec.reason}" if spec.reason else "")


def _is_so(vo: str, member: Account | None, roles: frozenset[Role]) -> bool:
    return member is not None and member.roles.get(vo, frozenset()) == roles


def _require_administrator_left(vo: str, account: Account, roles: frozenset[Role], accounts: Iterable[Account]) -> None:
    before = administrators(vo, accounts)
    if Role.ADMIN not in roles and [one.id for one in before] == [account.id]:
        raise RefusedError(
            f"{account.identity} is the only one who looks after {vo}: give somebody else role {Role.ADMIN.value} first"
        )
