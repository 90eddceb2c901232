"""Declarations as a program would make them, for tests of what the engine's parts do with one."""

from __future__ import annotations

from typing import Any

from primage.clients.cluster import Object
from primage.engine.embedded.declaration import DeclaredDynamic, DeclaredObject
from primage.engine.embedded.monitor import Registration
from primage.engine.embedded.values import Decoded
from primage.projects.connection import Connection

HERE = Connection("/kubeconfig", "")
PLACE = "urn:pulumi:tiny::primage"


def config_map(name: str = "c", namespace: str = "n", **data: str) -> Object:
    """A config map."""
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": namespace}, "data": data}


def job(name: str = "j", namespace: str = "n", **annotations: str) -> Object:
    """A job."""
    metadata = {"name": name, "namespace": namespace, "annotations": annotations}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": {"parallelism": 1}}


def registration(inputs: dict[str, Any], type_: str = "kubernetes:core/v1:ConfigMap", **more: Any) -> Registration:
    """What the monitor hands on of a resource.

    Args:
        more: fields that are not the usual; `secrets` and `unknowns` are paths in `inputs`.
    """
    name = more.pop("name", inputs.get("metadata", {}).get("name", "r"))
    decoded = Decoded(inputs, frozenset(more.pop("secrets", ())), frozenset(more.pop("unknowns", ())))
    given: dict[str, Any] = {
        "urn": f"{PLACE}::{type_}::{name}",
        "custom": True,
        "parent": "",
        "dependencies": (),
        "by_property": {},
        "provider": "",
        "version": "",
        "protect": False,
        "retain": False,
        "ignore_changes": (),
        "timeout_s": 0.0,
        **more,
    }
    return Registration(type=type_, name=name, inputs=decoded, **given)


def declared(obj: Object, **more: Any) -> DeclaredObject:
    """An object as a worker is given it."""
    return DeclaredObject(registration(obj, f"kubernetes:x/v1:{obj['kind']}", **more), 1, 1, obj, HERE)


def declared_dynamic(inputs: dict[str, Any], provider: Any, type_: str, **more: Any) -> DeclaredDynamic:
    """A dynamic resource as a worker is given it."""
    return DeclaredDynamic(registration(inputs, type_, **more), 1, 1, provider)
