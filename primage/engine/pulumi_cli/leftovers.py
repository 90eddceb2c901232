"""What a killed run of Pulumi made and could not note: its state says only that it was about to be made.

Pulumi makes such an object again in the next `up`, which takes it over, as it applies from the server's side. What the next
`up` does not declare, or a `destroy` follows instead, would stay for ever.
"""

from __future__ import annotations

from collections.abc import Collection

from primage.clients.cluster import Cluster, Ref
from primage.engine.api import Event, Options
from primage.engine.ownership import Owner
from primage.kubernetes.waiting import wait_gone
from primage.projects.project import StackName, project_of


def remove(name: StackName, left: dict[str, Ref], declared: Collection[str], cluster: Cluster, options: Options) -> None:
    """Remove those that are there, say that they are the stack's, and are not declared."""
    owner = Owner.of(name, project_of(name))
    for urn, ref in left.items():
        live = cluster.get(ref) if urn not in declared else None
        if live is None or not owner.owns(live):
            continue
        options.listener(Event(str(ref), "deleting", "left by a run that was killed"))
        cluster.delete(ref, uid=str(live["metadata"]["uid"]))
        wait_gone(cluster, ref, timeout_s=options.timeout_s, report=lambda _detail: None)
        options.listener(Event(str(ref), "deleted"))
