"""What an HPC job is and becomes, without a cluster or a queue."""

import base64
import json
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import SSHCertificateBuilder, SSHCertificateType
from hypothesis import given
from hypothesis import strategies as st

from hpc_connector.connection import Credentials
from hpc_connector.connector import deadline_s, wish
from hpc_connector.domain import (
    FINALIZER,
    Backend,
    Pace,
    RefusedError,
    Request,
    Seen,
    UnavailableError,
    amount,
    comment,
    end_of,
    explained,
    read_poll,
    read_queue,
    request_of,
    rest_submission,
    sbatch_options,
)
from hpc_connector.files import Home

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
        ({"resources": {"requests": {"cpu": "many"}}}, data(), "no amount"),
        ({}, data(inputs=["/etc/passwd"]), "no path below HOME/private"),
        ({}, data(inputs=["a/../../b"]), "no path below HOME/private"),
        ({}, data(outputs=["-rf"]), "no path below HOME/private"),
        ({}, data(outputs="x"), "must be lists"),
        ({}, data(partition="x --account=y"), "is no name"),
        ({}, {**data(), "monitoring_period": "soon"}, "no number of seconds"),
    ],
)
def test_unfit_jobs_are_refused_with_the_reason(container, config, words):
    with pytest.raises(RefusedError, match=words):
        request_of(job(**container), config)


@given(
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])), st.text(st.characters(exclude_categories=["Cs"]))
)
def test_no_text_of_a_persons_is_an_option(script, argument):
    options = sbatch_options(Request(UID, "train", "hpc", script, (argument,)), Backend("hpc", "host"), "cluster", 1)
    assert options == sbatch_options(Request(UID, "train", "hpc", ""), Backend("hpc", "host"), "cluster", 1)


@given(st.integers(0, 10**6), st.sampled_from(["", "m", "k", "M", "G", "Ki", "Mi", "Gi"]))
def test_amounts_are_kubernetes_own(number, unit):
    from primage.quantities import parse_quantity

    assert amount(f"{number}{unit}") == parse_quantity(f"{number}{unit}")


@given(st.sampled_from(["PENDING", "RUNNING", "COMPLETED"]), st.integers(0, 255), st.integers(0, 10**9), st.integers(1, 20))
def test_a_poll_is_read_back(state, code, written, attempt):
    others = f"Q|7|RUNNING|None|primage:another:{UID}:1\nQ|8|RUNNING|None|(null)\nnoise\nR|x|y|z\nS||\n"
    text = f"Q|12|{state}|None|{comment('cluster', UID, attempt)}\nR|{UID}|{attempt}|{code}\nS|{UID}|{attempt}|{written}\n"
    assert read_poll(others + text, "cluster") == {(UID, attempt): Seen("12", state, "None", code, written)}


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
    def queued(number, state, whose="cluster"):
        return {"job_id": number, "job_state": state, "state_reason": "None", "comment": comment(whose, UID, 1)}

    assert read_queue([queued(8, "RUNNING"), queued(7, "FAILED")], "cluster")[UID, 1]["slurm"] == "8"
    assert read_queue([queued(8, "FAILED"), queued(7, "COMPLETED")], "cluster")[UID, 1]["slurm"] == "7"
    assert read_queue([queued(7, "RUNNING", "another"), {"job_id": 9, "job_state": "RUNNING"}], "cluster") == {}


@given(st.text())
def test_no_poll_breaks_the_reader(text):
    read_poll(text, "cluster")


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
def test_the_pace_is_quick_after_a_change_and_never_slower_than_asked(changes, floor, ceiling):
    pace = Pace(floor)
    for changed in changes:
        pause = pace.next(changed=changed, ceiling_s=ceiling)
        assert floor <= pause <= max(floor, ceiling)
        assert not changed or pause == floor


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


def test_a_link_out_of_home_is_not_followed(tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    (tmp_path / "secret").write_text("secret")
    (home / "way-out").symlink_to(tmp_path)
    (home / "folder").mkdir()
    (home / "folder/link").symlink_to(tmp_path / "secret")
    (home / "folder/file").write_text("mine")
    for path in ("way-out", "way-out/secret"):
        with pytest.raises(RefusedError, match="leads out of HOME/private"):
            Home(home).files((path,))
    assert list(Home(home).files(("folder",))) == ["folder/file"]


def test_a_link_in_place_of_a_log_is_not_written_through(tmp_path):
    (tmp_path / "other").write_text("kept")
    (tmp_path / "log").symlink_to(tmp_path / "other")
    with pytest.raises(UnavailableError):
        Home(tmp_path).write_at(tmp_path / "log", 0, b"lost")
    assert (tmp_path / "other").read_text() == "kept"


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
    assert Credentials.of({**plain, "slurm-token": b"no token"}).expires() is None
    with pytest.raises(UnavailableError, match="no known_hosts"):
        Credentials.of({**secret, "known_hosts": b""})
