"""The kinds of object that tenants are asked for with."""

from __future__ import annotations

import pulumi

from primage.components.kubernetes_object import declare
from primage.contract import custom_resources


class Definitions(pulumi.ComponentResource):
    """CustomResourceDefinitions of VirtualOrganisation and Member."""

    def __init__(self, name: str, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("primage:site:Definitions", name, {}, opts)
        for obj in custom_resources.definitions():
            declare(f"{name}-{obj['spec']['names']['plural']}", obj, pulumi.ResourceOptions(parent=self))
        self.register_outputs({})
