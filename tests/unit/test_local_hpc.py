"""The local HPC machine has the accounts that the site's VOs and members log in as."""

from primage.local.hpc import BACKEND, accounts
from primage.operations.site import site_handle
from primage.projects.loader import read_yaml


def accounts_of(node):
    """What an inventory says of `hpc_accounts`, wherever it says it."""
    if isinstance(node, dict):
        for key, value in node.items():
            yield from value if key == "hpc_accounts" else accounts_of(value)


def test_the_inventorys_accounts_are_those_that_log_in(repository):
    site = site_handle("local").outputs
    wanted = [account for vo in site.vos.values() if BACKEND in vo.backends for account in accounts(vo).values()]
    made = [account["name"] for account in accounts_of(read_yaml(repository / "playbooks/inventories/local.yml"))]
    assert sorted(made) == sorted(wanted)
    assert len(made) > 2
