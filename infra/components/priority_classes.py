"""The priorities a site's jobs may have."""

from __future__ import annotations

from collections.abc import Sequence

import pulumi
import pulumi_kubernetes as kubernetes

from infra.config import PriorityClassConfig
from primage.contract import names


def class_name(item: PriorityClassConfig) -> str:
    """Its name on the cluster."""
    return names.priority_class(item.name)


class PriorityClasses(pulumi.ComponentResource):
    """One PriorityClass each, none of which evicts running jobs: a research job's hours are worth more than its turn."""

    def __init__(self, name: str, classes: Sequence[PriorityClassConfig], opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("primage:site:PriorityClasses", name, {}, opts)
        for item in classes:
            kubernetes.scheduling.v1.PriorityClass(
                f"{name}-{item.name}",
                metadata={"name": class_name(item)},
                value=item.value,
                global_default=item.default,
                preemption_policy="Never",
                description=item.description,
                opts=pulumi.ResourceOptions(parent=self),
            )
        self.register_outputs({})
