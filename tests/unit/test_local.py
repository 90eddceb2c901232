"""The local site's manners towards its host: which one it refuses, and what it leaves alone when it goes."""

import hashlib

import pytest

from primage.local.cgroups import require_own_cgroups, why_shared
from primage.local.files import remove_files

HOST = "25 1 254:0 / / rw - ext4 /dev/vda rw\n"
VERSION_1 = HOST + "35 25 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
SYSTEMD = VERSION_1 + "37 25 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd\n"
HYBRID = SYSTEMD + "38 25 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"


def never(hierarchy):
    raise AssertionError("nothing is to be tried")


def test_a_host_with_cgroups_of_version_2_is_taken():
    assert why_shared(HOST + "30 25 0:26 / /sys/fs/cgroup rw shared:4 - cgroup2 cgroup2 rw,nsdelegate\n", never) == ""


def test_a_host_without_systemds_hierarchy_is_refused():
    assert "no hierarchy name=systemd is mounted" in why_shared(VERSION_1, never)


@pytest.mark.parametrize("mountinfo", [SYSTEMD, HYBRID], ids=["version 1", "hybrid"])
@pytest.mark.parametrize("reason", ["", "it is not permitted"])
def test_elsewhere_a_mount_of_its_own_is_tried(mountinfo, reason):
    tried = []
    assert why_shared(mountinfo, lambda place: tried.append(place) or reason) == reason
    assert tried == ["/sys/fs/cgroup/systemd"]


def test_the_refusal_says_what_why_and_what_to_do(monkeypatch):
    from primage.errors import ExitCode, PrimageError

    monkeypatch.setattr("primage.local.cgroups.why_shared", lambda mountinfo, attempt: "it is not permitted")
    with pytest.raises(PrimageError, match="removing one would stop the others: it is not permitted") as caught:
        require_own_cgroups()
    assert "version 2" in caught.value.todo
    assert caught.value.code is ExitCode.UNSUPPORTED


def contents(folder):
    """Every file below a folder, by what is in it."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.rglob("*") if path.is_file()
    }


OURS = (
    "local/kubeconfig",
    "local/shared/home/vo/private/file",
    "log/machines.log",
    "log/down.log",
    "state/primage/local.json",
    "state/primage/local.lock",
    "state/primage-batch/vo.primage.eu.local.json",
    "state/primage-batch/vo.primage.eu.local--trial.json",
    "state/primage-hpc/name-at-a-dot-eu_vo.primage.eu.local.json",
)
THEIRS = (
    "upv/kubeconfig",
    "upv/home/vo/file",
    "log/upv.log",
    "log/machines.log.of-upv",
    "state/primage/upv.json",
    "state/primage/local-2.json",
    "state/primage-batch/vo.primage.eu.upv.json",
    "state/primage-batch/vo.local.upv.json",
    "state/primage-batch/vo.local.eu.upv--local.json",
    "state/primage-hpc/local_vo.primage.eu.upv.json",
    "state/notes",
)


def write(folder, names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"in {name}")


def test_the_site_goes_and_other_sites_keep_every_byte(tmp_path, monkeypatch):
    monkeypatch.setenv("PRIMAGE_HOME", str(tmp_path))
    write(tmp_path, THEIRS)
    before = contents(tmp_path)
    write(tmp_path, OURS)
    remove_files("local", ["machines.log", "down.log", "never-written.log"])
    assert contents(tmp_path) == before


def test_nothing_is_left_of_a_site_that_was_alone(tmp_path, monkeypatch):
    monkeypatch.setenv("PRIMAGE_HOME", str(tmp_path / "home"))
    write(tmp_path / "home", OURS)
    remove_files("local", ["machines.log", "down.log"])
    assert not (tmp_path / "home").exists()
