"""What an HPC job is and becomes, without a cluster or a queue."""

import base64
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import SSHCertificateBuilder, SSHCertificateType
from hypothesis import given
from hypothesis import strategies as st

from hpc_connector.clients.credentials import Credentials
from hpc_connector.domain.backend import backend_for, expanded
from hpc_connector.domain.end import end_of, explained
from hpc_connector.domain.errors import RefusedError, UnavailableError
from hpc_connector.domain.job import deadline_s, wish
from hpc_connector.domain.pace import Pace
from hpc_connector.domain.request import Request, request_of, slim
from hpc_connector.domain.seen import Seen, read_poll, read_queue
from hpc_connector.domain.submission import comment, rest_submission, sbatch_options
from primage.contract.hpc import ANNOTATION_ATTEMPT, FINALIZER, Backend, backends_of, describe
from primage.contract.hpc_centres import HpcBackendConfig
from primage.local.hpc import TOKEN_S, token_left_s

UID = "9b2e8b1c-0000-4000-8000-000000000001"


def job(**container):
    spec = {"template": {"spec": {"containers": [{"name": "job", "image": "hpc.primage.eu/none", **container}]}}}
    return {"metadata": {"uid": UID, "name": "train"}, "spec": {"backoffLimit": 2, "activeDeadlineSeconds": 90, **spec}}


def data(**more):
    return {"monitoring_period": "15", "job": json.dumps({"host": "hpc", "script": "true", **more})}


def test_the_papers_figure_8_is_a_request():
    resources = {"requests": {"cpu": "1500m", "memory": "1Gi"}, "limits": {"nvidia.com/gpu": "2"}}
    found = request_of(job(resources=resources, args=["a b"]), data(outputs=["out/"], partition="plgrid"))
    assert (found.cpus, found.memory_mib, found.gpus, found.tries, found.period_s) == (2, 1024, 2, 3, 15)
    assert found.outputs == ("out",)
    options = sbatch_options(found, Backend("hpc", "host", account="grant"), "cluster", 1)
    assert {"--partition=plgrid", "--account=grant", "--cpus-per-task=2", "--mem=1024M", "--gres=gpu:2", "--time=2"} <= set(options)
    assert f"--comment=primage:cluster:{UID}:1" in options


@pytest.mark.parametrize(
    ("container", "config", "words"),
    [
        ({}, {"job": "no json"}, "must be JSON with host and script"),
        ({}, {"job": '{"host": "hpc"}'}, "must be JSON with host and script"),
        ({}, data(script="a\0b"), "NUL"),
        ({"args": ["a\0b"]}, data(), "NUL"),
        ({"env": [{"name": "A", "valueFrom": {"secretKeyRef": {}}}]}, data(), "cannot see"),
        ({"env": [{"name": "A-B", "value": "x"}]}, data(), "no shell takes"),
        ({"resources": {"requests": {"cpu": "many"}}}, data(), "is not a valid quantity"),
        ({}, data(inputs=["/etc/passwd"]), "not a path below HOME/private"),
        ({}, data(inputs=["a/../../b"]), "not a path below HOME/private"),
        ({}, data(outputs=["-rf"]), "not a path below HOME/private"),
        ({}, data(outputs=["./-exec"]), "not a path below HOME/private"),
        ({}, data(outputs=["././/-delete"]), "not a path below HOME/private"),
        ({}, data(outputs=["."]), "not a path below HOME/private"),
        ({}, data(outputs=[""]), "not a path below HOME/private"),
        ({}, data(outputs=["a/./../../b"]), "not a path below HOME/private"),
        ({}, data(outputs=["a\0b"]), "not a path below HOME/private"),
        ({}, data(outputs=["x" * 1025]), "not a path below HOME/private"),
        ({}, data(outputs=["x"] * 1001), "at most 1000"),
        ({}, data(outputs="x"), "inputs and outputs lists"),
        ({}, data(partition="x --account=y"), "partition a name"),
        ({}, {**data(), "monitoring_period": "soon"}, "not a number of seconds"),
        ({}, {**data(), "monitoring_period": "nan"}, "not a number of seconds"),
        ({}, {**data(), "monitoring_period": "1e400"}, "not a number of seconds"),
        ({}, {**data(), "monitoring_period": "²"}, "not a number of seconds"),
        ({}, {"job": "[" * 100_000}, "must be JSON"),
        ({}, {"job": '{"host": "hpc", "script": "\\ud800"}'}, "must be JSON"),
        ({}, {}, "no key `job`"),
        ({}, data(script="x" * 140_000), "longer than 128 KiB"),
        ({"image": "--bind=/:/mnt"}, data(), "name of an image"),
        ({"env": [{"name": "Ä", "value": "x"}]}, data(), "no shell takes"),
        ({"resources": {"requests": {"cpu": "1e999999"}}}, data(), "is not a valid quantity"),
        ({"resources": {"requests": {"memory": "9" * 30}}}, data(), "is not a valid quantity"),
    ],
)
def test_unfit_jobs_are_refused_with_the_reason(container, config, words):
    with pytest.raises(RefusedError, match=words):
        request_of(job(**container), config)


def test_of_a_job_as_long_as_kubernetes_takes_little_is_kept():
    long = job(args=["x" * 1000] * 1000)
    long["metadata"] |= {
        "annotations": {"theirs": "y" * 200_000, ANNOTATION_ATTEMPT: "3"},
        "managedFields": [{}],
        "finalizers": [FINALIZER],
    }
    kept = slim(long)
    assert len(json.dumps(kept)) < 1000
    assert kept["metadata"]["annotations"] == {ANNOTATION_ATTEMPT: "3"}
    assert kept["metadata"]["finalizers"] == [FINALIZER]
    assert slim(job(args=["x"])) == job(args=["x"])


@pytest.mark.parametrize("spec", [{"backoffLimit": 2**31 - 1}, {"activeDeadlineSeconds": 2**62}])
def test_more_tries_or_a_longer_deadline_than_anybody_needs_are_refused(spec):
    asked = job()
    asked["spec"].update(spec)
    with pytest.raises(RefusedError, match="backoffLimit below 100"):
        request_of(asked, data())


def test_a_job_is_looked_at_once_an_hour_at_least():
    assert request_of(job(), {**data(), "monitoring_period": "999999"}).period_s == 3600


@given(
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])), st.text(st.characters(exclude_categories=["Cs"]))
)
def test_no_text_of_a_persons_is_an_option(script, argument):
    options = sbatch_options(Request(UID, "train", "hpc", script, (argument,)), Backend("hpc", "host"), "cluster", 1)
    assert options == sbatch_options(Request(UID, "train", "hpc", ""), Backend("hpc", "host"), "cluster", 1)


@given(st.sampled_from(["PENDING", "RUNNING", "COMPLETED"]), st.integers(0, 255), st.integers(0, 10**9), st.integers(1, 20))
def test_a_poll_is_read_back(state, code, written, attempt):
    others = f"Q|7|RUNNING|None|primage:another:{UID}:1\nQ|8|RUNNING|None|(null)\nnoise\nR|x|y|z\nS||\n"
    text = f"Q|12|{state}|None|{comment('cluster', UID, attempt)}\nR|{UID}|{attempt}|{code}\nS|{UID}|{attempt}|{written}\n"
    assert read_poll(others + text, "cluster", {}) == {(UID, attempt): Seen("12", state, "None", code, written)}


@given(
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])), st.text(st.characters(exclude_categories=["Cs"]))
)
def test_no_text_of_a_persons_is_in_what_slurmrestd_is_sent(script, argument):
    at = "/scratch/it's mine/primage/uid/1"
    sent = rest_submission(Request(UID, "train", "hpc", script, (argument,)), Backend("hpc", "host"), "cluster", 1, at)
    assert sent == rest_submission(Request(UID, "train", "hpc", ""), Backend("hpc", "host"), "cluster", 1, at)
    assert sent["script"].splitlines()[1:] == [
        "exec '/scratch/it'\"'\"'s mine/primage/uid/1/run.sh' '/scratch/it'\"'\"'s mine/primage/uid/1'"
    ]


def test_slurmrestd_is_sent_the_same_wishes_as_sbatch():
    request = Request(UID, "train", "hpc", "true", cpus=2, memory_mib=1024, gpus=1, seconds=90, partition="short")
    job = rest_submission(request, Backend("hpc", "host", account="grant"), "cluster", 3, "/scratch/u/primage/uid/3")["job"]
    wanted = {
        "cpus_per_task": 2,
        "memory_per_node": 1024,
        "gres": "gpu:1",
        "time_limit": 2,
        "partition": "short",
        "account": "grant",
    }
    assert wanted.items() <= job.items()
    assert job["comment"] == comment("cluster", UID, 3)
    assert job["requeue"] is False


def test_of_two_slurm_jobs_of_one_attempt_the_living_one_counts():
    def queued(number, state, whose="cluster", user="me", said=None):
        about = {"job_id": number, "job_state": state, "state_reason": "None", "user_name": user}
        return json.dumps({**about, "comment": said if said is not None else comment(whose, UID, 1)}).encode()

    assert read_queue([queued(8, "RUNNING"), queued(7, "FAILED")], "cluster", "me", {})[UID, 1]["slurm"] == "8"
    assert read_queue([queued(8, "FAILED"), queued(7, "COMPLETED")], "cluster", "me", {})[UID, 1]["slurm"] == "7"
    odd = [b'{"job_id": 9, "job_state": "RUNNING"}', b'{"job_id": "x"}', b"[" * 100_000, b'{"job_id": 1, "job_state": []}']
    assert read_queue([queued(7, "RUNNING", "another"), *odd], "cluster", "me", {}) == {}
    assert read_queue([*odd, queued(7, "RUNNING")], "cluster", "me", {}).keys() == {(UID, 1)}
    # Another account's job may say anything; one's own may change what it says, and is known by its number.
    assert read_queue([queued(8, "RUNNING", user="you"), queued(7, "FAILED")], "cluster", "me", {})[UID, 1]["slurm"] == "7"
    assert read_queue([queued(7, "RUNNING", said="nothing")], "cluster", "me", {(UID, 1): "7"})[UID, 1]["slurm"] == "7"
    assert read_queue([queued(7, "FAILED"), queued(9, "RUNNING")], "cluster", "me", {(UID, 1): "7"})[UID, 1]["slurm"] == "7"


PIECES = st.sampled_from(
    ["Q", "R", "S", "|", "\n", " ", "-", "--5", "²", "0", "1", "9" * 5000, UID, "primage:cluster:", ":", "RUNNING"]
)


@given(st.lists(st.one_of(PIECES, st.text(max_size=3)), max_size=40).map("".join))
def test_no_poll_breaks_the_reader(text):
    read_poll(text, "cluster", {})


@pytest.mark.parametrize("code", ["--5", "-1", "²", "9" * 5000, "256", " 5", "5 ", "0x5", "?", "٣"])
def test_a_result_that_is_no_exit_status_ends_its_attempt_and_changes_no_other(code):
    other = "1" * 8 + UID[8:]
    found = read_poll(f"R|{UID}|1|{code}\nR|{other}|1|0\nS|{other}|1|7\n", "cluster", {})
    assert found == {(UID, 1): Seen(unfit=True), (other, 1): Seen(code=0, written=7)}
    assert (end_of(found[UID, 1]).reason, end_of(found[UID, 1]).again) == ("ResultUnfit", False)
    assert end_of(Seen("1", "COMPLETED", unfit=True)).reason == "ResultUnfit"
    assert end_of(Seen("1", "TIMEOUT", unfit=True)).reason == "TimeLimit"


@pytest.mark.parametrize(
    "line",
    [
        "Q|1| |None|primage:cluster:{}:1",
        "Q|x|RUNNING|None|primage:cluster:{}:1",
        "R|{}|0|0",
        "R|{}|10000|0",
        "R|../{}|1|0",
        "R||1|0",
    ],
)
def test_a_line_that_no_look_prints_is_left_out(line):
    assert read_poll(line.format(UID), "cluster", {}) == {}


def test_a_site_describes_its_centres_and_nothing_unfit_is_taken_for_one():
    good = {"name": "hpc", "endpoint": "login.example.org:2222", "scratch": "$SCRATCH/${USER}/x", "slurmrestd": "https://rest:6820"}
    (found,) = backends_of(json.dumps([good]))
    assert found.address == ("login.example.org", 2222)
    assert expanded(found.scratch, {"HOME": "/h", "USER": "me", "SCRATCH": "/s"}) == "/s/me/x"
    assert expanded("~/a/$USER", {"HOME": "/h", "USER": "me"}) == "/h/a/me"
    assert expanded("$USERS", {"HOME": "/h", "USER": "me"}) is None
    assert backend_for("login.example.org:2222", [found]) is found
    with pytest.raises(RefusedError, match="it has hpc"):
        backend_for("elsewhere", [found])
    unfit = [
        {"slurmrestd": "http://rest"},
        {"slurmrestd": "https://me@rest"},
        {"endpoint": "-oProxyCommand=x"},
        {"endpoint": "host\n"},
        {"scratch": "$(id)"},
        {"scratch": "`id`"},
        {"scratch": "/a b"},
        {"scratch": "a/b"},
        {"scratch": "~root"},
        {"scratch": "${HOME:-x}"},
        {"poll_s": 0},
        {"max_jobs": "many"},
        {"more": 1},
    ]
    for change in unfit:
        with pytest.raises(ValueError, match=r"\$\[0\]"):
            backends_of(json.dumps([{**good, **change}]))
    with pytest.raises(ValueError, match="the same name"):
        backends_of(json.dumps([good, good]))


def test_every_centre_a_site_may_describe_is_one_its_connectors_take():
    site = yaml.safe_load((Path(__file__).parents[2] / "Pulumi.local.yaml").read_text())["config"]["primage:site"]
    own = [HpcBackendConfig.model_validate(backend) for backend in site["hpc"]["backends"]]
    every = HpcBackendConfig(
        name="a",
        endpoint="host:22",
        vos=("v",),
        partition="p,q",
        account="a.b",
        scratch="${A}/$B/c",
        datalake="/d/{vo}",
        slurmrestd="https://h:1",
        networks=("192.0.2.0/24",),
        max_jobs=7,
        poll_seconds=0.2,
    )
    found = backends_of(describe([backend.for_connector("vo.primage.eu") for backend in [*own, every]]))
    assert [backend.name for backend in found] == [*(backend.name for backend in own), "a"]
    assert found[-1] == Backend("a", "host:22", "p,q", "a.b", "${A}/$B/c", "/d/vo.primage.eu", "https://h:1", 7, 0.2)
    assert every.data("v")["ENDPOINT"] == "host:22"
    for scratch in ("$(id)", "a/b", "~root", "/a b", "${A:-b}"):
        with pytest.raises(ValueError, match="scratch"):
            HpcBackendConfig(name="a", endpoint="host", vos=("v",), scratch=scratch)


@pytest.mark.parametrize(
    ("seen", "done", "reason", "again"),
    [
        (Seen("1", "COMPLETED", code=0), True, "", True),
        (Seen(code=0), True, "", True),
        (Seen("1", "COMPLETED"), True, "", True),
        (Seen("1", "FAILED", code=3), False, "ExitStatus", True),
        (Seen(code=3), False, "ExitStatus", True),
        (Seen("1", "FAILED", code=137), False, "Signalled", True),
        (Seen("1", "TIMEOUT", code=143), False, "TimeLimit", False),
        (Seen("1", "OUT_OF_MEMORY"), False, "OutOfMemory", False),
        (Seen("1", "NODE_FAIL"), False, "NodeFailure", True),
        (Seen("1", "CANCELLED"), False, "Cancelled", False),
        (Seen(), False, "Lost", True),
    ],
)
def test_what_became_of_an_attempt(seen, done, reason, again):
    assert seen.over
    end = end_of(seen)
    assert (end.done, end.reason, end.again) == (done, reason, again)


def test_memory_is_named_where_slurm_only_writes_it_to_the_output():
    end = explained(end_of(Seen("1", "FAILED")), "slurmstepd: error: Exceeded job memory limit")
    assert (end.reason, end.again) == ("OutOfMemory", False)


@given(st.lists(st.booleans(), max_size=60), st.floats(0.1, 5), st.floats(5, 100))
def test_the_pace_is_quick_after_a_change_and_never_slower_than_asked(changes, usual, ceiling):
    pace = Pace(usual)
    for changed in changes:
        pause = pace.next(changed=changed, ceiling_s=ceiling)
        assert usual <= pause <= max(usual, ceiling)
        assert not changed or pause == usual


@given(st.floats(0.1, 5), st.floats(5, 100), st.integers(0, 30))
def test_the_first_looks_after_something_happened_come_sooner(usual, ceiling, quiet):
    pace = Pace(usual)
    for _ in range(quiet):
        pace.next(changed=False, ceiling_s=ceiling)
    pace.hurry()
    pauses = [pace.next(changed=True, ceiling_s=ceiling) for _ in range(10)]
    assert pauses[0] == pytest.approx(usual / 4)
    assert pauses == sorted(pauses)
    assert pauses[-1] == usual


def test_what_a_job_wants_done():
    held = {"finalizers": [FINALIZER]}
    over = {"conditions": [{"type": "Complete", "status": "True"}]}
    assert wish({"metadata": {}, "spec": {}}) == "run"
    assert wish({"metadata": {}, "spec": {"suspend": True}}) == "suspend"
    assert wish({"metadata": {**held, "deletionTimestamp": "x"}, "spec": {}}) == "delete"
    assert wish({"metadata": {"deletionTimestamp": "x"}, "spec": {}}) == ""
    assert wish({"metadata": held, "spec": {}, "status": over}) == "tidy"
    assert wish({"metadata": {}, "spec": {}, "status": over}) == ""


@pytest.mark.parametrize("skew_s", [-300, 300])
def test_a_clock_five_minutes_off_neither_ends_a_job_at_once_nor_keeps_it_for_ever(skew_s):
    began = (datetime.now(UTC) + timedelta(seconds=skew_s)).strftime("%Y-%m-%dT%H:%M:%SZ")
    left = deadline_s({"spec": {"activeDeadlineSeconds": 600}, "status": {"startTime": began}})
    assert 290 <= left <= 600


def test_a_certificates_end_is_read():
    authority, key = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    end = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=5)
    builder = SSHCertificateBuilder().public_key(key.public_key()).type(SSHCertificateType.USER).valid_for_all_principals()
    builder = builder.valid_after(end.timestamp() - 9000).valid_before(end.timestamp()).key_id(b"x")
    certificate = builder.sign(authority).public_bytes()
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption())
    secret = {"username": b"me", "ssh-privatekey": private, "known_hosts": b"h ssh-ed25519 x", "ssh-certificate": certificate}
    assert Credentials.of(secret).expires() == end
    plain = {**secret, "ssh-certificate": b""}
    assert Credentials.of(plain).expires() is None
    claims = base64.urlsafe_b64encode(json.dumps({"exp": end.timestamp(), "sun": "me"}).encode()).rstrip(b"=")
    assert Credentials.of({**plain, "slurm-token": b"e30." + claims + b".c2ln"}).expires() == end
    assert Credentials.of({**plain, "slurm-token": b"no-token"}).expires() is None
    for never in ({"exp": 1e300}, {"exp": "soon"}, {"exp": [1]}, [1]):
        claims = base64.urlsafe_b64encode(json.dumps(never).encode()).rstrip(b"=")
        assert Credentials.of({**plain, "slurm-token": b"e30." + claims + b".c2ln"}).expires() is None
    with pytest.raises(UnavailableError, match="no known_hosts"):
        Credentials.of({**secret, "known_hosts": b""})


@pytest.mark.parametrize(
    "change",
    [
        {"username": b"-oProxyCommand=x"},
        {"username": b"me\nyou"},
        {"username": "ä".encode()},
        {"known_hosts": b"\xff"},
        {"slurm-token": b"a\r\nX-Other: b"},
        {"ssh-certificate": b"none"},
        {"proxy": b"none"},
        {"ca.crt": b"\xff"},
        {"ssh-privatekey": b"x" * 70_000},
    ],
)
def test_a_secret_that_holds_something_else_is_said_to(change):
    good = {"username": b"me", "ssh-privatekey": b"x", "known_hosts": b"h ssh-ed25519 x"}
    Credentials.of(good)
    with pytest.raises(UnavailableError) as caught:
        Credentials.of({**good, **change})
    assert caught.value.reason == "CredentialsUnfit"


def test_a_kept_token_is_renewed_before_it_ends(tmp_path):
    path = tmp_path / "token"
    claims = base64.urlsafe_b64encode(json.dumps({"exp": 1000}).encode()).decode().rstrip("=")
    assert token_left_s(path, 0) == 0
    for text, left in ((f"e30.{claims}.c2ln", 900), ("none", 0), ("a.e30.b", 0), ("a.!.b", 0)):
        path.write_text(text)
        assert token_left_s(path, 100) == left
    assert TOKEN_S <= 31 * 86400
