"""Who the identity provider says is a member of what, and what is done about it."""

import asyncio
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authorizer.domain.errors import RefusedError, WaitingError
from authorizer.domain.held import NO_ROLE, Held, held
from authorizer.domain.objects import address_of
from authorizer.domain.people import FIRST_UID, Account, account_of, compare, with_role
from authorizer.people import People
from primage.clients.cluster import Refused
from primage.clients.members import member_on
from primage.contract import custom_resources as custom
from primage.contract import names
from primage.contract.accounts import VO_UID
from primage.contract.roles import Role
from primage.contract.vo import MemberSpec, QuotaConfig, VirtualOrganisationSpec

VO, OTHER = "vo.example.org", "other.example.org"
VOS = (VO, OTHER)
identities = st.from_regex(r"[a-z]{1,8}@example\.org", fullmatch=True)
roles = st.dictionaries(st.sampled_from(VOS), st.frozensets(st.sampled_from(Role)), max_size=2)
people = st.lists(
    st.builds(
        Account,
        id=st.uuids().map(str),
        identity=identities,
        uid=st.none() | st.integers(50_000, 50_003),
        enabled=st.booleans(),
        roles=roles,
    ),
    unique_by=(lambda one: one.identity, lambda one: one.id),
    max_size=6,
)


def ada(**more):
    return Account(
        **{"id": "1", "identity": "ada@example.org", "uid": 50_000, "enabled": True, "roles": {VO: frozenset({Role.GUEST})}, **more}
    )


def by_hand(identity, uid, vo=VO, **more):
    return custom.member(vo, MemberSpec(identity=identity, uid=uid, **more))


def applied(members, found):
    """The Members there are once a comparison's have been written."""
    after = {(obj["metadata"]["namespace"], obj["metadata"]["name"]): obj for obj in members}
    for obj in found.members:
        after[obj["metadata"]["namespace"], obj["metadata"]["name"]] = obj
    return list(after.values())


def given_numbers(accounts, found):
    numbers = {account.id: uid for account, uid in found.uids}
    return [Account(one.id, one.identity, numbers.get(one.id, one.uid), one.enabled, one.roles) for one in accounts]


@given(people, people)
def test_once_done_nothing_is_left_to_do_and_nobody_has_more_than_the_provider_says(before, now):
    first = compare(before, [], VOS)
    members = applied([], first)
    second = compare(now, members, VOS)
    members = applied(members, second)
    third = compare(given_numbers(now, second), members, VOS)
    assert not third.members
    assert not third.uids
    allowed = {(names.namespace_for(vo), one.identity): one.roles[vo] for one in now for vo in one.roles if one.enabled}
    for obj in members:
        spec = obj["spec"]
        assert set(spec["roles"]) <= {role.value for role in allowed.get((obj["metadata"]["namespace"], spec["identity"]), ())}


@given(people)
def test_no_two_people_have_one_number(accounts):
    found = compare(accounts, [by_hand("bob@example.org", 50_001)], VOS)
    owners = {}
    for obj in applied([by_hand("bob@example.org", 50_001)], found):
        owners.setdefault(obj["spec"]["uid"], set()).add(obj["spec"]["identity"])
    assert all(len(identities) == 1 for identities in owners.values())
    assert VO_UID not in owners


def test_who_has_no_number_gets_the_same_one_on_every_site():
    one, other = (compare([ada(uid=None)], members, VOS) for members in ([], [by_hand("bob@example.org", 50_001)]))
    assert one.uids == other.uids
    assert one.uids[0][1] >= FIRST_UID
    taken = by_hand("bob@example.org", one.uids[0][1])
    assert compare([ada(uid=None)], [taken], VOS).uids[0][1] != one.uids[0][1]


def test_who_leaves_stays_a_member_without_a_role():
    members = applied([], compare([ada()], [], VOS))
    assert members[0]["spec"]["roles"] == ["guest"]
    (gone,) = compare([], members, VOS).members
    assert gone["spec"] == {**members[0]["spec"], "roles": []}
    (back,) = compare([ada()], applied(members, compare([], members, VOS)), VOS).members
    assert back == members[0]


def test_an_account_that_is_off_has_no_role():
    (obj,) = compare([ada(enabled=False)], [], VOS).members
    assert obj["spec"]["roles"] == []


def test_whom_the_site_itself_names_is_left_alone():
    named = by_hand("ada@example.org", 40_001, roles=(Role.RESEARCHER,))
    assert compare([ada()], [named], VOS).members == []
    assert compare([], [named], VOS).members == []


def test_a_number_that_the_provider_has_lost_is_kept_for_the_same_account_and_for_no_other():
    members = applied([], compare([ada()], [], VOS))
    (account, uid), *_ = compare([ada(uid=None)], members, VOS).uids
    assert (account.id, uid) == ("1", 50_000)


@pytest.mark.parametrize(
    "identity", ["ada", "ada@example.org/../x", "Ä@example.org", "a" * 201 + "@example.org", "ada @example.org", "a@b\n"]
)
def test_who_cannot_be_a_member_is_said_and_keeps_nobody_waiting(identity):
    found = compare([ada(identity=identity, id="2", uid=None), ada()], [], VOS)
    assert found.uids == []
    assert [obj["spec"]["identity"] for obj in found.members] == ["ada@example.org"]
    assert len(found.problems) == 1


@pytest.mark.parametrize(
    "now",
    [
        {"uid": 500},
        {"uid": 0},
        {"uid": VO_UID},
        {"uid": 50_001},
        {"id": "made again"},
        {"id": "made again", "uid": None},
    ],
)
def test_whoever_cannot_be_who_they_were_has_no_role(now):
    """Nor when the account is disabled meanwhile: doubt never leaves somebody a right."""
    members = [*applied([], compare([ada()], [], VOS)), by_hand("bob@example.org", 50_001)]
    for enabled in (True, False):
        found = compare([ada(**now, enabled=enabled)], members, VOS)
        assert [(obj["spec"]["identity"], obj["spec"]["uid"], obj["spec"]["roles"]) for obj in found.members] == [
            ("ada@example.org", 50_000, [])
        ]
        assert len(found.problems) == 1


def test_nobody_gets_the_namespace_of_another_by_a_name_that_looks_like_theirs():
    members = applied([], compare([ada()], [], VOS))
    members[0]["spec"]["identity"] = "somebody-else@example.org"
    found = compare([ada()], members, VOS)
    assert [obj["spec"] for obj in found.members] == [{**members[0]["spec"], "roles": []}]
    assert "would have the namespace of somebody-else@example.org" in found.problems[0]


def test_members_of_a_vo_that_was_not_asked_about_are_left_alone():
    members = applied([], compare([ada()], [], VOS))
    assert compare([], members, []).members == []
    assert compare([], members, [OTHER]).members == []


def test_a_number_that_is_somebody_elses_is_said():
    found = compare([ada()], [by_hand("bob@example.org", 50_000)], VOS)
    assert found.members == []
    assert "that of bob@example.org here" in found.problems[0]


def test_an_account_is_read_and_its_roles_are_added_up():
    user = {"id": "1", "username": "ada@example.org", "enabled": True, "attributes": {"uid": ["50000"]}}
    account = with_role(with_role(account_of(user), VO, None), VO, Role.GUEST)
    assert account == ada()
    with pytest.raises(ValueError, match="invalid literal"):
        account_of({**user, "attributes": {"uid": ["root"]}})


# -- what is done about it -------------------------------------------------------------------------------------------


class Provider:
    """It says who is where; some accounts it refuses to change."""

    def __init__(self, *accounts, refuses=(), in_line=None):
        self.lists, self.refuses, self.in_line = [list(accounts)], refuses, in_line

    async def bring_in_line(self, vos, namespaces):
        self.namespaces = namespaces
        if self.in_line:
            raise self.in_line

    async def accounts(self, vos):
        return (self.lists.pop(0) if len(self.lists) > 1 else self.lists[0]), []

    async def keep_uid(self, account, uid):
        if account.identity in self.refuses:
            raise RefusedError("it does not want to")


class Server:
    """The API server's Members and VOs."""

    def __init__(self, *objects):
        self.there = {address_of(obj): obj for obj in objects}

    async def list(self, kind, **_):
        return [obj for address, obj in self.there.items() if address.kind is kind]

    async def apply(self, obj):
        self.there[address_of(obj)] = obj

    def roles(self):
        return {obj["spec"]["identity"]: obj["spec"]["roles"] for obj in self.there.values() if obj["kind"] == "Member"}


def compared(server, provider):
    async def run():
        people = People(server, None, Path("/nowhere"))
        return await people._compare(provider)

    return asyncio.run(run())


ORGANISATION = custom.organisation(VirtualOrganisationSpec(name=VO, gid=20001, quota=QuotaConfig(cpu="1", memory="1Gi")))


def test_what_goes_wrong_with_one_keeps_nobody_elses_rights_and_brings_nobody_elses():
    leaver = applied([], compare([ada()], [], VOS))
    server = Server(ORGANISATION, *leaver)
    bob = ada(id="2", identity="bob@example.org", uid=None)
    eve = ada(id="3", identity="eve@example.org", uid=None)
    said = compared(server, Provider(bob, eve, refuses=[bob.identity], in_line=WaitingError("the institution is away")))
    assert server.roles() == {"ada@example.org": [], "eve@example.org": ["guest"]}
    assert said == ["the institution is away", "bob@example.org: it does not want to"]


def test_who_is_missed_by_one_list_alone_has_not_left():
    server = Server(ORGANISATION, *applied([], compare([ada()], [], VOS)))
    provider = Provider()
    provider.lists = [[], [ada()]]
    compared(server, provider)
    assert server.roles() == {"ada@example.org": ["guest"]}


def test_the_provider_is_told_of_every_tenant_whose_sessions_people_log_in_to():
    provider = Provider(ada())
    compared(Server(ORGANISATION, *applied([], compare([ada()], [], VOS))), provider)
    assert provider.namespaces == {names.namespace_for(VO), "ada-at-example-dot-org"}


def test_nobody_has_left_a_vo_that_the_site_does_not_know_yet():
    server = Server(*applied([], compare([ada()], [], VOS)))
    compared(server, Provider())
    assert server.roles() == {"ada@example.org": ["guest"]}


# -- what runs -------------------------------------------------------------------------------------------------------


def job(*, suspended=False, why=None, ended=""):
    annotations = {names.ANNOTATION_SUSPENDED: why} if why else {}
    conditions = [{"type": ended, "status": "True"}] if ended else []
    return {"metadata": {"annotations": annotations}, "spec": {"suspend": suspended}, "status": {"conditions": conditions}}


@pytest.mark.parametrize(
    ("obj", "without", "again"),
    [
        (job(), Held.SUSPENDED, None),
        (job(suspended=True), None, None),
        (job(suspended=True, why=NO_ROLE), None, Held.LET_GO),
        (job(suspended=True, why="their own words"), None, None),
        (job(ended="Complete"), None, None),
        (job(ended="Failed", suspended=True, why=NO_ROLE), None, None),
    ],
)
def test_jobs_stop_with_the_role_and_only_those_go_on_that_stopped_for_it(obj, without, again):
    assert held(obj, may_run=False) is without
    assert held(obj, may_run=True) is again


# -- who a namespace is ----------------------------------------------------------------------------------------------


LABELS = {names.LABEL_MADE_BY: "site", names.LABEL_VO: "vo", names.LABEL_USER: "ada", names.LABEL_UID: "50000"}


@pytest.mark.parametrize(
    ("change", "uid"),
    [
        ({}, 50_000),
        ({names.LABEL_VO: "other"}, None),
        ({names.LABEL_MADE_BY: "somebody"}, None),
        ({names.LABEL_UID: "0x10"}, None),
        ({names.LABEL_UID: "٤"}, None),
        ({names.LABEL_USER: "bob"}, None),
    ],
)
def test_a_member_is_whom_the_site_says_a_namespace_is_of(change, uid):
    class Cluster:
        def get(self, _ref):
            return {"metadata": {"labels": {**LABELS, **change}}}

    found = member_on(Cluster(), "vo", "ada")
    assert (found and found.uid) == uid


def test_who_may_not_look_finds_nobody():
    class Cluster:
        def get(self, _ref):
            raise Refused(403, "Forbidden", "no")

    assert member_on(Cluster(), "vo", "ada") is None
