"""HPC jobs on the standing site: app hpc through the site's own connector, on a real Slurm."""

import base64
import json
import threading
from dataclasses import replace

import pytest
from files import holding
from hpc_machine import OTHER_VO, on_hpc, slurm_jobs, until

from primage.clients.cluster import Cluster, Ref
from primage.contract.names import SYSTEM_NAMESPACE, hpc_connector
from primage.engine.api import Options
from primage.engine.embedded.engine import EmbeddedEngine
from primage.errors import PrimageError
from primage.local.site import LocalSite
from primage.operations.logs import jobs_of, read
from primage.operations.site import usual_site
from primage.paths import log_dir, state_dir
from primage.projects.project import StackName, parse_stack_name

pytestmark = pytest.mark.usefixtures("slurm")

VO = "vo-dot-primage-dot-eu"
STACK = parse_stack_name("hpc/vo.primage.eu.local--test")
JOB = Ref("batch/v1", "Job", "hello-test", VO)
MEMBER = "member1@primage.eu"
ACCOUNT, OTHER_ACCOUNT = "vo20001", "vo20002"
HOSTILE = 'it\'s "quoted" $(id) `id` ; & | \\ \n second line\t*'


@pytest.fixture
def engine(site: LocalSite):
    found = EmbeddedEngine()
    yield found
    found.destroy(STACK, Options())


@pytest.fixture
def home(site: LocalSite):
    """Run a script in the VO's HOME, as a batch job of the VO would."""

    def run(script: str) -> str:
        stack = parse_stack_name("batch/vo.primage.eu.local--home")
        job = {
            "name": "home",
            "image": "primage/base:1",
            "command": ["sh", "-ceu", f'cd "$HOME"\n{script}'],
            "cpu": "100m",
        }
        own = EmbeddedEngine()
        own.up(stack, Options(overrides={"job": {**job, "memory": "32Mi", "backoff_limit": 0}}))
        ((cluster, ref),) = jobs_of(stack)
        text = "".join(read(cluster, ref, follow=False))
        own.destroy(stack, Options())
        return text

    return run


def settings(script: str, **more) -> Options:
    job = {"name": "hello", "host": "hpc", "script": script, "memory": "64Mi", "deadline_seconds": 300, "monitoring_period": 5}
    return Options(overrides={"job": {**job, **more}})


def written() -> str:
    ((cluster, ref),) = jobs_of(STACK)
    return "".join(read(cluster, ref, follow=False))


def nothing_in_slurm(uid: str) -> bool:
    return slurm_jobs(uid) == [] and uid not in on_hpc(f"ls /scratch/{ACCOUNT}/primage")


def test_script_arguments_and_environment_arrive_unchanged(engine):
    script = (
        "#!/usr/bin/env python3\n#SBATCH --partition=none --time=0 --account='x'\n"
        "import json, os, sys\nprint(json.dumps([sys.argv[1:], os.environ['GREETING'], \"it's\"]))\n"
    )
    engine.up(STACK, settings(script, args=[HOSTILE, "", "#SBATCH --hold"], env={"GREETING": HOSTILE}))
    assert json.loads(written()) == [[HOSTILE, "", "#SBATCH --hold"], HOSTILE, "it's"]


def test_inputs_go_there_and_outputs_come_back(engine, home):
    home("mkdir -p study-in/deep && printf one > study-in/one && printf 'two words' > 'study-in/deep/two words'")
    script = """
set -eu
mkdir -p "made here"
find study-in -type f | sort | xargs -d "\\n" cat > "made here/sum"
ls -A "$MOUNT_POINT/DATALAKE/"
"""
    engine.up(STACK, settings(script, inputs=["study-in"], outputs=["made here"]))
    assert home('cat "made here/sum"; rm -r study-in "made here"') == "two wordsone"


def test_output_is_in_home_while_the_job_runs_and_can_be_followed(engine):
    up = threading.Thread(
        target=EmbeddedEngine().up, args=(STACK, settings("echo first; while [ ! -e go ]; do sleep 0.2; done; echo last"))
    )
    up.start()
    until("the job is there", lambda: (usual_site().cluster.get(JOB) or {}).get("status", {}).get("ready"))
    ((cluster, ref),) = jobs_of(STACK)
    pieces = read(cluster, ref, follow=True)
    assert next(pieces) == "first\n"
    uid = cluster.get(JOB)["metadata"]["uid"]
    on_hpc(f"touch /scratch/{ACCOUNT}/primage/{uid}/mount/HOME/private/go")
    assert "".join(pieces) == "last\n"
    up.join(timeout=60)
    assert not up.is_alive()


@pytest.mark.parametrize(
    ("script", "more", "words"),
    [
        ("true", {"partition": "none"}, "invalid partition"),
        ("true", {"cpu": "5000"}, "node configuration is not available|More processors requested"),
        ("true", {"memory": "90Ti"}, "node configuration is not available|[Mm]emory"),
        ("true", {"gpu": 1}, "generic resource|gres"),
        ("true", {"image": "/images/none.sif"}, "Apptainer is not installed"),
        ("true", {"inputs": ["no/such/file"]}, "there is no no/such/file in HOME/private"),
        ("true", {"outputs": ["no-such-result"]}, "did not make no-such-result"),
        ("echo reading slice 17; exit 3", {"backoff_limit": 1}, r"ended with status 3; its last lines:\n  reading slice 17"),
        ("kill -9 $$", {"backoff_limit": 0}, "ended by signal 9"),
        ("sleep 60", {"deadline_seconds": 3}, "not done within 3 s"),
    ],
)
def test_why_a_job_fails_is_said(engine, script, more, words):
    with pytest.raises(PrimageError, match=words):
        engine.up(STACK, settings(script, **more))
    uid = usual_site().cluster.get(JOB)["metadata"]["uid"]
    until("nothing is left of it", lambda: not [s for _, s in slurm_jobs(uid) if s in {"PENDING", "RUNNING"}])
    until("its folder is gone", lambda: uid not in on_hpc(f"ls /scratch/{ACCOUNT}/primage"))
    tries = {"echo reading slice 17; exit 3": 2, "kill -9 $$": 1, "sleep 60": 1}.get(script, 1 if "outputs" in more else 0)
    # Slurm remembers also what it refused, as failed; whatever was refused here never reached it.
    assert len([state for _, state in slurm_jobs(uid) if tries or state != "FAILED"]) == tries


def test_a_job_that_uses_too_much_memory_is_told_so(engine):
    hog = "#!/usr/bin/env python3\nimport time\nkept = bytearray(b'x') * (400 << 20)\ntime.sleep(60)"
    with pytest.raises(PrimageError, match="used more memory than it asked for"):
        engine.up(STACK, settings(hog, memory="100Mi", backoff_limit=0, deadline_seconds=120))


def test_released_while_it_runs_it_is_cancelled(engine, cluster):
    up = threading.Thread(target=_expect_failure, args=(settings("sleep 600"),))
    up.start()
    until("it runs", lambda: (cluster.get(JOB) or {}).get("status", {}).get("ready"))
    uid = cluster.get(JOB)["metadata"]["uid"]
    engine.destroy(STACK, Options())
    assert cluster.get(JOB) is None
    assert [state for _, state in slurm_jobs(uid)] == ["CANCELLED"]
    assert nothing_in_slurm_lives(uid)
    up.join(timeout=60)


def _expect_failure(options: Options, stack: StackName = STACK) -> None:
    with pytest.raises(PrimageError):
        EmbeddedEngine().up(stack, options)


def nothing_in_slurm_lives(uid: str) -> bool:
    return uid not in on_hpc(f"ls /scratch/{ACCOUNT}/primage")


def test_suspended_and_resumed(engine, cluster):
    script = "echo begun; while [ ! -e ../../../../go-on ]; do sleep 0.2; done"
    up = threading.Thread(target=EmbeddedEngine().up, args=(STACK, settings(script)))
    up.start()
    until("it runs", lambda: (cluster.get(JOB) or {}).get("status", {}).get("ready"))
    uid = cluster.get(JOB)["metadata"]["uid"]
    cluster.patch(JOB, {"spec": {"suspend": True}}, manager="test")
    until("it is suspended", lambda: _condition(cluster, "Suspended") == "True")
    assert [state for _, state in slurm_jobs(uid)] == ["CANCELLED"]
    on_hpc(f"touch /scratch/{ACCOUNT}/primage/go-on")
    try:
        cluster.patch(JOB, {"spec": {"suspend": False}}, manager="test")
        up.join(timeout=90)
        assert not up.is_alive()
        assert "failed" not in cluster.get(JOB)["status"]
    finally:
        on_hpc(f"rm /scratch/{ACCOUNT}/primage/go-on")


def _condition(cluster: Cluster, kind: str) -> str:
    conditions = (cluster.get(JOB) or {}).get("status", {}).get("conditions") or []
    return next((c["status"] for c in conditions if c["type"] == kind), "")


def test_a_second_up_changes_nothing_and_another_script_is_another_job(engine):
    engine.up(STACK, settings("echo one"))
    assert engine.preview(STACK, settings("echo one")).changed() == []
    assert engine.up(STACK, settings("echo one")).changed() == []
    engine.up(STACK, settings("echo two"))
    assert written() == "two\n"


@pytest.mark.parametrize(
    ("stack", "account", "other"),
    [("hpc/vo.primage.eu.local--test", ACCOUNT, OTHER_ACCOUNT), (f"hpc/{MEMBER}_vo.primage.eu.local--test", "u40001", "u40002")],
    ids=["VOs", "members"],
)
def test_nobody_sees_anything_of_others_on_the_hpc_machine(engine, cluster, stack, account, other):
    stack = parse_stack_name(stack)
    job = replace(JOB, namespace=stack.namespace)
    up = threading.Thread(target=_expect_failure, args=(settings("echo secret > secret; sleep 600"), stack))
    up.start()
    try:
        until("it runs", lambda: (cluster.get(job) or {}).get("status", {}).get("ready"))
        uid = cluster.get(job)["metadata"]["uid"]
        number = slurm_jobs(uid)[0][0]
        work = f"/scratch/{account}/primage/{uid}"
        assert "secret" in on_hpc(f"cat {work}/mount/HOME/private/secret", account)
        for look in (
            f"ls /scratch/{account}",
            f"cat {work}/1/program",
            f"cat {work}/1/output",
            f"cat /home/{account}/.ssh/authorized_keys",
            f"scancel {number}",
        ):
            said = on_hpc(f"{look} && echo DONE", other, check=False)
            assert "DONE" not in said, look
            assert "denied" in said.lower() or "not permitted" in said.lower(), said
        for look in ("squeue --noheader", f"scontrol show job {number}", f"scontrol write batch_script {number} -"):
            said = on_hpc(look, other, check=False)
            assert "hello" not in said, look
            assert uid not in said, look
    finally:
        engine.destroy(stack, Options())
        up.join(timeout=60)


@pytest.mark.parametrize(
    ("verb", "what", "namespace", "allowed"),
    [
        ("get", "secrets/backend-hpc", OTHER_VO, True),
        ("patch", "jobs.batch/status", OTHER_VO, True),
        ("list", "secrets", OTHER_VO, False),
        ("get", "secrets/another", OTHER_VO, False),
        ("get", "secrets/backend-hpc", VO, False),
        ("get", "configmaps/backend-hpc", VO, False),
        ("list", "jobs.batch", VO, False),
        ("get", "secrets/backend-hpc", "member1-at-primage-dot-eu", False),
        ("create", "jobs.batch", OTHER_VO, False),
        ("create", "pods", OTHER_VO, False),
        ("list", "nodes", "", False),
        ("list", "members.primage.eu", OTHER_VO, True),
        ("list", "members.primage.eu", VO, False),
        ("patch", "members.primage.eu/status", OTHER_VO, False),
        ("get", "secrets/backend-hpc", SYSTEM_NAMESPACE, False),
        ("list", "pods", SYSTEM_NAMESPACE, False),
    ],
)
def test_a_connector_may_do_its_work_and_nothing_else(cluster, verb, what, namespace, allowed):
    assert may(cluster, OTHER_VO, verb, what, namespace) is allowed


def test_a_vos_connector_serves_its_members_and_asks_for_no_others(cluster):
    for namespace, allowed in (("member1-at-primage-dot-eu", True), (VO, True), (OTHER_VO, False), ("kube-system", False)):
        assert may(cluster, VO, "get", "secrets/backend-hpc", namespace) is allowed, namespace
        assert may(cluster, VO, "list", "jobs.batch", namespace) is allowed, namespace
    assert not may(cluster, VO, "list", "secrets", "member1-at-primage-dot-eu")
    assert not may(cluster, VO, "list", "members.primage.eu", "member1-at-primage-dot-eu")


def may(cluster: Cluster, vo: str, verb: str, what: str, namespace: str) -> bool:
    """Whether a VO's connector may do that."""
    resource, _, name = what.partition("/")
    resource, _, group = resource.partition(".")
    attributes = {"verb": verb, "resource": resource, "group": group, "namespace": namespace}
    attributes |= {"subresource": name} if name == "status" else {"name": name}
    user = f"system:serviceaccount:{SYSTEM_NAMESPACE}:{hpc_connector(vo)}"
    groups = ["system:serviceaccounts", f"system:serviceaccounts:{SYSTEM_NAMESPACE}", "system:authenticated"]
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {"user": user, "groups": groups, "resourceAttributes": {key: value for key, value in attributes.items() if value}},
    }
    found = cluster._call("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", None, json.dumps(review))
    return bool(found["status"]["allowed"])


def test_the_key_is_in_the_secret_and_nowhere_else(cluster):
    key = base64.b64decode(cluster.get(Ref("v1", "Secret", "backend-hpc", VO))["data"]["ssh-privatekey"]).decode()
    line = key.splitlines()[2]
    labels = f"app.kubernetes.io/name=hpc-connector,app.kubernetes.io/instance={VO}"
    (pod,) = [p for p in cluster.list("v1", "Pod", SYSTEM_NAMESPACE, labels=labels) if p["status"]["phase"] == "Running"]
    for container in ("hpc-connector", "home"):
        assert line not in cluster.logs(SYSTEM_NAMESPACE, pod["metadata"]["name"], tail=100_000, container=container)
    assert line not in json.dumps(pod) + json.dumps(cluster.list("v1", "ConfigMap", VO)) + json.dumps(
        cluster.list("v1", "Event", VO)
    )
    assert not [*holding(line.encode(), state_dir()), *holding(line.encode(), log_dir())]
