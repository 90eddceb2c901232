"""What runs on the HPC machine, run here: scripts of folder `remote` with nothing but the shell."""

import json
import os
import subprocess
import sys

import pytest

from hpc_connector.clients.remote import attempt_files, script
from hpc_connector.domain.answers import sums_of
from hpc_connector.domain.request import Request
from hpc_connector.domain.seen import Seen, read_poll

UID = "9b2e8b1c-0000-4000-8000-000000000001"


def run(name, *arguments, given="", timeout=30, most_files=100_000, **environment):
    text = (script("outputs") if name == "results" else "") + script(name)
    text = text.replace("most_files=100000", f"most_files={most_files}")
    command = ["bash", "-c", text, "primage", *map(str, arguments)]
    env = {"PATH": os.environ["PATH"], **environment}
    return subprocess.run(command, input=given, capture_output=True, text=True, timeout=timeout, check=False, env=env)


@pytest.mark.parametrize(
    ("scratch", "root"),
    [
        ("$HOME", "/h/primage"),
        ("~", "/h/primage"),
        ("~/a", "/h/a/primage"),
        ("${SCRATCH}/$USER.x", "/s/it's $(id)/me.x/primage"),
        ("/plain", "/plain/primage"),
    ],
)
def test_variables_of_a_scratch_folder_are_looked_up(tmp_path, scratch, root):
    """What they hold is a path whatever is in it, and is not evaluated either."""
    values = {"HOME": f"{tmp_path}/h", "SCRATCH": f"{tmp_path}/s/it's $(id)", "USER": "me"}
    done = run("connect", scratch if scratch[0] != "/" else f"{tmp_path}{scratch}", **values)
    assert done.stdout == f"{tmp_path}{root}\n", done.stderr
    assert os.path.isdir(f"{tmp_path}{root}")  # noqa: PTH112


@pytest.mark.parametrize(
    "scratch", ["$(touch evil)", "`touch evil`", "${HOME:-$(touch evil)}", "$NOTHING/x", "${!HOME}", "a; touch evil"]
)
def test_nothing_else_of_a_scratch_folder_means_anything(tmp_path, monkeypatch, scratch):
    monkeypatch.chdir(tmp_path)
    done = run("connect", scratch, HOME=str(tmp_path))
    assert done.returncode == 75
    assert list(tmp_path.iterdir()) == []


def attempt(tmp_path, monkeypatch, text, *, env=(), outputs=()):
    """Run an attempt as Slurm would, of a job whose files came by SFTP alone; returns its folder and what it printed."""
    request = Request(UID, "job", "hpc", text, environment=tuple(env), outputs=outputs)
    work, at = tmp_path / UID, tmp_path / UID / "1"
    (work / "mount/HOME/private").mkdir(parents=True)
    at.mkdir()
    (work / "outputs").write_text("".join(f"{path}\0" for path in outputs))
    for name, (content, mode) in attempt_files(request).items():
        (at / name).write_text(content)
        (at / name).chmod(mode)
    monkeypatch.delenv("BASH_ENV", raising=False)
    done = subprocess.run([at / "run.sh", at], capture_output=True, text=True, timeout=60, check=False)
    return at, done


NAMES = (
    "attempt",
    "mount",
    "home",
    "child",
    "code",
    "variables",
    "named",
    "PATH",
    "BASH_ENV",
    "LD_PRELOAD",
    "UID",
    "SHELLOPTS",
    "IFS",
    "_",
)


def test_a_variable_means_nothing_to_what_runs_the_job_whatever_it_is_named(tmp_path, monkeypatch):
    text = f"#!{sys.executable}\nimport json, os\nprint(json.dumps(dict(os.environ)))"
    env = [(name, f"/none of {name}") for name in NAMES]
    at, done = attempt(tmp_path, monkeypatch, text, env=env)
    assert (at / "result").read_text() == "0\n", done.stderr
    seen = json.loads(done.stdout)
    expected = {name: value for name, value in env if name not in {"UID", "SHELLOPTS", "IFS", "_"}}  # Bash's own, in `command`
    assert {name: seen.get(name) for name in expected} == expected
    assert seen["HOME"] == f"{tmp_path}/{UID}/mount/HOME/private"


OUTPUTS = {
    "true": "did not make made",
    "mkdir made": "made no file in made",
    "ln -s /etc/hostname made": "link that leads out of its HOME",
    "ln -s ../../../1 made": "link that leads out of its HOME",
    "ln -s nothing made": "link to nothing, a pipe or a device",
    "mkfifo made": "link to nothing, a pipe or a device",
    "mkdir made; touch made/x; ln -s . made/loop": "loop",
    "mkdir made; touch made/x; cd made; ln -s ../../private/made again": "loop",
}


@pytest.mark.parametrize("text", OUTPUTS)
def test_a_job_that_looks_itself_says_which_output_is_none(tmp_path, monkeypatch, text):
    at, done = attempt(tmp_path, monkeypatch, f"{text}\ncd; echo good > other", outputs=("made", "other"))
    assert (at / "result").read_text() == "0\n", done.stderr
    assert OUTPUTS[text] in (at.parent / "missing").read_text()
    assert "other" in sums_of((at.parent / "sums").read_text())


@pytest.mark.parametrize("text", OUTPUTS)
def test_a_login_node_says_which_output_is_none(tmp_path, text):
    home = tmp_path / UID / "mount/HOME/private"
    home.mkdir(parents=True)
    (tmp_path / UID / "1").mkdir()
    (tmp_path / UID / "1/output").touch()
    subprocess.run(["bash", "-c", f"{text}\ncd {home}; echo good > other"], cwd=home, check=True, timeout=30)
    done = run("results", home, "made", "other")
    sums, _, missing = done.stdout.rpartition("\0\0")
    assert OUTPUTS[text] in missing
    assert "other" in sums_of(sums)


def test_links_that_stay_in_the_jobs_home_are_followed(tmp_path, monkeypatch):
    text = "mkdir -p made/a; echo one > made/a/x; ln -s a made/b; ln -s made/a/x link; echo two > '-exec'; ln -s ../-exec made/'('"
    at, _ = attempt(tmp_path, monkeypatch, text, outputs=("made", "link"))
    assert (at.parent / "missing").read_text() == ""
    found = sums_of((at.parent / "sums").read_text())
    assert found.keys() == {"made/a/x", "made/b/x", "made/(", "link"}
    assert len({found[path] for path in ("made/a/x", "made/b/x", "link")}) == 1


def test_links_that_make_more_and_more_of_a_few_folders_are_cut_off(tmp_path):
    home = tmp_path / "home"
    (home / "made/0").mkdir(parents=True)
    (home / "made/0/file").touch()
    for number in range(1, 40):
        (home / f"made/{number}").mkdir()
        for link in "ab":
            (home / f"made/{number}/{link}").symlink_to(f"../{number - 1}")
    done = run("results", home, "made", most_files=1000)
    assert "more than 1000 files in made" in done.stdout.rpartition("\0\0")[2]


@pytest.fixture
def slurm(tmp_path):
    """A folder of attempts, and a squeue that knows of none."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/squeue").write_text("#!/bin/sh\ncat $SQUEUE 2> /dev/null || exit 0\n")
    (tmp_path / "bin/squeue").chmod(0o755)
    (tmp_path / "root" / UID / "1").mkdir(parents=True)
    return tmp_path


RESULTS = {
    "echo 0 > result": "0",
    "printf -- --5 > result": "?",
    "printf ² > result": "?",
    "printf '1|2' > result": "?",
    "mkfifo result": "?",
    "mkdir result": "?",
    "ln -s /dev/zero result": "?",
    "ln -s nothing result": "?",
    "head -c 5000 /dev/zero | tr '\\0' 9 > result": "9" * 64,
    "head -c 100000000 /dev/zero > result": None,
    ": > result": None,
}


@pytest.mark.parametrize("text", RESULTS)
def test_a_look_says_little_of_a_result_whatever_it_is(slurm, text):
    at = slurm / "root" / UID / "1"
    subprocess.run(["bash", "-c", f"{text}; echo said > output"], cwd=at, check=True, timeout=30)
    done = run("poll", slurm / "root", "owner", given=f"{UID}/1/\n{UID}/2/\n", timeout=10, PATH=f"{slurm}/bin:{os.environ['PATH']}")
    said = RESULTS[text]
    assert done.stdout == (f"R|{UID}|1|{said}\n" if said else "") + f"S|{UID}|1|5\n"


def test_a_look_is_as_long_as_what_was_asked_however_many_folders_and_jobs_there_are(slurm):
    for number in range(300):
        at = slurm / "root" / f"{number:08x}{UID[8:]}" / "1"
        at.mkdir(parents=True)
        (at / "result").write_text("0\n")
    mine = f"Q|1|RUNNING|None|primage:owner:{UID}:1"
    others = ["Q|2|RUNNING|None|" + "x" * 100_000, "Q|3|RUNNING|None|primage:other:" + UID + ":1"]
    (slurm / "queue").write_text("\n".join([*others, mine, ""]))
    path = f"{slurm}/bin:{os.environ['PATH']}"
    done = run("poll", slurm / "root", "owner", given=f"{UID}/1/\n", PATH=path, SQUEUE=str(slurm / "queue"))
    assert done.stdout == f"{mine}\n"


@pytest.mark.parametrize("said", ["nothing", "", "a|b|c", "x" * 10_000, f"primage:other:{UID}:1"])
def test_a_job_that_changes_its_own_comment_is_seen_by_its_number(slurm, said):
    (slurm / "queue").write_text(f"Q|7|RUNNING|None|{said}\nQ|8|RUNNING|None|nothing\n")
    path = f"{slurm}/bin:{os.environ['PATH']}"
    done = run("poll", slurm / "root", "owner", given=f"{UID}/1/7\n{UID}/2/\n", PATH=path, SQUEUE=str(slurm / "queue"))
    assert read_poll(done.stdout, "owner", {(UID, 1): "7"}) == {(UID, 1): Seen("7", "RUNNING", "None")}
    assert len(done.stdout) < 300


@pytest.mark.parametrize("said", [f"primage:owner:{UID}:1", "nothing"])
def test_a_job_is_cancelled_by_its_number_whatever_it_says(slurm, said):
    (slurm / "queue").write_text(f"7|{said}\n8|primage:owner:another:1\n")
    scancel = "#!/bin/sh\necho $* >> $SQUEUE.ended; grep -v ^7 $SQUEUE > $SQUEUE.new; mv $SQUEUE.new $SQUEUE\n"
    (slurm / "bin/scancel").write_text(scancel)
    (slurm / "bin/scancel").chmod(0o755)
    path = f"{slurm}/bin:{os.environ['PATH']}"
    done = run("cancel", slurm / "root", UID, "5", "7", PATH=path, SQUEUE=str(slurm / "queue"))
    assert done.stdout == "known\n", done.stderr
    assert (slurm / "queue.ended").read_text() == "7\n"


def test_a_folder_that_its_job_made_unwritable_is_removed_and_a_link_in_its_place_too(tmp_path):
    (tmp_path / "root" / UID / "a/b").mkdir(parents=True)
    (tmp_path / "root" / UID / "a").chmod(0o500)
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept/file").touch()
    (tmp_path / "root/other").symlink_to(tmp_path / "kept")
    assert run("forget", tmp_path / "root", UID).stdout == "known\n"
    assert run("forget", tmp_path / "root", "other").stdout == "known\n"
    assert run("forget", tmp_path / "root", UID).stdout == ""
    assert list((tmp_path / "root").iterdir()) == []
    assert (tmp_path / "kept/file").exists()
