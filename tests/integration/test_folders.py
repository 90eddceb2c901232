"""A VO or a member that a site's file names has folders after `up`; data stays when they leave."""

import copy
import os
import shutil
import stat
from pathlib import Path

import pytest
import yaml
from hpc_machine import until

from primage.clients.cluster import Ref
from primage.contract.custom_resources import API_VERSION, MEMBER, Phase
from primage.engine.api import Options
from primage.engine.embedded.engine import EmbeddedEngine
from primage.errors import PrimageError
from primage.operations.logs import read
from primage.projects.project import parse_stack_name

pytestmark = pytest.mark.alone

SITE = parse_stack_name("local")
SHARED = Path("/var/lib/primage/local/shared")
NEWCOMER = {"name": "newcomer@primage.eu", "uid": 40009}
VO = {
    "name": "new.primage.eu",
    "gid": 20009,
    "quota": {"cpu": "1", "memory": "1Gi"},
    "users": [{"name": "first@new.eu", "uid": 40010}],
}
MINE = {
    "datalake/new.primage.eu": (0, 20009, "2750"),
    "home/new.primage.eu": (0, 20009, "2750"),
    "home/new.primage.eu/shared": (0, 20009, "2770"),
    "home/new.primage.eu/private": (0, 20009, "2750"),
    "home/new.primage.eu/private/new.primage.eu": (0, 20009, "2770"),
    "home/new.primage.eu/private/first@new.eu": (40010, 40010, "2770"),
    "home/vo.primage.eu/private/newcomer@primage.eu": (40009, 40009, "2770"),
}


def vos_with(repository, *members, vos=()):
    """The site's VOs, the first one with more members."""
    found = yaml.safe_load((repository / "Pulumi.local.yaml").read_text())["config"]["primage:site"]["vos"]
    changed = copy.deepcopy(found)
    changed[0]["users"] += members
    return Options(overrides={"site.vos": [*changed, *vos]})


def seen(path):
    status = (SHARED / path).stat()
    return status.st_uid, status.st_gid, f"{stat.S_IMODE(status.st_mode):o}"


def member(cluster):
    return cluster.get(Ref(API_VERSION, MEMBER, "newcomer-at-primage-dot-eu", "vo-dot-primage-dot-eu"))


@pytest.fixture
def as_it_was(site):
    """The site of the file again, and no folder of these tests left."""
    yield
    EmbeddedEngine().up(SITE, Options())
    for path in MINE:
        shutil.rmtree(SHARED / path, ignore_errors=True)


def test_who_is_added_to_the_file_works_after_up_and_data_outlives_them(repository, cluster, as_it_was):
    engine, wanted = EmbeddedEngine(), vos_with(repository, NEWCOMER, vos=[VO])
    theirs = SHARED / "home/vo.primage.eu/private/newcomer@primage.eu"
    theirs.mkdir()
    os.chown(theirs, 40001, 40001)
    with pytest.raises(PrimageError, match="belongs to user 40001 and not to 40009"):
        engine.up(SITE, wanted)
    assert seen("home/vo.primage.eu/private/newcomer@primage.eu")[:2] == (40001, 40001), "nobody's folder is given away"
    theirs.rmdir()
    until("it is tried again", lambda: member(cluster)["status"]["phase"] == Phase.READY)

    engine.up(SITE, wanted)
    assert {path: seen(path) for path in MINE} == MINE
    stack = parse_stack_name("batch/newcomer@primage.eu_vo.primage.eu.local--folders")
    script = 'id -u; echo mine > "$HOME/mine" && cat "$HOME/mine"; ls "$MOUNT_POINT/HOME/shared" > /dev/null'
    job = {"name": "look", "image": "primage/base:1", "command": ["sh", "-c", script], "cpu": "50m", "memory": "64Mi"}
    try:
        engine.up(stack, Options(overrides={"job": {**job, "backoff_limit": 0}}))
        ref = Ref("batch/v1", "Job", "look-folders", stack.namespace)  # the file names neither VO nor member
        assert "".join(read(cluster, ref, follow=False)).split() == ["40009", "mine"]
    finally:
        engine.destroy(stack, Options())

    engine.up(SITE, Options())
    assert (theirs / "mine").read_text() == "mine\n"
