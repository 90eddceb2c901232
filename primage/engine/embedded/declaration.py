"""What a program declares, as the engine's parts are given it. No I/O."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from primage.clients.cluster import Object, Ref
from primage.components.dynamic_providers import Provider
from primage.contract.names import LABEL_STACK
from primage.engine.embedded import dynamic
from primage.engine.embedded.monitor import Registered, Registration
from primage.engine.embedded.objects import masked
from primage.engine.embedded.values import UNKNOWN, Path
from primage.errors import PrimageError
from primage.kubernetes.annotations import PATCH_FORCE, WAIT_FOR, annotation
from primage.projects.connection import Connection


@dataclass(frozen=True)
class Declaration:
    """A resource and its place among the others.

    Attributes:
        order: position in dependency order.
        level: distance from resources without dependencies.
    """

    registration: Registration
    order: int
    level: int

    @property
    def urn(self) -> str:
        """Pulumi's name for it."""
        return self.registration.urn

    @property
    def has_unknowns(self) -> bool:
        """Whether it depends on values known only when others are made."""
        return bool(self.registration.inputs.unknowns)

    @property
    def guards(self) -> tuple[bool, bool]:
        """Whether it is protected, and whether it is retained."""
        return self.registration.protect, self.registration.retain


@dataclass(frozen=True)
class DeclaredObject(Declaration):
    """An object of a cluster.

    Attributes:
        obj: as it is to be.
        connection: how its provider reaches the cluster.
    """

    obj: Object
    connection: Connection

    @property
    def ref(self) -> Ref:
        """Its address."""
        return Ref.of(self.obj)

    @property
    def label(self) -> str:
        """What a person calls it."""
        return str(self.ref)

    @property
    def hidden(self) -> frozenset[Path]:
        """Paths of what is never shown or kept."""
        return self.registration.inputs.secrets

    @property
    def forced(self) -> bool:
        """Whether fields that others manage are taken over."""
        return annotation(self.obj, PATCH_FORCE) == "true"

    @property
    def serves(self) -> bool:
        """Whether it is a job that is up while it runs: its end is nothing to keep."""
        return bool(annotation(self.obj, WAIT_FOR))

    @property
    def digest(self) -> str:
        """Of a job that is to end: what tells whether one that ended and was cleaned up is the same; empty for all else."""
        return digest(self.obj, self.hidden) if self.obj["kind"] == "Job" and not self.serves else ""

    def with_ignored(self, live: Object) -> Object:
        """The object with the live values of the fields whose changes the program ignores (`spec.parallelism`)."""
        result: Object = json.loads(json.dumps(self.obj))
        for path in self.registration.ignore_changes:
            *parents, last = path.split(".")
            source: Any = live
            target: Any = result
            for part in parents:
                source = source.get(part, {}) if isinstance(source, dict) else {}
                target = target.setdefault(part, {}) if isinstance(target, dict) else {}
            if isinstance(source, dict) and last in source and isinstance(target, dict):
                target[last] = source[last]
        return result


@dataclass(frozen=True)
class DeclaredDynamic(Declaration):
    """A resource of a dynamic provider."""

    provider: Provider

    @property
    def name(self) -> str:
        """The program's name for it."""
        return self.registration.name

    @property
    def label(self) -> str:
        """What a person calls it."""
        return f"{self.registration.type} {self.registration.name}"

    @property
    def properties(self) -> dict[str, Any]:
        """All that the program gave."""
        return dict(self.registration.inputs.value)

    @property
    def inputs(self) -> dict[str, Any]:
        """What the provider is given."""
        return dynamic.plain(self.properties)

    def registered(self, id_: str = "", outputs: dict[str, Any] | None = None) -> Registered:
        """What the program sees of it."""
        return Registered(id_, {**self.properties, **(outputs or {})})


def object_of(registration: Registration) -> Object:
    """The Kubernetes object a registration stands for.

    Raises:
        PrimageError: it has no name of its own: names the engine makes up would be new on every machine.
    """
    obj = {key: value for key, value in without_nulls(registration.inputs.value).items() if key != "status"}
    name = obj.get("metadata", {}).get("name")
    if not name:
        raise PrimageError(
            f"{registration.type} {registration.name} has no metadata.name",
            todo="name it in the program: programs of this repository choose their objects' names",
        )
    if name == UNKNOWN:
        raise PrimageError(
            f"the name of {registration.type} {registration.name} is not known before the run",
            todo="have the program choose the name",
        )
    return obj


def without_nulls(given: dict[str, Any]) -> dict[str, Any]:
    """Properties that were left out on the way come as None."""
    return {key: value for key, value in given.items() if value is not None}


def properties_of(obj: Object, *, preview: bool = False) -> Registered:
    """What the program sees of an object: its id as Pulumi forms it, and its fields."""
    ref = Ref.of(obj)
    bare = {**obj, "metadata": {k: v for k, v in obj["metadata"].items() if k != "managedFields"}}
    secret = frozenset({"data", "stringData"} & set(bare)) if obj.get("kind") == "Secret" else frozenset()
    id_ = f"{ref.namespace}/{ref.name}" if ref.namespace else ref.name
    return Registered("" if preview else id_, bare, secret)


def digest(obj: Object, hidden: frozenset[Path]) -> str:
    """Of what the object is; whose it is does not make a finished Job another one."""
    bare: Object = masked(obj, hidden)
    bare.get("metadata", {}).get("labels", {}).pop(LABEL_STACK, None)
    return hashlib.sha256(json.dumps(bare, sort_keys=True).encode()).hexdigest()
