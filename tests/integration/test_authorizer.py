"""The authorizer on a control plane of its own: tenants are made, kept and taken away, whatever happens meanwhile."""

import base64
import itertools
import json
import os
import random
import stat
import time
from contextlib import suppress
from pathlib import Path

import pytest
from authorizer_process import authorizer
from control_plane import ADMIN, GRACE, PERSON, control_plane
from hpc_machine import until
from waiting import define_kinds

from infra.components.authorizer import rules_of_copies
from primage.clients.cluster import Cluster, Ref, Refused
from primage.contract import custom_resources as custom
from primage.contract import names
from primage.contract.audit import Source, Verb
from primage.contract.hpc_centres import HpcBackendConfig, HpcConfig
from primage.contract.names import AUDIT_FOLDER, AUDIT_VOLUME
from primage.contract.networks import NetworkConfig
from primage.contract.offer import CONFIG_MAP, KEY, SiteOffer
from primage.contract.roles import Role
from primage.contract.tenant import Tenant
from primage.contract.tenant_objects import everything
from primage.contract.tenant_secrets import TenantSecretsConfig
from primage.contract.vo import MemberSpec, QuotaConfig, VirtualOrganisationSpec
from primage.contract.volumes import PosixVolume
from primage.contract.volumes.settings import VolumesConfig
from primage.local.toolchain.build import KUBERNETES_TOOLS
from primage.operations.audit.reading import Found, api_server_lines

pytestmark = pytest.mark.apart

OPERATOR = "operator"
LABELS = {names.LABEL_MADE_BY: "site", names.LABEL_STACK: "here", names.LABEL_SITE: "here", names.LABEL_MANAGED_BY: "primage"}
VO = VirtualOrganisationSpec(name="vo.example.org", gid=20001, quota=QuotaConfig(cpu="4", memory="8Gi"))
OTHER = VirtualOrganisationSpec(name="other.example.org", gid=20002, quota=QuotaConfig(cpu="4", memory="8Gi"))
SPACE = "vo-dot-example-dot-org"
NUMBERS = itertools.count(1)
BACK_S = 60
"""A long time for what takes a second where nothing else runs."""


def offer(**more):
    fields = {
        "labels": LABELS,
        "protect": False,
        "mount_point": "/primage",
        "oneprovider": "",
        "network": NetworkConfig(api_servers=("10.0.0.1/32",)),
        "volumes": VolumesConfig(
            datalake=PosixVolume(path="/srv/datalake", capacity="1Gi"), home=PosixVolume(path="/srv/home", capacity="1Gi")
        ),
        "hpc": HpcConfig(
            image="registry.example.org/hpc@sha256:" + 64 * "0",
            backends=(HpcBackendConfig(name="hpc", endpoint="10.1.0.1", vos=(VO.name,)),),
        ),
    }
    return SiteOffer(**{**fields, **more})


def offered(cluster, what):
    metadata = {"name": CONFIG_MAP, "namespace": names.SYSTEM_NAMESPACE}
    cluster.apply(
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {KEY: what.model_dump_json()}}, manager=OPERATOR
    )


@pytest.fixture(scope="module")
def empty(tmp_path_factory):
    folder = tmp_path_factory.mktemp("plane")
    with control_plane(KUBERNETES_TOOLS.build(folder / "build.log", lambda *_: None), folder) as kubeconfig:
        cluster = Cluster(kubeconfig)
        space = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": names.SYSTEM_NAMESPACE}}
        cluster.apply(space, manager=OPERATOR)
        define_kinds(cluster, OPERATOR)
        offered(cluster, offer())
        yield cluster, kubeconfig


@pytest.fixture(scope="module")
def process(empty, tmp_path_factory):
    with authorizer(empty[1], tmp_path_factory.mktemp("authorizer"), PRIMAGE_WATCH_S="5") as running:
        yield running


@pytest.fixture(scope="module")
def standing(empty, process):
    """With the VO on it."""
    ready(empty[0], custom.organisation(VO))
    return empty[0]


@pytest.fixture
def cluster(standing, process):
    """As a site is: with its own offer, and the authorizer at work."""
    yield standing
    offered(standing, offer())
    process.start()


@pytest.fixture
def member():
    """A person whom no other test has asked for."""
    number = next(NUMBERS)
    return MemberSpec(identity=f"ada{number}@example.org", uid=40000 + number, roles=(Role.RESEARCHER,))


def home_of(process, member):
    return process.volumes / "home/vo.example.org/private" / member.identity


def ask(cluster, obj):
    """Write a custom resource; its address."""
    cluster.apply(obj, manager=OPERATOR)
    return Ref.of(obj)


def status(cluster, ref):
    return (cluster.get(ref) or {}).get("status") or {}


def ready(cluster, obj):
    """Ask for a tenant, and wait until it is said to be there."""
    ref = ask(cluster, obj)
    until(f"{ref} is ready", lambda: status(cluster, ref).get("applied") == custom.digest_of(obj), 60)
    return ref


def missing(cluster, tenant):
    """Which of a tenant's objects are not there."""
    return [str(Ref.of(obj)) for obj in everything(tenant, offer()) if cluster.get(Ref.of(obj)) is None]


def bound(cluster, namespace, member):
    """The roles that a member has in a namespace."""
    found = cluster.list("rbac.authorization.k8s.io/v1", "RoleBinding", namespace)
    return {binding["roleRef"]["name"] for binding in found for subject in binding["subjects"] if subject["name"] == me(member)}


def audited(process, member):
    """What the audit log says of a member's roles."""
    return [line for line in process.audited() if line.who.account == member.identity]


def rights(process, member):
    """The same, in two words each."""
    return [(line.verb.value, line.object.name) for line in audited(process, member)]


def me(member):
    return f"primage:{member.identity}"


def test_a_vo_and_a_member_have_all_that_the_contract_says_and_folders(cluster, process, member):
    ref = ready(cluster, custom.member(VO.name, member))
    assert missing(cluster, Tenant(VO)) == missing(cluster, Tenant(VO, member)) == []
    assert status(cluster, ref)["namespace"] == ref.name
    assert bound(cluster, ref.name, member) == {"edit"}
    assert bound(cluster, SPACE, member) == {"view"}
    found = home_of(process, member).stat()
    assert (found.st_uid, found.st_gid, f"{stat.S_IMODE(found.st_mode):o}") == (member.uid, member.uid, "2770")
    (line,) = audited(process, member)
    assert (line.verb, line.object.vo, line.object.namespace, line.object.name) == (Verb.GIVEN, VO.name, ref.name, "researcher")
    assert (line.who.source, line.why) == (Source.OPERATOR, "an operator's Member says so")


def test_what_is_deleted_or_changed_by_hand_is_back(cluster, member):
    space = ready(cluster, custom.member(VO.name, member)).name
    policy = Ref("networking.k8s.io/v1", "NetworkPolicy", "default-deny", space)
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "vo", "namespace": space}}
    rbac = "rbac.authorization.k8s.io"
    intruder = {
        "apiVersion": f"{rbac}/v1",
        "kind": "RoleBinding",
        "metadata": {"name": "more", "namespace": space, "labels": {**LABELS, **Tenant(VO, member).labels}},
        "roleRef": {"apiGroup": rbac, "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"kind": "User", "apiGroup": rbac, "name": me(member)}],
    }
    cluster.delete(policy)
    cluster.apply({**quota, "spec": {"hard": {"pods": "9999"}}}, manager="hand", force=True)
    cluster.apply(intruder, manager="hand")
    until("the policy is back", lambda: cluster.get(policy) is not None, BACK_S)
    until("the quota is as it was", lambda: cluster.get(Ref.of(quota))["spec"]["hard"]["pods"] == "100", BACK_S)
    until("nobody has more rights", lambda: bound(cluster, space, member) == {"edit"}, BACK_S)
    mine = {**intruder, "metadata": {**intruder["metadata"], "name": "member-edit"}}
    cluster.delete(Ref.of(mine), propagation="Background")
    with suppress(Refused):  # it may be back already
        cluster.apply(mine, manager="hand")
    until("nor by the name of their own", lambda: bound(cluster, space, member) == {"edit"}, BACK_S)


def test_who_is_left_alone_is_and_is_put_back_afterwards(cluster, member):
    asked = custom.member(VO.name, member)
    ref = ready(cluster, asked)
    policy = Ref("networking.k8s.io/v1", "NetworkPolicy", "default-deny", ref.name)
    ask(cluster, {**asked, "metadata": {**asked["metadata"], "annotations": {names.ANNOTATION_PAUSED: "true"}}})
    until("it says so", lambda: status(cluster, ref)["phase"] == custom.Phase.PAUSED)
    cluster.delete(policy)
    other = MemberSpec(identity="beside@example.org", uid=49999)
    ready(cluster, custom.member(VO.name, other))
    assert cluster.get(policy) is None
    ask(cluster, asked)
    until("the policy is back", lambda: cluster.get(policy) is not None)


def test_rights_that_nobody_asks_for_are_taken(cluster, process, member):
    ref = ready(cluster, custom.member(VO.name, member))
    process.kill()
    cluster.delete(ref, propagation="Background")
    path = f"{cluster._path(ref)}"
    cluster._call("PATCH", path, None, '{"metadata":{"finalizers":null}}', content_type="application/merge-patch+json")
    until("it is gone, and nobody has noticed", lambda: cluster.get(ref) is None)
    assert bound(cluster, SPACE, member) == {"view"}
    process.start()
    until("nobody has rights", lambda: bound(cluster, ref.name, member) == bound(cluster, SPACE, member) == set())
    until("both have their line", lambda: len(rights(process, member)) == 3)
    assert set(rights(process, member)[1:]) == {("lost", "member-edit"), ("lost", f"member-{ref.name}-view")}


def test_a_member_with_a_job_that_something_holds_keeps_the_connector_until_it_is_let_go(cluster, member):
    ref = ready(cluster, custom.member(VO.name, member))
    pod = {"restartPolicy": "Never", "containers": [{"name": "c", "image": "x"}]}
    spec = {"managedBy": "hpc.primage.eu/connector", "template": {"spec": pod}}
    metadata = {"name": "held", "namespace": ref.name, "finalizers": ["hpc.primage.eu/cancel"]}
    job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": spec}
    cluster.apply(job, manager="hand")
    cluster.delete(ref, propagation="Background")
    until("it is said", lambda: "jobs are being ended, held among them" in status(cluster, ref).get("problem", ""))
    connector = Ref("rbac.authorization.k8s.io/v1", "RoleBinding", names.HPC_CONNECTOR, ref.name)
    assert cluster.get(connector), "who cancels the job still may"
    assert bound(cluster, ref.name, member) == bound(cluster, SPACE, member) == set()
    cluster.apply({**job, "metadata": {**metadata, "finalizers": []}}, manager="hand")
    until("the member is gone", lambda: cluster.get(ref) is None)


def test_who_leaves_a_protected_site_is_served_until_nothing_is_at_a_centre_and_again_once_they_are_back(cluster, member):
    ref = ready(cluster, custom.member(VO.name, member))
    offered(cluster, offer(protect=True))
    pod = {"restartPolicy": "Never", "containers": [{"name": "c", "image": "x"}]}
    spec = {"managedBy": "hpc.primage.eu/connector", "template": {"spec": pod}}
    metadata = {"name": "running", "namespace": ref.name, "finalizers": ["hpc.primage.eu/cancel"]}
    job = Ref.of(cluster.apply({"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": spec}, manager="hand"))
    connector = Ref("rbac.authorization.k8s.io/v1", "RoleBinding", names.HPC_CONNECTOR, ref.name)
    cluster.delete(ref, propagation="Background")
    until("it is said", lambda: "jobs are being suspended, running among them" in status(cluster, ref).get("problem", ""), BACK_S)
    assert cluster.get(job)["spec"]["suspend"]
    assert cluster.get(connector), "who cancels the job still may"
    assert bound(cluster, ref.name, member) == bound(cluster, SPACE, member) == set()
    suspended = {"type": "Suspended", "status": "True", "reason": "JobSuspended", "lastTransitionTime": "2026-01-01T00:00:00Z"}
    body = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "running"}, "status": {"conditions": [suspended]}}
    cluster._call("PATCH", f"{cluster._path(job)}/status", None, json.dumps(body), content_type="application/merge-patch+json")
    until("the member is gone", lambda: cluster.get(ref) is None, BACK_S)
    assert cluster.get(connector) is None
    ready(cluster, custom.member(VO.name, member))
    assert cluster.get(connector)
    assert not cluster.get(job)["spec"]["suspend"], "and it goes on"


def test_the_connectors_that_tenants_had_of_their_own_are_removed(cluster, process, member):
    """As an older version left them: with an account, and a way to the centres."""
    space = ready(cluster, custom.member(VO.name, member)).name
    process.kill()
    labels = {**LABELS, **Tenant(VO, member).labels, names.LABEL_APP: names.HPC_CONNECTOR}
    metadata = {"name": names.HPC_CONNECTOR, "namespace": space, "labels": labels}
    pod = {"containers": [{"name": "c", "image": "x"}], "serviceAccountName": names.HPC_CONNECTOR}
    template = {"metadata": {"labels": {"a": "b"}}, "spec": pod}
    rights = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": names.CONNECTOR_ROLE}
    old = [
        {"apiVersion": "v1", "kind": "ServiceAccount"},
        {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "spec": {"podSelector": {}}},
        {"apiVersion": "apps/v1", "kind": "Deployment", "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": template}},
    ]
    there = [Ref.of(cluster.apply({**obj, "metadata": metadata}, manager="primage-authorizer")) for obj in old]
    subject = {"kind": "ServiceAccount", "name": names.HPC_CONNECTOR, "namespace": space}
    binding = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "roleRef": rights, "subjects": [subject]}
    bound_to = Ref.of(cluster.apply({**binding, "metadata": metadata}, manager="primage-authorizer"))
    process.start()
    until("they are gone", lambda: not any(map(cluster.get, there)), BACK_S)
    own = {"kind": "ServiceAccount", "name": names.hpc_connector(SPACE), "namespace": names.SYSTEM_NAMESPACE}
    until("and their rights are the VO's connector's", lambda: cluster.get(bound_to)["subjects"] == [own], BACK_S)


def test_a_namespace_that_is_deleted_comes_back_with_all_that_was_in_it(cluster, process, member):
    space = Ref("v1", "Namespace", ready(cluster, custom.member(VO.name, member)).name)
    file = home_of(process, member) / "mine"
    file.write_text("mine")
    before = cluster.get(space)["metadata"]["uid"]
    cluster.delete(space)

    def again():
        found = cluster.get(space)
        return found and found["metadata"]["uid"] != before and not missing(cluster, Tenant(VO, member))

    until("all of it is there again", again)
    home = Ref("v1", "PersistentVolumeClaim", names.CLAIM_HOME_PRIVATE, space.name)
    until("and the claims have their volumes", lambda: cluster.get(home)["status"].get("phase") == "Bound")
    assert file.read_text() == "mine"


def test_who_loses_every_role_has_no_rights_and_keeps_what_is_theirs(cluster, process, member):
    space = ready(cluster, custom.member(VO.name, member)).name
    ready(cluster, custom.member(VO.name, member.model_copy(update={"roles": ()})))
    assert bound(cluster, space, member) == bound(cluster, SPACE, member) == set()
    assert cluster.get(Ref("v1", "PersistentVolumeClaim", names.CLAIM_HOME_PRIVATE, space))
    quota = cluster.get(Ref("v1", "ResourceQuota", "vo", space))["spec"]["hard"]
    assert (quota["pods"], quota["count/jobs.batch"]) == ("0", "0"), "nothing of theirs starts pods"
    steps = [((Role.GUEST, Role.ADMIN), "edit", "edit"), ((Role.RESEARCHER,), "edit", "view"), ((Role.GUEST,), "view", "view")]
    for roles, own, shared in steps:
        ready(cluster, custom.member(VO.name, member.model_copy(update={"roles": roles})))
        assert (bound(cluster, space, member), bound(cluster, SPACE, member)) == ({own}, {shared})
    assert rights(process, member) == [
        ("given", "researcher"),
        ("lost", "researcher"),
        ("given", "admin"),
        ("given", "guest"),
        ("lost", "admin"),
        ("lost", "guest"),
        ("given", "researcher"),
        ("lost", "researcher"),
        ("given", "guest"),
    ]


def test_who_is_deleted_leaves_nothing_but_files(cluster, process, member):
    ref = ready(cluster, custom.member(VO.name, member))
    file = home_of(process, member) / "mine"
    file.write_text("mine")
    cluster.delete(ref)
    until("the member is gone", lambda: cluster.get(ref) is None, 60)
    assert cluster.get(Ref("v1", "Namespace", ref.name)) is None
    assert not any(ref.name in volume["metadata"]["name"] for volume in cluster.list("v1", "PersistentVolume"))
    assert bound(cluster, SPACE, member) == set()
    assert file.read_text() == "mine"
    assert [(line.verb, line.why) for line in audited(process, member)][1:] == [(Verb.LOST, "the Member is deleted")]
    until("and the VO has all it had", lambda: missing(cluster, Tenant(VO)) == [])


def test_another_offer_reaches_everybody_and_a_protected_member_is_kept(cluster, member):
    ref = ready(cluster, custom.member(VO.name, member))
    offered(cluster, offer(mount_point="/elsewhere", protect=True, hpc=HpcConfig(image="x/y:1")))
    config = Ref("v1", "ConfigMap", names.CONFIG_MAP, ref.name)
    there = lambda: cluster.get(config)["data"][names.CONFIG_MAP_MOUNT_KEY]  # noqa: E731
    until("jobs find their files elsewhere", lambda: there() == "/elsewhere", BACK_S)
    connector = Ref("rbac.authorization.k8s.io/v1", "RoleBinding", names.HPC_CONNECTOR, ref.name)
    until("the connector's rights are gone with the centre", lambda: cluster.get(connector) is None, BACK_S)
    cluster.delete(ref)
    until("the member is gone", lambda: cluster.get(ref) is None, BACK_S)
    assert bound(cluster, ref.name, member) == bound(cluster, SPACE, member) == set(), "nobody works there any more"
    assert cluster.get(Ref("v1", "Namespace", ref.name))["status"]["phase"] == "Active"
    ready(cluster, custom.member(VO.name, member))
    assert bound(cluster, ref.name, member) == {"edit"}, "and it is theirs again once they are back"


ADA = MemberSpec(identity="ada@example.org", uid=40001)


@pytest.mark.parametrize(
    ("obj", "says"),
    [
        (
            {**custom.member(VO.name, ADA), "metadata": {"name": "kube-system", "namespace": SPACE}},
            "has to be ada-at-example-dot-org",
        ),
        (custom.organisation(VO.model_copy(update={"name": "default"})), "namespace default is there and is not that of"),
        (custom.organisation(VO.model_copy(update={"name": "nowhere.org", "egress": ("nowhere",)})), "egress"),
        (custom.member(VO.name, ADA.model_copy(update={"identity": "Ada <b>@x"})), "identity"),
    ],
)
def test_what_cannot_be_is_refused_and_told(cluster, obj, says):
    ref = ask(cluster, obj)
    until("it is refused", lambda: says in status(cluster, ref).get("problem", ""), BACK_S)
    assert status(cluster, ref)["phase"] == custom.Phase.REFUSED
    cluster.delete(ref)
    until("it is gone", lambda: cluster.get(ref) is None, BACK_S)
    until("the VO has all it had", lambda: missing(cluster, Tenant(VO)) == [])
    assert cluster.get(Ref("v1", "Namespace", "default"))["status"]["phase"] == "Active"


def test_the_api_server_knows_which_roles_there_are(cluster):
    asked = custom.member(VO.name, ADA)
    asked["spec"]["roles"] = ["root"]
    with pytest.raises(Refused, match="roles"):
        ask(cluster, asked)


def test_a_person_is_a_member_of_one_vo_on_a_site(cluster, member):
    ready(cluster, custom.organisation(OTHER))
    ready(cluster, custom.member(VO.name, member))
    second = ask(cluster, custom.member(OTHER.name, member))
    until("the second is refused", lambda: "member of one VO on a site" in status(cluster, second).get("problem", ""), BACK_S)
    cluster.delete(second)
    until("the second is gone", lambda: cluster.get(second) is None, BACK_S)
    assert missing(cluster, Tenant(VO, member)) == [], "and took nothing of the first with it"


def test_somebody_elses_folder_is_given_to_nobody(cluster, process, member):
    theirs = home_of(process, member)
    theirs.mkdir()
    os.chown(theirs, 50001, 50001)
    ref = ask(cluster, custom.member(VO.name, member))
    until("it is told", lambda: f"belongs to user 50001 and not to {member.uid}" in status(cluster, ref).get("problem", ""), BACK_S)
    theirs.rmdir()
    until("it goes on by itself", lambda: status(cluster, ref).get("phase") == custom.Phase.READY, 30)


def test_killed_anywhere_it_goes_on(cluster, process):
    """Killed after times that chance chooses, while members are made and taken away."""
    chance = random.Random(7)
    people = [MemberSpec(identity=f"p{n}@example.org", uid=41000 + n) for n in range(6)]

    def pulled_through(done):
        """Until it is done, with a little more time after each start: on a busy machine the start alone takes seconds."""
        deadline = time.monotonic() + 300
        for time_s in itertools.count(1.0, 0.5):
            if done():
                return
            assert time.monotonic() < deadline, process.log()[-3000:]
            process.kill()
            process.start()
            with suppress(AssertionError):
                until("it is done", done, time_s + chance.random() * 4)

    asked = [custom.member(VO.name, person) for person in people]
    refs = [ask(cluster, obj) for obj in asked]

    def all_ready():
        return all(status(cluster, ref).get("applied") == custom.digest_of(obj) for ref, obj in zip(refs, asked, strict=True))

    pulled_through(all_ready)
    assert [missing(cluster, Tenant(VO, person)) for person in people] == [[]] * len(people)
    assert [set(rights(process, person)) for person in people] == [{("given", "researcher")}] * len(people)
    for ref in refs:
        cluster.delete(ref, propagation="Background")
    pulled_through(lambda: all(cluster.get(ref) is None for ref in refs))
    assert [cluster.get(Ref("v1", "Namespace", ref.name)) for ref in refs] == [None] * len(refs)
    for person in people:
        said = rights(process, person)
        assert said == sorted(said), "whoever was given something has lost it since, and has it in no line after that"
        assert set(said) == {("given", "researcher"), ("lost", "researcher")}


def test_without_a_line_nobody_is_given_anything(cluster, process, member):
    folder = process.volumes / AUDIT_VOLUME / AUDIT_FOLDER
    folder.rename(folder.with_name("aside"))
    folder.write_text("in the way")
    ref = ask(cluster, custom.member(VO.name, member))
    until("it is told", lambda: "no role is given without it" in status(cluster, ref).get("problem", ""), BACK_S)
    assert bound(cluster, ref.name, member) == bound(cluster, SPACE, member) == set()
    folder.unlink()
    folder.with_name("aside").rename(folder)
    until("it goes on by itself", lambda: status(cluster, ref).get("phase") == custom.Phase.READY, 30)
    assert rights(process, member) == [("given", "researcher")]


def test_the_api_server_logs_what_people_do_and_nothing_they_send(cluster, empty):
    """By the policy of real sites."""
    grace = MemberSpec(identity=GRACE, uid=48000, roles=(Role.RESEARCHER,))
    space = ready(cluster, custom.member(VO.name, grace)).name
    hers = Cluster(str(Path(empty[1]).with_name("person")))
    pod = {"restartPolicy": "Never", "containers": [{"name": "c", "image": "x", "env": [{"name": "E", "value": "not-in-the-log"}]}]}
    about = {"name": "first", "namespace": space}
    job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": about, "spec": {"suspend": True, "template": {"spec": pod}}}
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": about, "stringData": {"key": "not-in-the-log"}}
    hers.apply(job, manager="grace", dry_run=True)
    hers.apply(job, manager="grace")
    hers.apply(secret, manager="grace")
    assert hers.get(Ref.of(secret))
    assert hers.list("batch/v1", "Job", space)
    for kind in ("Secret", "Pod"):
        with pytest.raises(Refused):
            hers.list("v1", kind, "kube-system")
    hers.delete(Ref.of(job))
    log, found = Path(empty[1]).with_name("audit.log"), Found()
    lines = [line for line in api_server_lines([log.read_bytes()], found) if line.who.account == GRACE]
    said = [(line.verb.value, line.object.kind, line.object.namespace, line.object.name) for line in lines]
    # Once each: what is refused our client asks twice, since a server that only starts refuses everything.
    assert list(dict.fromkeys(said)) == [
        ("launched", "jobs", space, "first"),
        ("changed", "secrets", space, "first"),
        ("read-secret", "secrets", space, "first"),
        ("refused", "secrets", "kube-system", ""),
        ("refused", "pods", "kube-system", ""),
        ("stopped", "jobs", space, "first"),
    ]
    assert not any(found.unreadable.values())
    text = log.read_text()
    for unsaid in ("not-in-the-log", PERSON, ADMIN):
        assert unsaid not in text
    assert all(json.loads(line)["level"] == "Metadata" for line in text.splitlines())
    assert stat.S_IMODE(log.stat().st_mode) == 0o600


@pytest.fixture
def sources(process, tmp_path):
    """Folders in place of the operator's two Secrets, as the pod would have them mounted."""
    folders = {"PRIMAGE_STORAGE": tmp_path / "storage", "PRIMAGE_PULL": tmp_path / "pull"}
    for folder in folders.values():
        folder.mkdir()
    process.environment |= {variable: str(folder) for variable, folder in folders.items()}
    process.kill()
    process.start()
    yield tuple(folders.values())
    forget_sources(process)


def forget_sources(process):
    """As a site whose settings name no Secrets any more."""
    for variable in ("PRIMAGE_STORAGE", "PRIMAGE_PULL"):
        process.environment.pop(variable, None)
    process.kill()
    process.start()


def copied(cluster, namespace, name):
    """What a tenant's copy says; None where there is none."""
    found = cluster.get(Ref("v1", "Secret", name, namespace))
    return found and {key: base64.b64decode(value).decode() for key, value in found["data"].items()}


def pulls_with(cluster, namespace):
    return (cluster.get(Ref("v1", "ServiceAccount", "default", namespace)) or {}).get("imagePullSecrets") or []


def test_tenants_have_their_own_part_of_the_operators_secrets_and_no_more(cluster, process, sources, member):
    (storage, pull), space = sources, names.namespace_for(member.identity)
    key, docker = names.STORAGE_SECRET_KEY, '{"auths": {"registry.example.org": {"auth": "cHVsbGVyOm9ubHk="}}}'
    (storage / f"{space}.{key}").write_text("hers alone")
    (storage / f"{SPACE}.{key}").write_text("the whole VO's")
    (storage / f"{space}-too.{key}").write_text("somebody else's")
    (pull / ".dockerconfigjson").write_text(docker)
    ready(cluster, custom.member(VO.name, member))
    assert copied(cluster, space, names.STORAGE_SECRET) == {key: "hers alone"}
    assert copied(cluster, space, names.PULL_SECRET) == {".dockerconfigjson": docker}
    assert pulls_with(cluster, space) == [{"name": names.PULL_SECRET}]
    until("the VO has its own", lambda: copied(cluster, SPACE, names.STORAGE_SECRET) == {key: "the whole VO's"}, BACK_S)

    (storage / f"{space}.{key}").write_text("hers, renewed")
    until("a change arrives", lambda: copied(cluster, space, names.STORAGE_SECRET) == {key: "hers, renewed"}, BACK_S)
    body = {"metadata": {"name": names.STORAGE_SECRET, "namespace": space}, "data": {key: ""}, "immutable": True}
    cluster.apply({"apiVersion": "v1", "kind": "Secret", **body}, manager="tenant", force=True)
    until("it is put back", lambda: copied(cluster, space, names.STORAGE_SECRET) == {key: "hers, renewed"}, BACK_S)
    own = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": space}}
    cluster.apply({**own, "imagePullSecrets": [{"name": "own"}]}, manager="tenant", force=True)
    until("both are named", lambda: pulls_with(cluster, space) == [{"name": "own"}, {"name": names.PULL_SECRET}], BACK_S)
    (storage / f"{space}.{key}").unlink()
    until("what is nobody's goes", lambda: copied(cluster, space, names.STORAGE_SECRET) is None, BACK_S)

    forget_sources(process)
    until(
        "the copies go",
        lambda: copied(cluster, SPACE, names.PULL_SECRET) is None and copied(cluster, space, names.PULL_SECRET) is None,
    )
    until("and what named them", lambda: pulls_with(cluster, space) == [{"name": "own"}], BACK_S)
    assert copied(cluster, SPACE, names.STORAGE_SECRET) is None
    assert not [word for word in ("hers", "cHVsbGVyOm9ubHk") if word in process.log()]


def test_the_authorizer_may_list_copies_by_their_name_and_no_other_secret(cluster, empty):
    role = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "copies"}}
    cluster.apply({**role, "rules": rules_of_copies(TenantSecretsConfig(pull="registry"))}, manager=OPERATOR)
    whom = [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": names.cluster_user(GRACE)}]
    about = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "copies"}
    binding = {**role, "kind": "ClusterRoleBinding", "roleRef": about, "subjects": whom}
    cluster.apply(binding, manager=OPERATOR)
    somebody = Cluster(str(Path(empty[1]).parent / "person"))

    def may_list(**which):
        with suppress(Refused):
            return somebody.list("v1", "Secret", **which) == []
        return False

    until("the right is there", lambda: may_list(fields=f"metadata.name={names.PULL_SECRET}"), BACK_S)
    assert not may_list()
    assert not may_list(fields="metadata.name=another")
    cluster.delete(Ref.of(binding))
