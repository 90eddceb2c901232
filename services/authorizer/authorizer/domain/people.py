"""Who the identity provider says is a member of what, and what of that differs from the Members there are; no I/O."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic import ValidationError

from primage.contract import custom_resources as custom
from primage.contract import names
from primage.contract.accounts import VO_UID
from primage.contract.login import UID_ATTRIBUTE
from primage.contract.roles import Role
from primage.contract.tenant_objects.objects import Object
from primage.contract.vo import MemberSpec

FIRST_UID, UIDS = 100_000, 1_900_000_000
"""Users whose number nobody chose have one of so many from this one on: those that sites' files give are below."""
IN_GROUPS, OFF, LEFT = "the groups of the account", "the account is disabled", "the account is in no group of the VO, or in doubt"
"""Why somebody has the roles that they have, or none."""


@dataclass(frozen=True)
class Account:
    """Somebody as the identity provider knows them.

    Attributes:
        id: the provider's own, which never changes.
        identity: the name they log in by.
        uid: POSIX user; None where none has been given yet.
        enabled: whether they can log in.
        roles: by the VO's name; empty for a member without any.
    """

    id: str
    identity: str
    uid: int | None
    enabled: bool
    roles: Mapping[str, frozenset[Role]] = field(default_factory=dict)


@dataclass(frozen=True)
class Difference:
    """What has to be done.

    Attributes:
        uids: accounts that get a number, which has to be kept at the provider first.
        members: Members to be written, as objects.
        problems: who cannot be a member, and why.
    """

    uids: list[tuple[Account, int]]
    members: list[Object]
    problems: list[str]


def account_of(user: Mapping[str, Any]) -> Account:
    """An account in Keycloak's words, without roles.

    Raises:
        ValueError: it has no name, or its `uid` is not a number.
    """
    if not user["username"]:
        raise ValueError("it has no name")
    given = (user.get("attributes") or {}).get(UID_ATTRIBUTE) or [None]
    return Account(
        id=str(user["id"]),
        identity=str(user["username"]),
        uid=None if given[0] is None else int(given[0]),
        enabled=bool(user.get("enabled")),
    )


def with_role(account: Account, vo: str, role: Role | None) -> Account:
    """The account with a role in a VO besides what it has; None for one who is in the VO and no more."""
    granted = account.roles.get(vo, frozenset()) | ({role} if role else frozenset())
    return replace(account, roles={**account.roles, vo: granted})


def in_groups(account: Account, paths: Iterable[str]) -> Account:
    """The account with what these groups give it: `/<vo>`, and `/<vo>/<role>` for a role in it; others give nothing in it."""
    for path in paths:
        _, vo, *below = path.split("/")
        account = with_role(account, vo, Role(below[0]) if len(below) == 1 and below[0] in set(Role) else None)
    return account


def compare(accounts: Iterable[Account], members: Iterable[Object], vos: Iterable[str]) -> Difference:
    """What is to be done so that Members are what the provider says.

    Who is named by the site's file, or by an operator, is theirs. Who is not in a VO any more stays a Member without a role: no
    right is left, and nothing is lost. So does who cannot be a Member as they are now: doubt gives nobody a right.

    Args:
        members: all Members there are, of every VO.
        vos: names of the VOs whose members the accounts are; Members of others are left alone.
    """
    there = {(obj["metadata"]["namespace"], obj["metadata"]["name"]): obj for obj in members}
    taken = {int(obj["spec"]["uid"]): str(obj["spec"]["identity"]) for obj in there.values()} | {VO_UID: "the VOs themselves"}
    found = Difference([], [], [])
    served = sorted(vos)
    allowed: set[tuple[str, str]] = set()
    for account in accounts:
        places = {vo: (names.namespace_for(vo), names.namespace_for(account.identity)) for vo in served if vo in account.roles}
        theirs = {vo: there.get(where) for vo, where in places.items() if where not in there or _from_provider(there[where])}
        if not theirs or not _can_be_member(account, theirs.values(), found):
            continue
        before = next((obj for obj in theirs.values() if obj), None)
        if not (uid := _uid(account, before, taken, found)):
            continue
        for vo, live in theirs.items():
            allowed.add(places[vo])
            if not _same(obj := _member(vo, account, uid), live):
                found.members.append(obj)
    spaces = {names.namespace_for(vo) for vo in served}
    for where, obj in sorted(there.items()):
        if where[0] in spaces and where not in allowed and _from_provider(obj) and obj["spec"].get("roles"):
            found.members.append({key: obj[key] for key in ("apiVersion", "kind")} | _without_roles(obj))
    return found


def _uid(account: Account, before: Object | None, taken: dict[int, str], found: Difference) -> int:
    """An account's number; 0 where it cannot have the one that it has.

    Args:
        before: a Member that this very account is, whose number it keeps should the provider have lost it. Another account of
            the same name is somebody else.
    """
    if account.uid is None:
        uid = int(before["spec"]["uid"]) if before else next(uid for uid in _numbers(account.id) if uid not in taken)
        taken[uid] = account.identity
        found.uids.append((account, uid))
        return uid
    other = taken.setdefault(account.uid, account.identity)
    if other == account.identity:
        return account.uid
    found.problems.append(f"{account.identity} has number {account.uid} at the identity provider, which is that of {other} here")
    return 0


def _numbers(account: str) -> Iterable[int]:
    """Numbers for an account, the same on every site, in the order in which they are tried."""
    for attempt in range(UIDS):
        yield FIRST_UID + int.from_bytes(hashlib.sha256(f"{account} {attempt}".encode()).digest()[:8]) % UIDS


def _can_be_member(account: Account, live: Iterable[Object | None], found: Difference) -> bool:
    """Whether an account can be the Members that have its name."""
    problem = ""
    try:
        MemberSpec(identity=account.identity, uid=FIRST_UID if account.uid is None else account.uid)
    except ValidationError as error:
        problem = f"{account.identity!r} cannot be a member: {error.errors()[0]['msg']}"
    for obj in live:
        if obj and obj["spec"]["identity"] != account.identity:
            problem = f"{account.identity} would have the namespace of {obj['spec']['identity']}"
        elif obj and _account_of(obj) not in ("", account.id):
            problem = (
                f"{account.identity} is another account than the one that had this name: delete Member "
                f"{obj['metadata']['namespace']}/{obj['metadata']['name']} if this is a new person, whose files are not those there"
            )
    if problem:
        found.problems.append(problem)
    return not problem


def _member(vo: str, account: Account, uid: int) -> Object:
    granted = account.roles[vo] if account.enabled else frozenset()
    obj = custom.member(vo, MemberSpec(identity=account.identity, uid=uid, roles=tuple(role for role in Role if role in granted)))
    why = IN_GROUPS if account.enabled else OFF
    notes = {names.ANNOTATION_ACCOUNT: account.id, names.ANNOTATION_WHY: why}
    # With the finalizer from the start: to add it is another request, and a moment more to wait, for everybody who is made.
    more = {"labels": {names.LABEL_ORIGIN: names.ORIGIN_LOGIN}, "annotations": notes, "finalizers": [custom.FINALIZER]}
    return {**obj, "metadata": {**obj["metadata"], **more}}


def _account_of(obj: Object) -> str:
    return str((obj["metadata"].get("annotations") or {}).get(names.ANNOTATION_ACCOUNT, ""))


def _from_provider(obj: Object) -> bool:
    return bool((obj["metadata"].get("labels") or {}).get(names.LABEL_ORIGIN) == names.ORIGIN_LOGIN)


def _same(wanted: Object, live: Object | None) -> bool:
    return (
        live is not None
        and all(live["spec"].get(key) == value for key, value in wanted["spec"].items())
        and _account_of(live) == _account_of(wanted)
    )


def _without_roles(obj: Object) -> Object:
    metadata = {key: obj["metadata"][key] for key in ("name", "namespace", "labels")}
    metadata["annotations"] = {names.ANNOTATION_ACCOUNT: _account_of(obj), names.ANNOTATION_WHY: LEFT}
    metadata["finalizers"] = [custom.FINALIZER]
    return {"metadata": metadata, "spec": {**obj["spec"], "roles": []}}
