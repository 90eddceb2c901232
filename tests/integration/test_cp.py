"""Files in and out of HOME, as a person copies them."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

PRIVATE = Path("/var/lib/primage/local/shared/home/vo.primage.eu/private/vo.primage.eu")
PLACE = "vo.primage.eu.local:private/copied"


def cp(*arguments: str) -> dict:
    done = subprocess.run(
        [sys.executable, "-m", "primage", "cp", *arguments, "--json"], capture_output=True, text=True, timeout=120, check=False
    )
    return {"code": done.returncode, **json.loads(done.stdout)}


@pytest.fixture
def folder(site, tmp_path):
    made = tmp_path / "patients"
    (made / "in").mkdir(parents=True)
    (made / "one.bin").write_bytes(os.urandom(3_000_000))
    (made / "in" / "two with space.csv").write_text("a,b\n")
    (made / "empty").touch()
    (made / "out").symlink_to("/etc/passwd")
    yield made
    subprocess.run(["rm", "-rf", str(PRIVATE / "copied")], check=True, timeout=60)


def test_a_folder_goes_there_and_comes_back_whole_and_only_once(folder, tmp_path):
    there = cp(str(folder), f"{PLACE}/")
    assert there["code"] == 0, there
    assert sorted(Path(file["path"]).name for file in there["files"]) == ["empty", "one.bin", "two with space.csv"]
    assert all(file["already"] for file in cp(str(folder), f"{PLACE}/")["files"])
    back = cp(f"{PLACE}/patients", str(tmp_path / "back"))
    assert back["code"] == 0, back
    for name in ("one.bin", "in/two with space.csv", "empty"):
        assert (tmp_path / "back" / name).read_bytes() == (folder / name).read_bytes()
    assert not (tmp_path / "back" / "out").exists(), "links are left out"


def test_a_copy_that_was_cut_off_goes_on(folder, tmp_path):
    whole = (folder / "one.bin").read_bytes()
    (PRIVATE / "copied").mkdir(exist_ok=True)
    os.chown(PRIVATE / "copied", 10001, 20001)
    part = PRIVATE / "copied" / ".one.bin.part"
    part.write_bytes(whole[:1_000_000])
    os.chown(part, 10001, 20001)
    inode = part.stat().st_ino
    there = cp(str(folder / "one.bin"), f"{PLACE}/one.bin")
    assert [(file["bytes"], file["begun"]) for file in there["files"]] == [(3_000_000, 1_000_000)]
    kept = PRIVATE / "copied" / "one.bin"
    assert (kept.read_bytes(), kept.stat().st_ino) == (whole, inode), "it went on in the part that was there"
    (tmp_path / ".mine.part").write_bytes(whole[:2_000_000])
    back = cp(f"{PLACE}/one.bin", str(tmp_path / "mine"))
    assert [file["begun"] for file in back["files"]] == [2_000_000]
    assert hashlib.sha256((tmp_path / "mine").read_bytes()).digest() == hashlib.sha256(whole).digest()


def test_what_cannot_be_copied_is_said(folder, tmp_path):
    refused = cp(str(folder / "one.bin"), "vo.primage.eu.local:datalake/x")
    assert "read-only" in refused["error"]["what"]
    missing = cp(f"{PLACE}/nothing-here", str(tmp_path / "x"))
    assert missing["code"] == 1
    assert "there is no private/copied/nothing-here" in missing["error"]["what"]
