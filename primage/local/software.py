"""Software on the local HPC machine, as an operator of an HPC centre would install it for a VO's users."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

from primage.local.images.catalogue import STUDY_REQUIREMENTS
from primage.local.images.wheels import unpack_wheels
from primage.process import run_logged

NAME = "study-histology"
PACKAGE = "apps/study-histology/package/study_histology"
ACTIVATE = """\
# Sourced by jobs: Python finds the study and its libraries.
export PYTHONPATH=/opt/primage/{name}/code:/opt/primage/{name}/lib PYTHONDONTWRITEBYTECODE=1
"""


def study_libraries(repository: Path, log: Path) -> Path:
    """The folder for PYTHONPATH that has what the study's package needs."""
    return unpack_wheels(repository / STUDY_REQUIREMENTS, log)


def stage_study(repository: Path, folder: Path, log: Path) -> None:
    """Put the study below `folder`, which machine hpc sees as /opt/primage; nothing is done twice.

    Libraries are hard links to the cache, compiled: they take no room, and go with the site.
    """
    libraries = study_libraries(repository, log)
    package = repository / PACKAGE
    key = hashlib.sha256(libraries.name.encode())
    for path in sorted(package.rglob("*.py")):
        key.update(path.read_bytes())
    if not (libraries / "keras" / "__pycache__").is_dir():
        environment = {"PYTHONPATH": f"{libraries}:{package.parent}", "PYTHONDONTWRITEBYTECODE": ""}
        run_logged([sys.executable, "-c", "import study_histology.model, keras, onnx"], env=environment, log=log, timeout_s=600)
    target, stamp = folder / NAME, folder / NAME / "version"
    if stamp.exists() and stamp.read_text() == key.hexdigest():
        return
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    done = subprocess.run(["cp", "-al", str(libraries), str(target / "lib")], capture_output=True, check=False, timeout=300)
    if done.returncode:  # another file system than the cache's
        run_logged(["cp", "-a", str(libraries), str(target / "lib")], log=log, timeout_s=600)
    shutil.copytree(package, target / "code" / "study_histology", ignore=shutil.ignore_patterns("__pycache__"))
    (target / "activate").write_text(ACTIVATE.format(name=NAME))
    stamp.write_text(key.hexdigest())
