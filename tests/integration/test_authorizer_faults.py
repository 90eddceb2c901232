"""The authorizer ended after each of its steps, without an API server, and with an identity provider that fails.

All of it on one control plane, whose store is watched from the first object on: nobody ever has more than their Member says, and
what is somebody's stays. What the tests themselves assert is that all of it ends as it should.
"""

import itertools
import json
import threading
from dataclasses import dataclass, field
from functools import partial

import pytest
from authorizer_forks import ForkedAuthorizer, forked_authorizer
from control_plane import processes
from keycloak_server import Fault, keycloak_server
from rights_watch import rights_watch
from steps import Steps, counted_api, counted_folders
from store_watch import JSON_STORED
from waiting import define_kinds, until

from primage.clients.cluster import Cluster, Ref
from primage.contract import custom_resources as custom
from primage.contract import names
from primage.contract.hpc_centres import HpcConfig
from primage.contract.login import LoginConfig
from primage.contract.networks import NetworkConfig
from primage.contract.offer import CONFIG_MAP, KEY, SiteOffer
from primage.contract.roles import Role
from primage.contract.vo import MemberSpec, QuotaConfig, VirtualOrganisationSpec
from primage.contract.volumes import PosixVolume
from primage.contract.volumes.settings import VolumesConfig
from primage.local.toolchain.build import KUBERNETES_TOOLS

pytestmark = pytest.mark.apart

OPERATOR = "operator"
VO = VirtualOrganisationSpec(name="vo.example.org", gid=20001, quota=QuotaConfig(cpu="4", memory="8Gi"))
SPACE = names.namespace_for(VO.name)
LABELS = {names.LABEL_MADE_BY: "site", names.LABEL_STACK: "here", names.LABEL_SITE: "here", names.LABEL_MANAGED_BY: "primage"}
KEPT = "kept@example.org"
"""Somebody who is a member all the time, and whom nothing happens to."""
SOON_S = 120
"""A long time for what takes a second where nothing else runs."""
NUMBERS = itertools.count(1)


@pytest.fixture(scope="module")
def plane(tmp_path_factory):
    folder = tmp_path_factory.mktemp("plane")
    with processes(KUBERNETES_TOOLS.build(folder / "build.log", lambda *_: None), folder, JSON_STORED) as made:
        yield made


@pytest.fixture(scope="module")
def watch(plane):
    with rights_watch(plane.store) as made:
        yield made


@pytest.fixture(autouse=True)
def _nothing_wrong(watch):
    yield
    assert watch.wrong == []


@pytest.fixture(scope="module")
def cluster(plane, watch):
    made = Cluster(str(plane.kubeconfig))
    made.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": names.SYSTEM_NAMESPACE}}, manager=OPERATOR)
    define_kinds(made, OPERATOR)
    offered(made, None)
    return made


def offered(cluster, issuer):
    volumes = VolumesConfig(datalake=PosixVolume(path="/d", capacity="1Gi"), home=PosixVolume(path="/h", capacity="1Gi"))
    said = SiteOffer(
        labels=LABELS,
        protect=False,
        mount_point="/primage",
        oneprovider="",
        network=NetworkConfig(api_servers=("10.0.0.1/32",)),
        volumes=volumes,
        hpc=HpcConfig(),
        login=issuer and LoginConfig(issuer=issuer),
    )
    metadata = {"name": CONFIG_MAP, "namespace": names.SYSTEM_NAMESPACE}
    cluster.apply(
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {KEY: said.model_dump_json()}}, manager=OPERATOR
    )


@pytest.fixture(scope="module")
def steps():
    return Steps()


@pytest.fixture(scope="module")
def provider(tmp_path_factory):
    with keycloak_server(tmp_path_factory.mktemp("provider")) as made:
        yield made


@pytest.fixture(scope="module")
def process(plane, cluster, steps, provider, tmp_path_factory):
    """The authorizer, with the VO and one member who stays."""
    folder = tmp_path_factory.mktemp("authorizer")
    with counted_api(plane.kubeconfig, steps) as kubeconfig, counted_folders(folder, steps) as socket:
        login = {"PRIMAGE_LOGIN": str(provider.folder), "PRIMAGE_FOLDERS": str(socket)}
        with forked_authorizer(kubeconfig, folder, PRIMAGE_WATCH_S="30", **login) as made:
            made.start()
            ready(cluster, asked(cluster, custom.organisation(VO)))
            ready(cluster, asked(cluster, custom.member(VO.name, MemberSpec(identity=KEPT, uid=40000, roles=(Role.ADMIN,)))))
            yield made


@pytest.fixture
def running(process, steps, watch):
    """With the authorizer at work, and what is KEPT's to be kept."""
    watch.keep.add(names.namespace_for(KEPT))
    process.start()
    yield process
    steps.end_no_more()
    process.start()


def asked(cluster, obj):
    """Write a custom resource; what was written."""
    cluster.apply(obj, manager=OPERATOR)
    return obj


def is_ready(cluster, obj):
    return ((cluster.get(Ref.of(obj)) or {}).get("status") or {}).get("applied") == custom.digest_of(obj)


def ready(cluster, obj):
    until(f"{Ref.of(obj)} is ready", lambda: is_ready(cluster, obj), SOON_S)


def may(cluster, identity, verb, namespace):
    """What the API server says of a person."""
    body = {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview"}
    asks = {"verb": verb, "resource": "pods", "namespace": namespace}
    spec = {"user": f"{names.USER_PREFIX}{identity}", "resourceAttributes": asks}
    path = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
    return cluster._call("POST", path, None, json.dumps({**body, "spec": spec}))["status"]["allowed"]


def somebody(name):
    """A person whom nothing else has asked for, with a role."""
    number = next(NUMBERS)
    return MemberSpec(identity=f"{name}{number}@example.org", uid=41000 + number, roles=(Role.RESEARCHER,))


def space_of(person):
    return names.namespace_for(person.identity)


def ref_of(person):
    return Ref.of(custom.member(VO.name, person))


def lose(cluster, person, steps):
    """Take every role of somebody's; how many steps there were before."""
    asked(cluster, custom.member(VO.name, person.model_copy(update={"roles": ()})))
    return len(steps.done)


def leave(cluster, person, steps):
    cluster.delete(ref_of(person), propagation="Background")
    return len(steps.done)


def brought_through(process, reached, what):
    """Started again whenever it has ended, until something is so."""

    def now():
        if not process.runs():
            process.start()
        return reached()

    until(what, now, SOON_S)


def lost_first(steps, person, since):
    """Whether nothing of somebody's was touched before their rights were taken, but for their Member."""
    theirs = [step for step in steps.those(space_of(person), since) if "/members/" not in step.partition(" {")[0]]
    return len(theirs) > 1 and all(step.startswith("DELETE") and "/rolebindings/member-" in step for step in theirs[:2])


NOTE = "members/{space}/status?fieldManager"
LINE = 'account\\":\\"{identity}'
MAKING = (
    ("members/{space} [", 1),
    ('"{identity}"]', 1),
    ("/namespaces/{space}?", 1),
    ("/persistentvolumes/{space}", 1),
    ("/persistentvolumes/{space}", 3),
    ("/namespaces/{space}/persistentvolumeclaims/", 3),
    ("/namespaces/{space}/resourcequotas/", 1),
    ("/namespaces/{space}/networkpolicies/", 5),
    (NOTE, 1),
    (LINE, 1),
    (NOTE, 2),
    ("/namespaces/{space}/rolebindings/", 1),
    ("/namespaces/vo-dot-example-dot-org/rolebindings/member-{space}", 1),
    ("members/{space} {{", 1),
    ('members/{space}/status {{"status": {{"phase"', 1),
)
"""A step of each kind, and which of them: what is between the first and the last is made side by side."""
TAKING = (
    ("DELETE /apis/rbac.authorization.k8s.io/v1/namespaces/{space}", 1),
    ("DELETE /apis/rbac.authorization.k8s.io/v1/namespaces/vo-dot-example-dot-org/rolebindings/member-{space}", 1),
    (NOTE, 1),
    (LINE, 1),
    (NOTE, 2),
)
LOSING = (*TAKING, ("/namespaces/{space}/resourcequotas/", 1))
LEAVING = (
    *TAKING,
    ("DELETE /api/v1/namespaces/{space}?", 1),
    ("DELETE /api/v1/persistentvolumes/{space}", 1),
    ("DELETE /api/v1/persistentvolumes/{space}", 3),
    ("members/{space} [", 1),
)
"""The last three come once a namespace is gone, a while later: until then others are being made."""


@dataclass
class Ending:
    """Ends the authorizer after a step of somebody's, and starts it whenever it has ended.

    Attributes:
        planned: all that are to come, or have.
    """

    process: ForkedAuthorizer
    steps: Steps
    planned: list[threading.Event] = field(default_factory=list)

    def after(self, person, plans):
        """Plan the next one of these, if one is left."""
        for word, number in plans[:1]:
            said = word.format(space=space_of(person), identity=person.identity)
            self.planned.append(self.steps.end_after(number, said, self.process.kill))
        del plans[:1]

    def until(self, what, reached):
        brought_through(self.process, reached, what)


def test_ended_after_each_step_of_making_and_taking_it_goes_on_and_nobody_ever_has_more(running, cluster, steps, watch):
    """One person for each step of making, whose rights are taken when they are there: it is ended once or more for each."""
    ending, losing, leaving, everybody = Ending(running, steps), list(LOSING), list(LEAVING), []
    for plan in MAKING:
        person = somebody("made")
        running.kill()
        asked(cluster, custom.member(VO.name, person))
        ending.after(person, [plan])
        ending.until("they are ready", partial(is_ready, cluster, custom.member(VO.name, person)))
        until("it is told", lambda who=person.identity: len(watch.held_by(who)) == 2)
        everybody.append((person, len(steps.done)))
        if losing:
            ending.after(person, losing)
            asked(cluster, custom.member(VO.name, person.model_copy(update={"roles": ()})))
            ending.until("they have no right", lambda who=person.identity: not watch.held_by(who))
            ending.until("it has been ended", ending.planned[-1].is_set)
            assert cluster.get(Ref("v1", "Namespace", space_of(person)))
        else:
            ending.after(person, leaving)
        cluster.delete(ref_of(person), propagation="Background")
    ending.until("all are gone", lambda: not any(cluster.get(ref_of(person)) for person, _ in everybody))
    assert not losing
    assert not leaving
    ending.until("it has been ended each time", lambda: all(one.is_set() for one in ending.planned))
    for person, since in everybody:
        assert lost_first(steps, person, since), steps.those(space_of(person), since)
        assert watch.held_by(person.identity) == set()
        assert not may(cluster, person.identity, "list", SPACE)
        assert cluster.get(Ref("v1", "Namespace", space_of(person))) is None
    assert may(cluster, KEPT, "create", SPACE)


@pytest.mark.parametrize(("take", "number"), [(None, 12), (leave, 1), (lose, 4)])
def test_an_api_server_that_is_killed_costs_nobody_a_right_and_gives_none(running, plane, cluster, steps, watch, take, number):
    """After a step of making somebody, or of taking their rights; others are made and taken away at that moment."""
    person, comes, goes = (somebody(name) for name in ("hit", "comes", "goes"))
    there = [goes, *([person] if take else [])]
    for one in there:
        asked(cluster, custom.member(VO.name, one))
    for one in there:
        ready(cluster, custom.member(VO.name, one))
    killed = steps.end_after(number, space_of(person), lambda: plane.kill("kube-apiserver"))
    asked(cluster, custom.member(VO.name, comes))
    leave(cluster, goes, steps)
    if take:
        take(cluster, person, steps)
    else:
        asked(cluster, custom.member(VO.name, person))
    until("it is killed", killed.is_set, SOON_S)
    plane.start("kube-apiserver")
    plane.serving()
    ready(cluster, custom.member(VO.name, comes))
    if take:
        until("their rights are gone", lambda: not watch.held_by(person.identity), SOON_S)
        assert not may(cluster, person.identity, "list", SPACE)
    else:
        ready(cluster, custom.member(VO.name, person))
    until("so are those of who left", lambda: not watch.held_by(goes.identity), SOON_S)
    assert may(cluster, KEPT, "create", SPACE)
    assert may(cluster, comes.identity, "create", space_of(comes))


@pytest.fixture
def provided(running, cluster, provider, watch):
    """With an identity provider that names one more member, who stays."""
    provider.put("constant", "constant@example.org", f"/{VO.name}", f"/{VO.name}/researcher")
    offered(cluster, provider.issuer)
    until("they are given their rights", lambda: len(watch.held_by("constant@example.org")) == 2, SOON_S)
    watch.keep.add(names.namespace_for("constant@example.org"))
    return provider


@pytest.mark.parametrize("fault", list(Fault)[1:])
def test_a_provider_that_fails_takes_nothing_and_one_that_is_back_is_believed(running, provided, cluster, watch, fault):
    leaver, comer = (f"{name}{next(NUMBERS)}@example.org" for name in ("leaver", "comer"))
    role = f"/{VO.name}/researcher"
    provided.put(leaver, leaver, role)
    until("they have their rights", lambda: len(watch.held_by(leaver)) == 2, SOON_S)
    is_met = met(running, provided, fault)
    provided.fail(fault)
    watch.still = True
    provided.put(leaver, leaver, f"/{VO.name}")
    provided.put(comer, comer, role)
    until("it has failed", is_met, SOON_S)
    assert may(cluster, leaver, "list", SPACE), "nobody could know"
    watch.still = False
    provided.recover()
    until("who has left has nothing", lambda: not watch.held_by(leaver), SOON_S)
    until("who has come has it", lambda: len(watch.held_by(comer)) == 2, SOON_S)
    assert not may(cluster, leaver, "list", SPACE)
    assert may(cluster, "constant@example.org", "list", SPACE)


def met(process, provider, fault):
    """A function that tells whether a fault has been met by now."""
    if fault is Fault.SILENT:
        asked = provider.asked
        return lambda: provider.asked > asked
    before = process.log().count("cannot be asked")
    return lambda: process.log().count("cannot be asked") > before


STRANGE = {
    "x" * 280 + "@example.org": "cannot be a member",
    "ad\N{CYRILLIC SMALL LETTER A}@example.org": "cannot be a member",
    "../kept@example.org": "cannot be a member",
    "kept @example.org": "cannot be a member",
    names.namespace_for(KEPT): "cannot be a member",
    "system:masters": "cannot be a member",
    "": "cannot be read: it has no name",
}
"""Accounts, and what is said of them."""
NO_ROLES = ("/admin/../x", "/../admin", "/a.b", "/a b", "/" + 200 * "x", "/\N{CYRILLIC SMALL LETTER A}dmin", "/admin/x")
"""Of groups below the VO's."""


def test_accounts_and_groups_with_strange_names_give_nothing_and_are_told_and_keep_nobody_waiting(
    running, provided, cluster, watch
):
    last = f"last{next(NUMBERS)}@example.org"
    before = {obj["metadata"]["name"] for obj in cluster.list(custom.API_VERSION, custom.MEMBER)}
    for number, name in enumerate(STRANGE):
        provided.put(f"strange{number}", name, f"/{VO.name}", f"/{VO.name}/admin")
    provided.put("outside", "outside@example.org", *(f"/{VO.name}{group}" for group in NO_ROLES))
    provided.put(last, last, f"/{VO.name}/researcher")
    until("who came last has their rights", lambda: len(watch.held_by(last)) == 2, SOON_S)
    after = {obj["metadata"]["name"] for obj in cluster.list(custom.API_VERSION, custom.MEMBER)}
    assert after - before == {names.namespace_for(last)}
    said = running.log()
    for name, words in STRANGE.items():
        assert any(
            words in line and (name[:50] in line or name.encode("unicode_escape").decode() in line) for line in said.split("\n")
        )
