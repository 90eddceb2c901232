"""HPC jobs of a member who means harm, by a real token: what they do to their VO's connector costs at most the job that does it."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from hostile import create, kubectl
from hpc_machine import on_hpc, slurm_jobs, until

from primage.clients.cluster import Cluster, Ref, Refused, is_leaving
from primage.contract.names import SYSTEM_NAMESPACE

pytestmark = pytest.mark.usefixtures("slurm")

ACCOUNT, SPACE = "u40001", "member1-at-primage-dot-eu"
"""Of the member whose token it is."""
HOME = Path("/var/lib/primage/local/shared/home/vo.primage.eu/private")
HEALTHY = "echo fine"
MARK = "7654321"
"""Seconds that nothing else sleeps."""


class Jobs:
    """HPC jobs that a tenant makes by hand."""

    def __init__(self, tenant):
        self._tenant = tenant
        self.made: list[str] = []

    def start(self, name: str, script: str, *, paper: dict[str, Any] | None = None, operator: bool = False, **spec: Any):
        """Make one, as the member or, with what admission keeps from members, as an operator; returns its uid."""
        data = {"monitoring_period": "1", "job": json.dumps({"host": "hpc", "script": script, **(paper or {})})}
        meta = {"name": name, "namespace": SPACE}
        container = {"name": "job", "image": "hpc.primage.eu/none", "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}}}
        template = {
            "metadata": {"annotations": {"hpc.primage.eu/job": name}},
            "spec": {"restartPolicy": "Never", "containers": [container]},
        }
        annotations = spec.pop("annotations", {})
        whole = {
            "managedBy": "hpc.primage.eu/connector",
            "backoffLimit": 0,
            "activeDeadlineSeconds": 300,
            "template": template,
            **spec,
        }
        objects = [
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": data},
            {"apiVersion": "batch/v1", "kind": "Job", "metadata": {**meta, "annotations": annotations}, "spec": whole},
        ]
        as_whom = Cluster(self._tenant.admin) if operator else self._tenant.cluster
        self.made.append(name)
        *_, job = [create(as_whom, obj) for obj in objects]
        return str(job["metadata"]["uid"])

    def live(self, name: str):
        return self._tenant.cluster.get(Ref("batch/v1", "Job", name, SPACE)) or {}

    def condition(self, name: str):
        """Reason and message of its end, once it has ended."""
        conditions = self.live(name).get("status", {}).get("conditions") or []
        return next(((c["reason"], c.get("message", "")) for c in conditions if c["type"] in {"Complete", "Failed"}), ("", ""))

    def ends(self, name: str):
        until(f"{name} ends", lambda: self.condition(name)[0])
        return self.condition(name)

    def clear(self):
        self._tenant.try_to("delete", "job,configmap", *self.made, "-n", SPACE, "--ignore-not-found", "--timeout=90s")


@pytest.fixture
def jobs(tenant):
    found = Jobs(tenant)
    yield found
    found.clear()


def pod(tenant):
    """Name of the pod of the VO's connector, and how often its containers were restarted."""
    labels = "app.kubernetes.io/name=hpc-connector,app.kubernetes.io/instance=vo-dot-primage-dot-eu"
    found = [p for p in Cluster(tenant.admin).list("v1", "Pod", SYSTEM_NAMESPACE, labels=labels) if not is_leaving(p)]
    return found[0]["metadata"]["name"], sum(one["restartCount"] for one in found[0]["status"]["containerStatuses"])


def end_connector(tenant):
    """As a node that fails ends it."""
    kubectl("delete", "pod", pod(tenant)[0], "-n", SYSTEM_NAMESPACE, "--wait=false", kubeconfig=tenant.admin)


def test_no_result_that_a_job_leaves_costs_another_anything(tenant, jobs):
    before = pod(tenant)
    poison = {"minus": "printf -- --5", "power": "printf ²", "long": "head -c 5000 /dev/zero | tr '\\0' 9"}
    for name, command in poison.items():
        # Its parent, which would write the true one, is killed first.
        jobs.start(name, f'kill -9 "$PPID"; {command} > ../../../1/result; sleep 2')
    jobs.start("pipe", 'kill -9 "$PPID"; mkfifo ../../../1/result; sleep 2')
    jobs.start("healthy", HEALTHY)
    assert jobs.ends("healthy")[0] == "Completed"
    for name in (*poison, "pipe"):
        assert jobs.ends(name)[0] not in {"", "Completed"}
    assert pod(tenant) == before


def test_outputs_are_what_was_named_or_the_job_fails_and_says_which(jobs):
    jobs.start("inside", "mkdir run-7; echo x > run-7/model; ln -s run-7 latest", paper={"outputs": ["latest"]})
    jobs.start("outside", "ln -s /etc/hostname stolen", paper={"outputs": ["stolen"]})
    jobs.start("options", "true", paper={"outputs": ["./-exec"]})
    assert jobs.ends("inside")[0] == "Completed"
    reason, message = jobs.ends("outside")
    assert (reason, "stolen" in message) == ("OutputMissing", True)
    assert jobs.ends("options")[0] == "Unfit"


def test_annotations_that_mean_nothing_are_not_retried_for_ever(jobs):
    for number, value in enumerate(("x", "-1", "9" * 400)):
        notes = {"hpc.primage.eu/attempt": value, "hpc.primage.eu/failed": value}
        with pytest.raises(Refused, match="the HPC connector's notes"):
            jobs.start(f"refused-{number}", HEALTHY, annotations=notes)
        jobs.start(f"note-{number}", HEALTHY, annotations=notes, operator=True)
    for number in range(3):
        assert jobs.ends(f"note-{number}")[0] == "Completed"


def test_a_members_backend_is_believed_by_nobody(tenant, jobs):
    """A config map that points elsewhere: members may not write it, and the job goes where the site says all the same."""
    kept = tenant.try_to("get", "configmap", "backend-hpc", "-n", SPACE, "-o", "jsonpath={.data.ENDPOINT}").stdout
    patch = json.dumps({"data": {"ENDPOINT": "192.0.2.1", "scratch": "$(touch /tmp/evil)", "slurmrestd": "http://192.0.2.1"}})
    back = json.dumps({"data": {"ENDPOINT": kept, "scratch": "/scratch/$USER", "slurmrestd": None}})
    change = ("patch", "configmap", "backend-hpc", "-n", SPACE, "--type=merge", "-p")
    assert "only its operators change or delete it" in tenant.try_to(*change, patch).stderr
    assert kubectl(*change, patch, kubeconfig=tenant.admin).returncode == 0
    try:
        end_connector(tenant)
        jobs.start("believed", HEALTHY)
        assert jobs.ends("believed")[0] == "Completed"
    finally:
        assert kubectl(*change, back, kubeconfig=tenant.admin).returncode == 0
    assert "evil" not in on_hpc("ls /tmp")


def test_nothing_in_slurm_outlives_a_job_that_is_deleted_with_all_that_tells_of_it(tenant, jobs):
    uid = jobs.start("outlives", "sleep 600")
    until("it runs", lambda: [state for _, state in slurm_jobs(uid)] == ["RUNNING"])
    tenant.try_to("annotate", "job", "outlives", "-n", SPACE, "hpc.primage.eu/backend=elsewhere", "--overwrite")
    tenant.try_to("delete", "configmap", "outlives", "-n", SPACE)
    end_connector(tenant)
    tenant.try_to("delete", "job", "outlives", "-n", SPACE, "--wait=false")
    until("the job is gone", lambda: not jobs.live("outlives"))
    assert [state for _, state in slurm_jobs(uid)] == ["CANCELLED"]


def test_a_slurm_job_that_changes_its_own_comment_is_followed_and_ends_with_its_job(jobs):
    jobs.start("sheds", "scontrol update JobId=$SLURM_JOB_ID Comment=nothing; sleep 5; echo fine", backoffLimit=2)
    assert jobs.ends("sheds")[0] == "Completed"
    assert jobs.live("sheds")["status"].get("failed", 0) == 0, "it was seen to its end, and tried once"
    jobs.start("hides-it", f"scontrol update JobId=$SLURM_JOB_ID Comment=nothing; echo hidden; sleep {MARK}")
    count = f"pgrep -u {ACCOUNT} -f -c {MARK} || true"
    until("it runs", lambda: int(on_hpc(count)) >= 1)
    jobs.clear()
    until("nothing is left", lambda: on_hpc(count).strip() == "0", 30)


def test_a_job_that_prints_a_gigabyte_and_fails_costs_the_connector_nothing(tenant, jobs):
    before = pod(tenant)
    jobs.start("loud", "head -c 1000000000 /dev/zero | tr '\\0' x; echo; echo no more patience; exit 3")
    reason, message = jobs.ends("loud")
    assert message.endswith("no more patience"), reason
    assert pod(tenant) == before
    assert peak_memory_kib(tenant) < 200 * 1024, "of 512 MiB that its container may have"


def peak_memory_kib(tenant) -> int:
    """The most that the connector has had since it began."""
    said = kubectl(
        *("exec", pod(tenant)[0], "-n", SYSTEM_NAMESPACE, "-c", "hpc-connector", "--", "cat", "/proc/1/status"),
        kubeconfig=tenant.admin,
    ).stdout
    return next(int(line.split()[1]) for line in said.splitlines() if line.startswith("VmHWM:"))


def test_what_left_its_jobs_process_group_and_environment_ends_with_the_job(jobs):
    uid = jobs.start("hides", f"setsid env -i sleep {MARK} < /dev/null > /dev/null 2>&1 &\nexec -a sshd sleep {MARK}")
    count = f"pgrep -u {ACCOUNT} -f -c {MARK} || true"
    until("both run", lambda: int(on_hpc(count)) >= 2)
    jobs.clear()
    until("nothing is left", lambda: on_hpc(count).strip() == "0", 30)
    assert [state for _, state in slurm_jobs(uid)] == ["CANCELLED"]


def test_pipes_in_place_of_logs_keep_only_their_own_jobs(tenant, jobs):
    names = [f"log-{number}" for number in range(8)]
    folders = [f"jobs/{name}/{jobs.start(name, HEALTHY, suspend=True)[:8]}" for name in names]
    script = "cd /home-private && " + " && ".join(f"mkdir -p {folder} && mkfifo {folder}/1.log" for folder in folders)
    volumes = [{"name": "home", "persistentVolumeClaim": {"claimName": "home-private"}}]
    writer = tenant.pod("planter", script, volumes=volumes)
    writer["spec"]["containers"][0]["volumeMounts"] = [{"name": "home", "mountPath": "/home-private"}]
    tenant.says(writer)
    for name in names:
        tenant.try_to("patch", "job", name, "-n", SPACE, "--type=merge", "-p", '{"spec": {"suspend": false}}')
    jobs.start("healthy", HEALTHY)
    assert jobs.ends("healthy")[0] == "Completed"
    events = tenant.try_to("get", "events", "-n", SPACE, "--field-selector=reason=HomeUnavailable")
    assert "not a regular file" in events.stdout


def test_nothing_leads_from_one_members_job_to_anothers_files(tenant, jobs):
    """By name, by a link that was planted, and as an output: it is refused, and the other's folder stays as it is."""
    theirs = HOME / "member2@primage.eu"
    (theirs / "secret").write_text("of another")
    before = sorted(path.name for path in theirs.iterdir())
    planted = HOME / "member1@primage.eu/planted"
    planted.symlink_to("../member2@primage.eu")
    try:
        jobs.start("above", "true", paper={"inputs": ["../member2@primage.eu/secret"]})
        jobs.start("through-a-link", "true", paper={"inputs": ["planted/secret"]})
        jobs.start("back-through-it", "mkdir planted; echo x > planted/taken", paper={"outputs": ["planted/taken"]})
        assert jobs.ends("above")[0] == "Unfit"
        assert jobs.ends("through-a-link")[0] == "InputMissing"
        told = lambda: "is a link" in tenant.try_to("get", "events", "-n", SPACE, "--field-selector=reason=HomeUnavailable").stdout  # noqa: E731
        until("it is told", told)
        assert sorted(path.name for path in theirs.iterdir()) == before
    finally:
        planted.unlink()
        (theirs / "secret").unlink()
    try:
        assert jobs.ends("back-through-it")[0] == "Completed", "once nothing is in the way"
    finally:
        shutil.rmtree(planted, ignore_errors=True)
