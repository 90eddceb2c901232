"""How a member's own runs stand, by the same operations as the command line's, with the member's token."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from primage.clients.cluster import Cluster, Ref
from primage.contract.outputs import SiteOutputs
from primage.operations.logs import end_of_hpc
from primage.operations.queues import StackQueue
from primage.operations.site import SiteHandle
from primage.operations.stack import StackHandle
from primage.projects.offer import site_outputs
from primage.projects.project import parse_stack_name

TIMEOUT_S = 30.0
"""For a pod that reads HOME to start."""


def queue_of(cluster: Cluster, stack: str, namespace: str) -> dict[str, Any]:
    """What `primage queue status` says of a run's queue; raises as StackQueue does."""
    name = parse_stack_name(stack)
    handle = StackHandle(name, SiteHandle(name.site, _outputs(name.site), cluster), namespace)
    return StackQueue(name, handle).standing()


def hpc_output(cluster: Cluster, jobs: Sequence[Ref], most: int) -> dict[str, str]:
    """The end of what each HPC job has written, by its name; raises as `end_of_hpc` does.

    Args:
        most: bytes of each.
    """
    return {job.name: end_of_hpc(cluster, job, most=most, timeout_s=TIMEOUT_S) for job in jobs}


@cache
def _outputs(site: str) -> SiteOutputs:
    """The portal's copy of the site's settings does not change while it runs."""
    return site_outputs(site)
