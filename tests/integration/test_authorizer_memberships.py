"""Requests and decisions on a control plane of its own: what admission lets through, and what the authorizer makes of it.

The identity provider is a few lines in memory, so that it can be away, and so that who administers what is the test's to say.
"""

import asyncio
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest
from control_plane import control_plane
from lightkube import AsyncClient, KubeConfig
from waiting import define_kinds, until

from authorizer.clients.kube import Kube
from authorizer.domain.errors import WaitingError
from authorizer.domain.objects import DECISION, REQUEST
from authorizer.domain.people import Account
from authorizer.memberships import Memberships
from infra.admission.memberships import POLICIES
from infra.components.admission import full_name, policy_spec
from infra.components.memberships import rules
from primage.clients.cluster import Cluster, Ref, Refused
from primage.contract import custom_resources as custom
from primage.contract import memberships as contract
from primage.contract import names
from primage.contract.memberships import State, Verdict
from primage.contract.roles import Role
from primage.contract.tenant import Tenant
from primage.contract.tenant_objects.rights import bindings
from primage.contract.vo import MemberSpec, QuotaConfig, VirtualOrganisationSpec
from primage.errors import PrimageError
from primage.local.toolchain.build import KUBERNETES_TOOLS
from primage.operations import memberships
from primage.operations.people import people_of

pytestmark = pytest.mark.apart
OPERATOR = "operator"
VO = VirtualOrganisationSpec(name="vo.example.org", gid=20001, quota=QuotaConfig(cpu="4", memory="8Gi"))
SPACE = names.namespace_for(VO.name)
OTHER = VirtualOrganisationSpec(name="other.example.org", gid=20002, quota=QuotaConfig(cpu="4", memory="8Gi"))
VOS = (VO, OTHER)
BOSS, SECOND, ADA, BOB = (f"{name}@example.org" for name in ("boss", "second", "ada", "bob"))
BACK_S = 120
TAKEN_IN = 12
"""People whom administrators of two VOs take in at the same moment."""


class Provider:
    """As much of an identity provider as is asked."""

    def __init__(self):
        self.away = False
        self.roles = {BOSS: {Role.ADMIN}, SECOND: {Role.ADMIN}, ADA: None, BOB: {Role.RESEARCHER}}
        self.of = {VO.name: self.roles, OTHER.name: {SECOND: {Role.ADMIN}}}
        self.placed = []
        self.asked = 0

    async def accounts(self, vos):
        self.asked += 1
        if self.away:
            raise WaitingError("the identity provider cannot be asked")
        there = {one for vo in vos for one, roles in self.of[vo].items() if roles is not None}
        return [self._account(one) for one in sorted(there)], []

    async def account(self, identity):
        await asyncio.sleep(0)
        return self._account(identity)

    async def place(self, account, vo, roles, *, inside):
        await asyncio.sleep(0)
        self.placed.append((account, set(roles), inside))
        self.of[vo][account] = set(roles) if inside else None

    def inside(self, identity):
        """The VOs that somebody is in."""
        return [vo for vo, people in self.of.items() if people.get(identity) is not None]

    def _account(self, identity):
        return Account(identity, identity, 50_000, True, {vo: frozenset(self.of[vo][identity]) for vo in self.inside(identity)})


class Served:
    """In place of tenants: the VOs."""

    def get(self, namespace):
        return next((one for one in self if one.namespace == namespace), None)

    def __iter__(self):
        return iter([Tenant(vo) for vo in VOS])


class Lines:
    """In place of the audit log."""

    def __init__(self):
        self.written = []

    async def write(self, lines):
        self.written += [(line.who.account, line.object.name, line.why) for line in lines]


@pytest.fixture(scope="module")
def kubeconfig(tmp_path_factory):
    folder = tmp_path_factory.mktemp("plane")
    with control_plane(KUBERNETES_TOOLS.build(folder / "build.log", lambda *_: None), folder) as found:
        cluster = Cluster(found)
        define_kinds(cluster, OPERATOR)
        rbac, admission = "rbac.authorization.k8s.io/v1", "admissionregistration.k8s.io/v1"
        objects = [*contract.definitions()]
        for vo in VOS:
            space = names.namespace_for(vo.name)
            metadata = {"name": space, "labels": names.tenant_labels(space)}
            objects += [{"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}, custom.organisation(vo)]
        objects += [
            {"apiVersion": rbac, "kind": "ClusterRole", "metadata": {"name": name}, "rules": on} for name, on in rules().items()
        ]
        for policy in POLICIES:
            metadata, bound = {"name": full_name(policy)}, {"policyName": full_name(policy), "validationActions": ["Deny"]}
            objects.append(
                {"apiVersion": admission, "kind": "ValidatingAdmissionPolicy", "metadata": metadata, "spec": policy_spec(policy)}
            )
            objects.append(
                {"apiVersion": admission, "kind": "ValidatingAdmissionPolicyBinding", "metadata": metadata, "spec": bound}
            )
        objects += [one for vo in VOS for one in bindings(Tenant(vo), login=True)]
        for boss, vo in ((BOSS, VO), (SECOND, VO), (SECOND, OTHER)):
            made = bindings(Tenant(vo, MemberSpec(identity=boss, uid=50_000, roles=(Role.ADMIN,))), login=True)
            objects += [one for one in made if one["metadata"]["namespace"] == names.namespace_for(vo.name)]
        for obj in objects:
            cluster.apply(obj, manager=OPERATOR)
        until("both kinds are served, and admission holds", lambda: _holds(found))
        yield found


def _holds(kubeconfig):
    """Whether a request in somebody else's name is refused by admission."""
    spec = contract.MembershipRequestSpec(identity=BOB, wish="join", roles=("guest",))
    try:
        as_person(kubeconfig, ADA).create(contract.request(VO.name, spec), manager="test")
    except Refused as refusal:
        return "ask for themselves alone" in refusal.message
    Cluster(kubeconfig).delete(_ref(contract.REQUEST, BOB), propagation="Background")
    return False


def as_person(kubeconfig, identity):
    """A connection as somebody whom the identity provider knows."""
    cluster = Cluster(kubeconfig)
    usual = cluster._api.update_params_for_auth

    def told(headers, *more):
        usual(headers, *more)
        headers["Impersonate-User"] = names.cluster_user(identity)

    cluster._api.update_params_for_auth = told
    return cluster


def _ref(kind, identity):
    return Ref(custom.API_VERSION, kind, contract.object_name(identity), SPACE)


@pytest.fixture
def provider():
    return Provider()


@pytest.fixture
def lines():
    return Lines()


@pytest.fixture
def cluster(kubeconfig, provider, lines, tmp_path):
    """With the authorizer at work, and in the end nothing of the test's left."""
    made = Cluster(kubeconfig)
    ended = threading.Event()

    async def work():
        kube = Kube(AsyncClient(KubeConfig.from_file(kubeconfig), field_manager="primage-authorizer"))
        at_work = Memberships(kube, Served(), lines, tmp_path)
        at_work._provider = lambda: provider

        async def watch(kind):
            while True:  # as the application does: the API server ends watches
                await at_work.watch(kind, 60)

        tasks = [asyncio.create_task(part(kind)) for kind in (REQUEST, DECISION) for part in (watch, at_work.work)]
        while not ended.is_set():
            await asyncio.sleep(0.05)
            assert not [task for task in tasks if task.done()]
        for task in tasks:
            task.cancel()

    thread = threading.Thread(target=asyncio.run, args=(work(),))
    thread.start()
    yield made
    ended.set()
    thread.join(30)
    for kind in (contract.REQUEST, contract.DECISION):
        for obj in made.list(custom.API_VERSION, kind):
            made.delete(Ref.of(obj), propagation="Background")


@pytest.fixture
def members(cluster):
    """Of those who are in the VO, as the authorizer makes them."""
    made = [custom.member(VO.name, MemberSpec(identity=one, uid=50_000 + n)) for n, one in enumerate((BOSS, SECOND, BOB))]
    for obj in made:
        labels = {names.LABEL_ORIGIN: names.ORIGIN_LOGIN}
        cluster.apply({**obj, "metadata": {**obj["metadata"], "labels": labels}}, manager=OPERATOR)
    yield
    for obj in made:
        cluster.delete(Ref.of(obj), propagation="Background")


def state(cluster, kind, identity):
    return contract.state_of(cluster.get(_ref(kind, identity)) or {})


def asked(kubeconfig, cluster, identity=ADA):
    memberships.ask_to_join(as_person(kubeconfig, identity), VO.name, identity, ("guest",), "<b>hello</b>")
    until("it has been seen", lambda: state(cluster, contract.REQUEST, identity) == State.ASKED, BACK_S)


def test_who_asks_is_approved_with_other_roles_changed_and_removed(kubeconfig, cluster, provider, lines):
    asked(kubeconfig, cluster)
    ada, boss = as_person(kubeconfig, ADA), as_person(kubeconfig, BOSS)
    (request,) = people_of(boss, VO.name).requests
    assert (request.identity, request.says, request.state) == (ADA, "<b>hello</b>", State.ASKED)
    done = memberships.decide(boss, VO.name, ADA, Verdict.APPROVE, by=BOSS, roles=("researcher",), reason="welcome")
    assert done.state == State.DONE
    told = memberships.own_request(ada, VO.name, ADA)
    assert (told.state, told.by, told.reason) == (State.APPROVED, BOSS, "welcome")
    memberships.decide(boss, VO.name, ADA, Verdict.CHANGE, by=BOSS, roles=("guest", "developer"))
    memberships.decide(boss, VO.name, ADA, Verdict.REMOVE, by=BOSS, reason="done")
    assert provider.placed == [
        (ADA, {Role.RESEARCHER}, True),
        (ADA, {Role.GUEST, Role.DEVELOPER}, True),
        (ADA, set(), False),
    ]
    assert lines.written == [
        (BOSS, ADA, "approve researcher: welcome"),
        (BOSS, ADA, "change developer, guest"),
        (BOSS, ADA, "remove: done"),
    ]


def test_who_is_no_member_has_nothing_to_leave_and_the_provider_is_not_asked(kubeconfig, cluster, provider, lines):
    with pytest.raises(PrimageError, match="is not a member"):
        memberships.leave(as_person(kubeconfig, ADA), VO.name, ADA)
    assert (provider.asked, provider.placed, lines.written) == (0, [], [])


def test_a_decision_that_changes_nothing_is_in_no_log(kubeconfig, cluster, provider, lines):
    boss = as_person(kubeconfig, BOSS)
    done = memberships.decide(boss, VO.name, BOB, Verdict.CHANGE, by=BOSS, roles=("researcher",))
    assert (done.state, "so already" in done.problem) == (State.DONE, True)
    asked(kubeconfig, cluster, BOB)
    memberships.decide(boss, VO.name, BOB, Verdict.APPROVE, by=BOSS, roles=("researcher",))
    assert state(cluster, contract.REQUEST, BOB) == State.APPROVED
    assert (provider.placed, lines.written) == ([], [])


def test_one_leaves_by_oneself_and_the_last_administrator_does_not(kubeconfig, cluster, members, provider, lines):
    assert memberships.leave(as_person(kubeconfig, BOB), VO.name, BOB).state == State.DONE
    assert memberships.leave(as_person(kubeconfig, SECOND), VO.name, SECOND).state == State.DONE
    with pytest.raises(PrimageError, match="the only one who looks after"):
        memberships.leave(as_person(kubeconfig, BOSS), VO.name, BOSS)
    assert provider.placed == [(BOB, set(), False), (SECOND, set(), False)]
    # Whose right to decide is bound still, and gone at the provider, decides nothing.
    with pytest.raises(PrimageError, match="not theirs to decide"):
        memberships.decide(as_person(kubeconfig, SECOND), VO.name, BOSS, Verdict.REMOVE, by=SECOND)
    assert [who for who, _, _ in lines.written] == [BOB, SECOND]


def test_two_administrators_who_remove_each_other_leave_one(kubeconfig, cluster, provider):
    one = threading.Thread(target=_removes, args=(kubeconfig, BOSS, SECOND))
    other = threading.Thread(target=_removes, args=(kubeconfig, SECOND, BOSS))
    for thread in (one, other):
        thread.start()
    for thread in (one, other):
        thread.join(60)
    assert len(provider.placed) == 1
    assert sum(Role.ADMIN in (found or ()) for found in provider.roles.values()) == 1


def _removes(kubeconfig, by, whom):
    with suppress(PrimageError):
        memberships.decide(as_person(kubeconfig, by), VO.name, whom, Verdict.REMOVE, by=by)


def test_whom_two_vos_take_in_at_the_same_moment_is_in_one_of_them_and_the_other_is_told(kubeconfig, cluster, provider):
    people = [f"new{number}@example.org" for number in range(TAKEN_IN)]
    for identity in people:
        spec, person = (
            contract.MembershipRequestSpec(identity=identity, wish="join", roles=("guest",)),
            as_person(kubeconfig, identity),
        )
        for vo in VOS:
            person.create(contract.request(vo.name, spec), manager="test")
    of_all = len(VOS) * TAKEN_IN
    until("all are seen", lambda: len(_in_state(cluster, contract.REQUEST, State.ASKED)) == of_all, BACK_S)
    together = threading.Barrier(len(VOS))

    def take_in(vo):
        boss = as_person(kubeconfig, SECOND)
        for identity in people:
            spec = contract.MembershipDecisionSpec(identity=identity, verdict="approve", roles=("guest",), decided_by=SECOND)
            together.wait(60)
            boss.create(contract.decision(vo.name, spec), manager="test")

    with ThreadPoolExecutor(len(VOS)) as pool:
        list(pool.map(take_in, VOS))
    done = until(
        "half are carried out",
        lambda: len(found := _in_state(cluster, contract.DECISION, State.DONE)) == TAKEN_IN and found,
        BACK_S,
    )
    refused = until(
        "and half refused", lambda: len(found := _in_state(cluster, contract.DECISION, State.REFUSED)) == TAKEN_IN and found
    )
    assert sorted(one for one, _, _ in provider.placed) == sorted(people), "nobody was put into a second one, not for a moment"
    assert {one["spec"]["identity"]: one["metadata"]["namespace"] for one in done} == {
        one: names.namespace_for(*provider.inside(one)) for one in people
    }
    for one in refused:
        (theirs,) = provider.inside(one["spec"]["identity"])
        assert f"is in {theirs} by now, and a person is a member of one VO on a site" in one["status"]["problem"]


def test_a_namespace_that_two_make_at_the_same_moment_is_one_s(kubeconfig):
    async def race():
        clients = [Kube(AsyncClient(KubeConfig.from_file(kubeconfig), field_manager="primage-authorizer")) for _ in VOS]
        made = {}
        for number in range(TAKEN_IN):
            name = f"raced-{number}"
            spaces = [
                {
                    "apiVersion": "v1",
                    "kind": "Namespace",
                    "metadata": {"name": name, "labels": {"whose": names.namespace_for(vo.name)}},
                }
                for vo in VOS
            ]
            made[name] = await asyncio.gather(*(one.create(space) for one, space in zip(clients, spaces, strict=True)))
        return made

    cluster = Cluster(kubeconfig)
    for name, answers in asyncio.run(race()).items():
        (first,) = [answer for answer in answers if answer is not None]
        live = cluster.get(Ref("v1", "Namespace", name))
        assert first["metadata"]["labels"]["whose"] == live["metadata"]["labels"]["whose"]


def _in_state(cluster, kind, state):
    return [one for one in cluster.list(custom.API_VERSION, kind) if contract.state_of(one) == state]


def test_a_provider_that_is_away_is_waited_for(kubeconfig, cluster, members, provider, monkeypatch):
    provider.away = True
    monkeypatch.setattr(memberships, "PATIENCE_S", 0)
    assert memberships.leave(as_person(kubeconfig, BOB), VO.name, BOB).is_open
    until("it says why", lambda: "cannot be asked" in str(cluster.get(_ref(contract.REQUEST, BOB)).get("status")), BACK_S)
    provider.away = False
    until("it is carried out", lambda: state(cluster, contract.REQUEST, BOB) == State.DONE, BACK_S)


def test_a_refusal_is_told_and_the_request_may_be_made_once_more(kubeconfig, cluster, provider):
    asked(kubeconfig, cluster)
    memberships.decide(as_person(kubeconfig, BOSS), VO.name, ADA, Verdict.REFUSE, by=BOSS, reason="not here")
    told = memberships.own_request(as_person(kubeconfig, ADA), VO.name, ADA)
    assert (told.state, told.reason) == (State.REFUSED, "not here")
    with pytest.raises(PrimageError, match="unasked"):
        memberships.decide(as_person(kubeconfig, BOSS), VO.name, ADA, Verdict.APPROVE, by=BOSS, roles=("guest",))
    asked(kubeconfig, cluster)
    assert provider.placed == []


def test_who_is_a_member_already_or_by_the_sites_file_is_told(kubeconfig, cluster, provider):
    ref = Ref.of(custom.member(VO.name, MemberSpec(identity=ADA, uid=50_001)))
    cluster.apply(custom.member(VO.name, MemberSpec(identity=ADA, uid=50_001)), manager=OPERATOR)
    try:
        memberships.ask_to_join(as_person(kubeconfig, ADA), VO.name, ADA, ("guest",), "")
        until("it is refused", lambda: state(cluster, contract.REQUEST, ADA) == State.REFUSED, BACK_S)
        found = memberships.own_request(as_person(kubeconfig, ADA), VO.name, ADA)
        assert "by the word of the site's operators" in found.problem
    finally:
        cluster.delete(ref, propagation="Background")
    assert provider.placed == []


def test_nobody_reads_changes_or_deletes_what_is_somebody_elses(kubeconfig, cluster):
    asked(kubeconfig, cluster)
    bob, ref = as_person(kubeconfig, BOB), _ref(contract.REQUEST, ADA)
    for act in (
        lambda: bob.get(ref),
        lambda: bob.list(custom.API_VERSION, contract.REQUEST, SPACE),
        lambda: bob.deletable(ref),
        lambda: bob.patch(ref, {}, manager="test"),
        lambda: bob.delete(ref),
        lambda: as_person(kubeconfig, BOSS).delete(ref),
        lambda: as_person(kubeconfig, BOSS).deletable(ref),
        lambda: as_person(kubeconfig, ADA).patch(ref, {"spec": {"roles": ["admin"]}}, manager="test"),
        lambda: as_person(kubeconfig, ADA).patch(ref, {"metadata": {"labels": {"a": "b"}}}, manager="test"),
    ):
        with pytest.raises(Refused) as refused:
            act()
        assert refused.value.status in (403, 422)
        assert "hello" not in refused.value.message
    assert memberships.own_request(as_person(kubeconfig, ADA), VO.name, ADA).says == "<b>hello</b>"
    assert state(cluster, contract.REQUEST, ADA) == State.ASKED, "reading has not deleted it"


@pytest.mark.parametrize(
    "step",
    [
        {"op": "copy", "from": "/spec/message", "path": "/spec/wish"},
        {"op": "test", "path": "/spec/message", "value": "<b>hello</b>"},
        {"op": "test", "path": "/spec/message", "value": "something else"},
    ],
)
def test_nobody_reads_a_request_by_what_a_patch_of_it_is_refused_for(kubeconfig, cluster, step):
    """The API server validates what a patch makes, and quotes it, before it asks admission: so rights alone can refuse."""
    asked(kubeconfig, cluster)
    bob, content = as_person(kubeconfig, BOB), "application/json-patch+json"
    path = bob._path(_ref(contract.REQUEST, ADA))
    with pytest.raises(Refused) as refused:
        bob._call("PATCH", path, [("dryRun", "All")], json.dumps([step]), content_type=content)
    assert (refused.value.status, "cannot patch" in refused.value.message) == (403, True)
    assert "hello" not in refused.value.message


@pytest.mark.parametrize(
    ("who", "changes", "words"),
    [
        (BOSS, {"decidedBy": SECOND}, "Set spec.decidedBy"),
        (BOB, {"decidedBy": BOB}, "forbidden"),
        (BOSS, {"verdict": "rule"}, "Unsupported value"),
        (BOSS, {"roles": ["root"]}, "Unsupported value"),
        (BOSS, {"reason": "x" * 201}, "may not be more than 200"),
        (BOSS, {"identity": BOB}, "Set metadata.name: bob-at-example-dot-org"),
        (BOSS, {"more": "fields"}, "unknown field"),
    ],
)
def test_a_decision_that_is_forged_or_out_of_bounds_is_refused(kubeconfig, who, changes, words):
    spec = contract.MembershipDecisionSpec(identity=ADA, verdict=Verdict.APPROVE, roles=(Role.GUEST,), decided_by=BOSS)
    obj = contract.decision(VO.name, spec)
    with pytest.raises(Refused, match=words):
        as_person(kubeconfig, who).create({**obj, "spec": {**obj["spec"], **changes}}, manager="test")


def test_the_policies_have_no_mistakes_of_type(kubeconfig):
    cluster = Cluster(kubeconfig)

    def checked():
        found = cluster.list("admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicy")
        return [one["status"]["typeChecking"] for one in found if "typeChecking" in (one.get("status") or {})]

    assert until("both are checked", lambda: len(checked()) == len(POLICIES) and checked(), BACK_S) == [{}] * len(POLICIES)
