"""How-tos on the standing site, command by command, as somebody who has only the page."""

import re
import shutil
from pathlib import Path

import pytest
from documents import Reader, copy_checkout

from primage.engine.api import Options
from primage.engine.embedded.engine import EmbeddedEngine
from primage.projects.project import parse_stack_name

PRIVATE = Path("/var/lib/primage/local/shared/home/vo.primage.eu/private/vo.primage.eu")
WRITTEN = {
    "run-a-batch-job": ("patients.csv", "count.txt"),
    "write-an-htc-application": ("words", "strict"),
    "run-an-hpc-job": ("patients.csv", "oldest.txt"),
}
"""What the pages write into HOME. Two of them may be followed at a time."""


def forget(page):
    for name in WRITTEN.get(page, ()):
        path = PRIVATE / name
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


@pytest.fixture
def page(site, repository, request):
    """A page's text; what it brought up is destroyed also where the page went wrong half-way."""
    forget(request.param)
    text = (repository / f"docs/how-to/{request.param}.md").read_text()
    yield text
    for stack in sorted(set(re.findall(r"^ *\$ primage up (\S+/\S+)", text, re.MULTILINE))):
        EmbeddedEngine().destroy(parse_stack_name(stack), Options())
    forget(request.param)


@pytest.mark.parametrize(
    "page",
    [
        "run-a-batch-job",
        "write-an-htc-application",
        "open-a-notebook",
        "open-a-desktop",
        "run-an-hpc-job",
        "limit-home",
        "read-the-audit-log",
    ],
    indirect=True,
)
def test_a_how_to_works_as_written(page, repository, tmp_path):
    assert len(Reader(copy_checkout(repository, tmp_path)).follow(page)) > 2
