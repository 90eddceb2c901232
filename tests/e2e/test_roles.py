"""Each role on a machine of its own: it converges, a second run changes nothing, and what it promises is there.

Runs when no site stands: with cgroups of version 1, machines of two sets would share systemd's hierarchy.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from primage.images import storage
from primage.images.build import ensure_images
from primage.images.catalogue import base_on_nodes, kubernetes_images, machine_image
from primage.local.site import LocalSite
from primage.toolchain.build import build_tools

ROOT = Path(__file__).resolve().parents[2]
# Each stands on those before it, on the same machines: what a role needs is there, and what it makes is not.
ORDER = (
    "validate_inventory", "local_machines", "shared_folders", "slurm", "container_runtime", "kubelet", "kubernetes_images",
    "kubernetes_control_plane", "kubernetes_node", "cluster_network",
)  # fmt: skip
ROLES = sorted(path.parents[2].name for path in ROOT.glob("roles/*/molecule/default/molecule.yml"))


pytestmark = [pytest.mark.site, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    log = tmp_path_factory.mktemp("log") / "images.log"
    tools = build_tools(log, lambda fraction, what: None)
    images = [base_on_nodes(), machine_image(), *kubernetes_images(tools)]
    archives = ensure_images(images, repository=ROOT, log=log)
    found = {
        **os.environ,
        **storage.environment(),
        "PRIMAGE_TOOLS": str(tools),
        "PRIMAGE_ARCHIVES": ":".join(map(str, archives)),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    yield found
    molecule("destroy", "local_machines", found, tmp_path_factory.mktemp("destroy"))
    LocalSite(ROOT).down()  # takes along what podman leaves on the host


def test_every_role_has_a_scenario():
    assert sorted(path.parent.parent.name for path in ROOT.glob("roles/*/tasks/main.yml")) == ROLES
    assert sorted(ORDER) == ROLES


@pytest.mark.parametrize("role", ORDER)
def test_role(environment, role, tmp_path):
    molecule("test --destroy=never", role, environment, tmp_path)


def molecule(command, role, environment, folder):
    done = subprocess.run(
        ["molecule", *command.split()], cwd=ROOT / "roles" / role,
        env={**environment, "MOLECULE_EPHEMERAL_DIRECTORY": str(folder)}, capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-3000:]
