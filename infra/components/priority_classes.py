"""The priorities a site's jobs may have."""

from __future__ import annotations

from collections.abc import Sequence

import pulumi

from infra.config import PriorityClassConfig
from primage.components.kubernetes_object import KubernetesObject
from primage.contract import names


def class_name(item: PriorityClassConfig) -> str:
    """Its name on the cluster."""
    return names.priority_class(item.name)


class PriorityClasses(pulumi.ComponentResource):
    """One PriorityClass each, none of which evicts running jobs: a research job's hours are worth more than its turn."""

    def __init__(self, name: str, classes: Sequence[PriorityClassConfig], opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("primage:site:PriorityClasses", name, {}, opts)
        for item in classes:
            KubernetesObject(
                "scheduling.k8s.io/v1",
                "PriorityClass",
                f"{name}-{item.name}",
                metadata={"name": class_name(item)},
                value=item.value,
                globalDefault=item.default,
                preemptionPolicy="Never",
                description=item.description,
                opts=pulumi.ResourceOptions(parent=self),
            )
        self.register_outputs({})
