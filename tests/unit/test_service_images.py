"""What images of services carry: their own code and the contract, which must be enough to import it."""

import shutil
import subprocess
import sys

import pytest

from primage.local.images.catalogue import HPC_CONNECTOR, app_images

IMPORTED = """
import sys
import hpc_connector.__main__
import hpc_connector.home.__main__
import primage
print(primage.__file__)
print(sorted(name for name in sys.modules if name.split(".")[0] in {"primage", "pydantic", "pulumi"}))
"""


@pytest.fixture
def carried(repository, tmp_path):
    """The connector's code as its image has it; the libraries are those of the tests' own environment."""
    (tmp_path / "none").mkdir()
    image = next(image for image in app_images(repository, lambda _: tmp_path / "none") if HPC_CONNECTOR in image.name)
    for name, path in image.files.items():
        target = tmp_path / "context" / name
        if path.is_dir():
            shutil.copytree(path, target)
        else:
            shutil.copy(path, target)
    return tmp_path / "context"


def test_the_connector_needs_nothing_of_primage_but_its_contract(carried, tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", IMPORTED], cwd=tmp_path, env={"PYTHONPATH": str(carried)}, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    where, modules = done.stdout.splitlines()
    assert where == str(carried / "primage/__init__.py")
    assert modules == str(
        ["primage", "primage.contract", "primage.contract.hpc", "primage.contract.names", "primage.contract.quantities"]
    )


def test_a_changed_line_of_the_contract_is_another_image(repository, tmp_path):
    (tmp_path / "none").mkdir()
    shutil.copytree(repository / "primage", tmp_path / "primage", ignore=shutil.ignore_patterns("__pycache__"))
    for folder in ("services", "images", "apps"):
        (tmp_path / folder).symlink_to(repository / folder)

    def key():
        image = next(image for image in app_images(tmp_path, lambda _: tmp_path / "none") if HPC_CONNECTOR in image.name)
        return image.content_key(tmp_path, "base")

    before = key()
    with (tmp_path / "primage/contract/hpc.py").open("a") as stream:
        stream.write("# another line\n")
    assert key() != before
