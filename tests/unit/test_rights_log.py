"""The authorizer's lines: never a right without a line, whenever its process ends; and a file that keeps them."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authorizer.domain.errors import RefusedError
from authorizer.domain.rights import Named, Told, orphaned, told_of
from authorizer.folders import written
from authorizer.folders.make import ProblemError
from authorizer.folders.written import append
from authorizer.rights_log import RightsLog
from primage.contract import audit, names
from primage.contract import custom_resources as custom
from primage.contract.audit import Line, Source, Verb
from primage.contract.roles import Role
from primage.contract.tenant import Tenant
from primage.contract.vo import MemberSpec, QuotaConfig, VirtualOrganisationSpec

VO = VirtualOrganisationSpec(name="vo.example.org", gid=20001, quota=QuotaConfig(cpu="4", memory="8Gi"))
ROLES = st.frozensets(st.sampled_from(Role))
LOG = "home/.audit"


class Killed(Exception):
    """The process ends here."""


class World:
    """A Member with its status, its rights and its lines; it ends a process at a step that is chosen."""

    def __init__(self):
        self.status, self.rights, self.lines = {}, frozenset(), []
        self.steps = -1

    def _step(self):
        if self.steps == 0:
            raise Killed
        self.steps -= 1

    async def note(self, _member, audited):
        self._step()
        self.status["audited"] = audited
        self._step()

    async def write(self, lines):
        self._step()
        self.lines += [(line.verb, line.object.name) for line in lines]
        self._step()

    def said(self):
        """The roles that the lines say the member has."""
        has = set()
        for verb, role in self.lines:
            has.add(role) if verb is Verb.GIVEN else has.discard(role)
        return has

    async def settle(self, roles):
        """What the authorizer does of a Member, in its order."""
        tenant = Tenant(VO, MemberSpec(identity="ada@example.org", uid=40001, roles=tuple(sorted(roles))))
        obj = {**custom.member(VO.name, tenant.member), "status": self.status}
        log = RightsLog(self, self)
        log.meet(obj, VO.name)
        self.rights &= roles
        self._step()
        await log.take(tenant)
        await log.give(tenant)
        self._step()
        self.rights = frozenset(roles)


@given(st.lists(st.tuples(ROLES, st.integers(0, 12)), max_size=8))
def test_there_is_never_a_right_without_a_line_wherever_processes_end(life):
    async def run():
        world = World()
        for roles, steps in life:
            world.steps = steps
            with suppress(Killed):
                await world.settle(roles)
            assert {role.value for role in world.rights} <= world.said()
        world.steps = -1
        await world.settle(frozenset())
        assert world.said() == set(), "what was lost has its line in the end"
        await world.settle(frozenset({Role.GUEST}))
        before = list(world.lines)
        await world.settle(frozenset({Role.GUEST}))
        assert world.lines == before, "what has its line gets no other"

    asyncio.run(run())


@given(st.text())
def test_a_status_that_says_nonsense_says_nothing(text):
    assert Told.read(text).given <= {role.value for role in Role}
    assert Told.read(str(Told.read(text))) == Told.read(text)
    assert told_of({"status": {"audited": text}}) == Told.read(text)


@pytest.mark.parametrize(
    ("metadata", "source", "why"),
    [
        (
            {"labels": {names.LABEL_ORIGIN: names.ORIGIN_LOGIN}, "annotations": {names.ANNOTATION_WHY: "w" * 999}},
            "identity-provider",
            "w" * 256,
        ),
        ({"labels": {names.LABEL_STACK: "local"}}, "site-file", "the site's file says so"),
        ({}, "operator", "an operator's Member says so"),
        ({"deletionTimestamp": "2026-01-01T00:00:00Z"}, "operator", "the Member is deleted"),
    ],
)
def test_a_line_says_whose_word_it_is(metadata, source, why):
    obj = custom.member(VO.name, MemberSpec(identity="ada@example.org", uid=40001))
    obj["metadata"] |= metadata
    (line,) = Named.of(obj, VO.name).lines(Verb.GIVEN, {"guest"})
    assert (line.who.account, line.who.source.value, line.why) == ("ada@example.org", source, why)
    assert (line.object.vo, line.object.namespace, line.object.name) == (VO.name, "ada-at-example-dot-org", "guest")


def test_a_right_that_nobody_asked_for_has_a_line_as_soon_as_it_can_be_written():
    binding = {
        "metadata": {"name": "member-edit", "namespace": "ada", "labels": {names.LABEL_VO: "vo"}},
        "subjects": [{"kind": "User", "name": "primage:ada@example.org"}, {"kind": "ServiceAccount", "name": "x"}],
    }

    class Full:
        lines, full = [], True

        async def write(self, lines):
            if self.full:
                raise RefusedError("full")
            self.lines += lines

    async def run():
        log = RightsLog(None, folders := Full())
        log.owe(binding)
        with pytest.raises(RefusedError):
            await log.pay()
        folders.full = False
        await log.pay()
        await log.pay()
        return folders.lines

    (line,) = asyncio.run(run())
    assert (line.verb, line.who.account, line.object.name) == (Verb.LOST, "ada@example.org", "member-edit")
    assert orphaned(binding)[0].object == line.object


# -- the file --------------------------------------------------------------------------------------------------------


@pytest.fixture
def volumes(tmp_path):
    (tmp_path / "home").mkdir(mode=0o711)
    return tmp_path


def files(volumes):
    return sorted((volumes / LOG).iterdir())


def test_lines_are_appended_where_nobody_else_looks(volumes):
    append(volumes, LOG, ['{"a": 1}'])
    append(volumes, LOG, ['{"b": 2}', "{}"])
    (file,) = files(volumes)
    assert file.read_text() == '{"a": 1}\n{"b": 2}\n{}\n'
    assert (file.stat().st_mode & 0o777, file.parent.stat().st_mode & 0o777) == (0o600, 0o700)


def test_a_line_that_a_power_cut_left_half_written_swallows_no_other(volumes):
    append(volumes, LOG, ["{}"])
    (file,) = files(volumes)
    file.write_text('{}\n{"cut')
    append(volumes, LOG, ['{"next": 1}'])
    assert file.read_text().splitlines() == ["{}", '{"cut', '{"next": 1}']


@pytest.mark.parametrize(
    "line", ["", "[]", "no", "{}\n{}", "{} \r", '{"a": "é"}', 7, None, "[" * 9000, '{"a": "%s"}' % ("x" * 30_000)]
)
def test_what_is_no_line_is_not_written(volumes, line):
    with pytest.raises(ProblemError, match="is no line"):
        append(volumes, LOG, ["{}", line])
    assert not (volumes / LOG).exists()


def test_a_longest_line_of_the_contract_is_one(volumes):
    assert written.LONGEST_LINE == audit.LONGEST_LINE
    full = "\U0001f600" * 256
    line = Line(
        time=audit.now(),
        who={"account": full, "source": Source.SERVICE_ACCOUNT},
        verb=Verb.READ_SECRET,
        object={"vo": full, "namespace": full, "kind": full, "name": full},
        why=full,
        road="authorizer",
    )
    append(volumes, LOG, [line.text()])
    assert Line.model_validate_json(files(volumes)[0].read_text()) == line


def test_a_disk_that_is_full_leaves_no_half_a_line(volumes):
    append(volumes, LOG, ["{}"])
    script = """
import resource, signal, sys
from pathlib import Path
from authorizer.folders.written import append
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (10, 10))
try:
    append(Path(sys.argv[1]), "home/.audit", ['{"more than": "there is room for"}'])
except OSError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", script, volumes], env=environment(), capture_output=True, text=True, timeout=60, check=True
    )
    assert "space" in done.stdout
    assert files(volumes)[0].read_text() == "{}\n"


def environment():
    root = Path(__file__).resolve().parents[2]
    return {**os.environ, "PYTHONPATH": f"{root / 'services/authorizer'}{os.pathsep}{root}"}


def test_files_are_of_a_month_and_bounded_in_size_and_number(volumes, monkeypatch):
    monkeypatch.setattr(written, "LARGEST", 10)
    (volumes / LOG).mkdir(mode=0o700)
    for old in ("rights-2001-01-000.jsonl", "rights-2001-02-000.jsonl", "mine"):
        (volumes / LOG / old).write_text("{}\n")
    for number in range(40):
        append(volumes, LOG, [json.dumps({"n": number})])
    names_there = [file.name for file in files(volumes)]
    assert "mine" in names_there
    assert len(names_there) == written.MOST + 1
    month = f"rights-{datetime.now(UTC):%Y-%m}-"
    assert all(name.startswith(month) for name in names_there if name != "mine")
    kept = [json.loads(line)["n"] for file in files(volumes)[1:] for line in file.read_text().splitlines()]
    assert kept == list(range(40))[-len(kept) :]


def test_no_link_is_followed(volumes, tmp_path):
    append(volumes, LOG, ["{}"])
    (file,) = files(volumes)
    file.unlink()
    file.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match=r"symbolic|Too many"):
        append(volumes, LOG, ["{}"])
    assert not (tmp_path / "elsewhere").exists()


def test_killed_anywhere_what_was_said_to_be_written_is(volumes):
    """Each line is told once it is on the disk; whoever is killed meanwhile has told no line that is not there."""
    script = """
import sys
from pathlib import Path
from authorizer.folders.written import append
for number in range(1_000_000):
    append(Path(sys.argv[1]), "home/.audit", ['{"n": %d, "x": "%s"}' % (number, "y" * 2000)])
    print(number, flush=True)
"""
    for _ in range(3):
        running = subprocess.Popen([sys.executable, "-c", script, volumes], env=environment(), stdout=subprocess.PIPE, text=True)
        told = [int(running.stdout.readline()) for _ in range(5)]
        running.send_signal(signal.SIGKILL)
        told += [int(line) for line in running.stdout.read().splitlines()]
        running.wait(30)
        lines = [json.loads(line) for file in files(volumes) for line in file.read_text().splitlines()]
        assert set(told) <= {line["n"] for line in lines}
