"""Who becomes a member by whose decision, and who never does: the contract's two kinds, and the authorizer's domain of them."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from memory_cluster import MemoryCluster
from pydantic import ValidationError

from authorizer.domain.errors import RefusedError
from authorizer.domain.memberships import Asked, administrators, decided, leaving, line, require_free, said
from authorizer.domain.people import Account
from primage.contract import custom_resources as custom
from primage.contract import memberships as contract
from primage.contract import names
from primage.contract.memberships import (
    MembershipDecisionSpec,
    MembershipRequestSpec,
    State,
    Verdict,
    Wish,
    object_name,
)
from primage.contract.roles import Role
from primage.contract.vo import MemberSpec
from primage.errors import PrimageError
from primage.operations import memberships

VO, OTHER = "vo.example.org", "other.example.org"
BOSS, ADA, BOB = "boss@example.org", "ada@example.org", "bob@example.org"
identities = st.from_regex(r"[a-z0-9]([a-z0-9._+-]{0,10}[a-z0-9])?@[a-z0-9]([a-z0-9-]{0,4}[a-z0-9])?(\.[a-z]{2})?", fullmatch=True)


def account(identity, *roles, enabled=True, vo=VO):
    return Account(identity, identity, 50_000, enabled, {vo: frozenset(roles)})


def asks(identity=ADA, is_open=True, wish=Wish.JOIN, roles=(Role.RESEARCHER,)):
    return Asked(MembershipRequestSpec(identity=identity, wish=wish, roles=roles), is_open)


def decides(verdict, identity=ADA, *roles, by=BOSS, **more):
    return MembershipDecisionSpec(identity=identity, verdict=verdict, roles=roles, decided_by=by, **more)


# -- the two kinds ---------------------------------------------------------------------------------------------------


@given(identities, identities)
def test_no_two_people_share_an_object_and_its_name_is_one_that_kubernetes_takes(one, other):
    assert (object_name(one) == object_name(other)) == (one == other)
    assert all(part[0].isalnum() and part[-1].isalnum() for part in object_name(one).split("."))


def test_a_plain_identity_is_spelled_as_its_namespace_is():
    assert object_name(ADA) == names.namespace_for(ADA)
    assert object_name("a-b_c+d@x.org") == "a--b-u-c-p-d-at-x-dot-org"


@pytest.mark.parametrize(
    "given",
    [
        {"wish": "join", "roles": ()},
        {"wish": "leave", "roles": ("guest",)},
        {"wish": "join", "roles": ("root",)},
        {"wish": "join", "roles": ("guest",) * 7},
        {"wish": "join", "roles": ("guest",), "message": "x" * 501},
        {"wish": "join", "roles": ("guest",), "message": "a\x1b[31m"},
        {"wish": "join", "roles": ("guest",), "identity": "Ada"},
        {"wish": "join", "roles": ("guest",), "decidedBy": BOSS},
    ],
)
def test_a_request_is_complete_plain_and_bounded(given):
    with pytest.raises(ValidationError):
        MembershipRequestSpec(**{"identity": ADA, **given})


@given(
    identities,
    st.lists(st.sampled_from(Role), min_size=1, max_size=6),
    st.text(st.characters(categories=("L", "N", "P")), max_size=500),
)
def test_what_is_written_is_what_is_read(identity, roles, message):
    spec = MembershipRequestSpec(identity=identity, wish=Wish.JOIN, roles=tuple(roles), message=message)
    assert contract.request_of(contract.request(VO, spec)) == spec
    with pytest.raises(ValueError, match=r"metadata\.name"):
        contract.request_of({**contract.request(VO, spec), "metadata": {"name": "another"}})


def test_one_that_has_ended_goes_after_a_while_and_a_refusal_stays_for_longer():
    now = datetime.now(UTC)

    def ended(kind, state, ago):
        return {"kind": kind, "status": {"state": state, "when": f"{now - ago:%Y-%m-%dT%H:%M:%SZ}"}}

    assert not contract.is_old(ended(contract.REQUEST, State.ASKED, timedelta(days=99)), now)
    assert contract.is_old(ended(contract.REQUEST, State.APPROVED, timedelta(hours=2)), now)
    assert not contract.is_old(ended(contract.REQUEST, State.REFUSED, timedelta(hours=2)), now)
    assert contract.is_old(ended(contract.DECISION, State.REFUSED, timedelta(hours=2)), now)
    assert contract.is_old({"kind": contract.REQUEST, "status": {"state": State.DONE, "when": "never"}}, now)


@pytest.mark.parametrize("status", [None, {}, {"state": "Elsewhere", "phase": "Elsewhere"}])
def test_what_says_nothing_that_is_known_is_waited_for(status):
    assert contract.state_of({"status": status}) is State.WAITING
    assert custom.phase_of({"status": status}) is custom.Phase.WAITING


# -- what becomes of them --------------------------------------------------------------------------------------------

roles = st.frozensets(st.sampled_from(Role), max_size=3)
people = st.lists(
    st.builds(
        lambda name, given, enabled: account(f"{name}@example.org", *given, enabled=enabled),
        st.sampled_from("abcd"),
        roles,
        st.booleans(),
    ),
    unique_by=lambda one: one.identity,
    max_size=4,
)
anybody = st.sampled_from("abcde").map(lambda name: f"{name}@example.org")
verdicts = st.builds(
    lambda verdict, identity, by, given: decides(verdict, identity, *(given if verdict.gives else ()), by=by),
    st.sampled_from(Verdict),
    anybody,
    anybody,
    st.lists(st.sampled_from(Role), min_size=1, max_size=3),
)
requests = st.none() | st.builds(asks, anybody, st.booleans())


@given(people, verdicts, requests, st.sampled_from([(VO,), (VO, OTHER)]))
def test_whatever_is_decided_an_administrator_has_and_one_is_left(accounts, spec, asked, served):
    """Whoever decides administers the VO then; whoever is made a member has asked, and is in no other VO of the site; a VO that had
    an administrator keeps one."""
    found = next((one for one in accounts if one.identity == spec.identity), account(spec.identity, vo=OTHER))
    try:
        change = decided(VO, spec, accounts, found, asked, served)
    except RefusedError:
        return
    assert spec.decided_by in {one.identity for one in administrators(VO, accounts)}
    if change is None:
        had = [one.roles.get(VO) for one in accounts if one.identity == spec.identity]
        assert spec.verdict is Verdict.REFUSE or had == [frozenset(spec.roles)]
        return
    assert change.account == spec.identity
    assert change.roles == frozenset(spec.roles)
    inside = spec.identity in {one.identity for one in accounts}
    assert inside or (asked is not None and asked.is_open and asked.spec.identity == spec.identity and asked.spec.wish is Wish.JOIN)
    assert spec.verdict is not Verdict.APPROVE or not set(found.roles) & set(served) - {VO}
    left = {one.identity for one in administrators(VO, accounts)} - {spec.identity}
    assert left or Role.ADMIN in change.roles


@given(people, anybody)
def test_who_leaves_was_there_and_never_the_last_administrator(accounts, identity):
    before = {one.identity for one in administrators(VO, accounts)}
    try:
        change = leaving(VO, identity, accounts)
    except RefusedError:
        assert before == {identity} or identity not in {one.identity for one in accounts}
        return
    assert change == (change.__class__)(identity, frozenset(), inside=False)
    assert not before or before - {identity}


@pytest.mark.parametrize(
    ("spec", "asked", "words"),
    [
        (decides(Verdict.APPROVE, ADA, Role.GUEST, by=BOB), asks(), "not theirs to decide"),
        (decides(Verdict.APPROVE, ADA, Role.GUEST), None, "nobody is made a member unasked"),
        (decides(Verdict.APPROVE, ADA, Role.GUEST), asks(BOB), "unasked"),
        (decides(Verdict.APPROVE, ADA, Role.GUEST), asks(wish=Wish.LEAVE, roles=()), "unasked"),
        (decides(Verdict.APPROVE, ADA, Role.GUEST), asks(is_open=False), "unasked"),
        (decides(Verdict.REFUSE), asks(is_open=False), "unasked"),
        (decides(Verdict.CHANGE, ADA, Role.GUEST), None, "they are not a member"),
        (decides(Verdict.REMOVE, BOSS), None, "the only one who looks after"),
        (decides(Verdict.CHANGE, BOSS, Role.GUEST), None, "the only one who looks after"),
    ],
)
def test_what_cannot_be_decided_is_refused_with_a_reason(spec, asked, words):
    with pytest.raises(RefusedError, match=words):
        decided(VO, spec, [account(BOSS, Role.ADMIN), account(BOB, Role.RESEARCHER)], account(ADA, vo=OTHER), asked, [VO])


def test_an_administrator_of_another_vo_or_who_is_switched_off_decides_nothing():
    for boss in (account(BOSS, Role.ADMIN, vo=OTHER), account(BOSS, Role.ADMIN, enabled=False)):
        with pytest.raises(RefusedError, match="not theirs"):
            decided(VO, decides(Verdict.REMOVE, BOB), [boss, account(BOB)], None, None, [VO])


def test_an_account_that_is_switched_off_or_gone_is_not_made_a_member():
    for found in (None, account(ADA, enabled=False, vo=OTHER)):
        with pytest.raises(RefusedError, match="no account"):
            decided(VO, decides(Verdict.APPROVE, ADA, Role.GUEST), [account(BOSS, Role.ADMIN)], found, asks(), [VO])


def test_who_is_in_another_vo_of_the_site_by_now_is_not_taken_in():
    ada, boss, approved = account(ADA, vo=OTHER), [account(BOSS, Role.ADMIN)], decides(Verdict.APPROVE, ADA, Role.GUEST)
    with pytest.raises(RefusedError, match=f"{ADA} is in {OTHER} by now"):
        decided(VO, approved, boss, ada, asks(), [OTHER, VO])
    assert decided(VO, approved, boss, ada, asks(), [VO]).inside, "a VO of other sites is none of this one's"
    assert decided(VO, decides(Verdict.REFUSE), boss, ada, asks(), [OTHER, VO]) is None


@pytest.mark.parametrize("verdict", [Verdict.APPROVE, Verdict.CHANGE])
def test_what_is_so_already_as_after_a_process_that_ended_meanwhile_changes_nothing(verdict):
    accounts = [account(BOSS, Role.ADMIN), account(ADA, Role.GUEST)]
    assert decided(VO, decides(verdict, ADA, Role.GUEST), accounts, account(ADA), asks(), [VO, OTHER]) is None
    assert decided(VO, decides(verdict, ADA, Role.DEVELOPER), accounts, account(ADA), asks(), [VO, OTHER]).roles == {Role.DEVELOPER}


def test_members_of_other_vos_and_of_the_sites_file_are_not_the_administrators():
    theirs = custom.member(VO, MemberSpec(identity=ADA, uid=50_000))
    with pytest.raises(RefusedError, match="one VO on a site"):
        require_free(VO, ADA, [OTHER], None)
    with pytest.raises(RefusedError, match="by the word of the site's operators"):
        require_free(VO, ADA, [], theirs)
    require_free(VO, ADA, [], {"metadata": {"labels": {names.LABEL_ORIGIN: names.ORIGIN_LOGIN}}})
    require_free(VO, ADA, [], None)


def test_the_audit_log_is_told_who_decided_what_and_why_and_within_bounds():
    found = line(VO, BOSS, ADA, said(decides(Verdict.APPROVE, ADA, Role.GUEST, Role.ADMIN, reason="x" * 200)))
    assert (found.who.account, found.object.name, found.verb.value) == (BOSS, ADA, "decided")
    assert found.why.startswith("approve admin, guest: xxx")
    assert len(found.text()) < 20 * 1024


# -- as people do it -------------------------------------------------------------------------------------------------


def state(cluster, obj, **status):
    ref = cluster.put(obj)
    cluster.objects[ref]["status"] = status
    return ref


def test_one_asks_sees_how_it_stands_takes_it_back_and_asks_again_once_it_has_ended():
    cluster = MemoryCluster()
    assert memberships.who_is(cluster) == ADA
    assert memberships.own_request(cluster, VO, ADA) is None
    memberships.ask_to_join(cluster, VO, ADA, ("guest",), "hello")
    with pytest.raises(PrimageError, match="already"):
        memberships.ask_to_join(cluster, VO, ADA, ("guest",), "hello")
    memberships.withdraw(cluster, VO, ADA)
    spec = MembershipRequestSpec(identity=ADA, wish=Wish.JOIN, roles=(Role.GUEST,))
    state(cluster, contract.request(VO, spec), state=State.REFUSED, decidedBy=BOSS, reason="no")
    assert memberships.own_request(cluster, VO, ADA).reason == "no"
    memberships.ask_to_join(cluster, VO, ADA, ("developer",), "please")
    assert memberships.request_by(cluster, VO, ADA).roles == ("developer",)


@pytest.mark.parametrize(
    ("roles", "words"), [((), "one role or more"), (("root",), "use roles of admin"), (("guest",) * 9, "roles")]
)
def test_what_cannot_be_asked_is_said_before_anything_is_sent(roles, words):
    cluster = MemoryCluster()
    with pytest.raises(PrimageError, match=words):
        memberships.ask_to_join(cluster, VO, ADA, roles, "")
    assert cluster.written == []


def test_an_operator_is_told_to_log_in():
    cluster = MemoryCluster()
    cluster.is_user = "kubernetes-admin"
    with pytest.raises(PrimageError, match="primage login"):
        memberships.who_is(cluster)


def test_a_decision_waits_for_what_becomes_of_it_and_takes_the_place_of_an_old_one(monkeypatch):
    cluster = MemoryCluster()
    monkeypatch.setattr(memberships, "PATIENCE_S", 0)
    found = memberships.decide(cluster, VO, ADA, Verdict.REMOVE, by=BOSS)
    assert found.is_open
    with pytest.raises(PrimageError, match=f"{BOSS} has decided"):
        memberships.decide(cluster, VO, ADA, Verdict.REMOVE, by="other@example.org")
    state(cluster, contract.decision(VO, decides(Verdict.REMOVE)), state=State.DONE)
    assert memberships.decide(cluster, VO, ADA, Verdict.CHANGE, by=BOSS, roles=("guest",)).asks == "change"
    state(cluster, contract.decision(VO, decides(Verdict.REMOVE)), state=State.REFUSED, problem="the only one")
    with pytest.raises(PrimageError, match="the only one"):
        memberships._carried_out(lambda: memberships.standing_of(cluster.get(memberships._ref(contract.DECISION, VO, ADA))))
