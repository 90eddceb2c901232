"""What a program declares, as Pulumi's state has it, each declaration paired with what the embedded engine made of it."""

from __future__ import annotations

import json
import threading
import uuid
from dataclasses import dataclass, field
from typing import Any

from primage.clients.cluster import Cluster, Ref
from primage.engine.api import MASK
from primage.engine.embedded import dynamic
from primage.engine.embedded.declaration import properties_of, without_nulls
from primage.engine.embedded.intake import ReadOutputs
from primage.engine.embedded.monitor import Registered, Registration
from primage.engine.embedded.outputs import referred
from primage.engine.embedded.state import Entry, StackState
from primage.engine.embedded.values import SECRET, SIGNATURE, Decoded, Path
from primage.engine.ownership import Owner, whose
from primage.errors import PrimageError
from primage.projects.project import Project, StackName

PYTHON_PROVIDER = "pulumi:providers:pulumi-python"
BUILT_IN = "pulumi:providers:pulumi"
STACK = "pulumi:pulumi:Stack"
REFERENCE = "pulumi:pulumi:StackReference"


@dataclass
class Recorder:
    """Implements `monitor.Host`: takes down what a program declares, as Pulumi's state has it.

    Attributes:
        resources: in dependency order.
    """

    name: StackName
    project: Project
    state: StackState
    cluster: Cluster
    read_outputs: ReadOutputs

    resources: list[dict[str, Any]] = field(default_factory=list)
    _root: str = ""
    _urns: dict[str, str] = field(default_factory=dict)
    _providers: dict[str, str] = field(default_factory=dict)
    _seen: set[str] = field(default_factory=set)
    _refused: list[str] = field(default_factory=list)
    _guard: threading.RLock = field(default_factory=threading.RLock)

    def __post_init__(self) -> None:
        """The stack itself is the first resource."""
        self._root = self._add(STACK, f"{self.project.name}-{self.name.stack}", custom=False)

    # -- what the program calls ------------------------------------------------------------------------------------

    def register(self, registration: Registration) -> Registered:
        """One resource, after what it depends on."""
        with self._guard:
            inputs = without_nulls(registration.inputs.value)
            if not registration.custom:
                self._note(registration, {})
                return Registered("", inputs)
            if registration.type == "pulumi:providers:kubernetes":
                return self._provider(registration, inputs)
            entry = self.state.resources.get(registration.urn)
            if entry is None:
                self._refused.append(f"{registration.type} {registration.name} is declared, and is not up yet")
                return Registered("", inputs)
            self._seen.add(registration.urn)
            if dynamic.is_dynamic(registration.type):
                return self._dynamic(registration, entry)
            return self._object(registration, entry, inputs)

    def read_stack(self, full_name: str) -> dict[str, Any]:
        """Outputs of another stack; the reference is a resource too."""
        outputs = self.read_outputs(referred(full_name))
        with self._guard:
            properties = {"name": full_name, "outputs": outputs, "secretOutputNames": []}
            self._add(
                REFERENCE,
                full_name,
                id=full_name,
                external=True,
                inputs={"name": full_name},
                outputs=properties,
                provider=self._default(BUILT_IN, ""),
                parent=self._root,
            )
        return outputs

    def outputs(self, values: Decoded) -> None:
        """The stack's own outputs."""
        self.resources[0]["outputs"] = marked(values.value, values.secrets)

    def finish(self) -> None:
        """Refuse, all together, what cannot be moved.

        Raises:
            PrimageError: something is in the state or in the program alone, is gone, or is another's.
        """
        left = [entry.label for urn, entry in self.state.resources.items() if urn not in self._seen]
        self._refused += [f"{label} is up, and has left the program" for label in left]
        if self._refused:
            raise PrimageError(
                f"{self.name} cannot be moved:\n  " + "\n  ".join(self._refused[:20]) + "\n",
                todo=f"run `primage up {self.name} --engine embedded`, then move it",
            )

    # -- kinds of resource -----------------------------------------------------------------------------------------

    def _provider(self, registration: Registration, inputs: dict[str, Any]) -> Registered:
        texts = {key: value if isinstance(value, str) else json.dumps(value) for key, value in inputs.items()}
        id_ = str(uuid.uuid4())
        properties = {**texts, "version": registration.version}
        urn = self._note(registration, {**properties, "__internal": {}}, id=id_, outputs=properties)
        self._providers[registration.urn] = f"{urn}::{id_}"
        return Registered(id_, inputs)

    def _object(self, registration: Registration, entry: Entry, inputs: dict[str, Any]) -> Registered:
        owner = Owner.of(self.name, self.project)
        ref = Ref.of(inputs)
        live = self.cluster.get(ref)
        if live is None and not (ref.kind == "Job" and entry.digest):
            self._refused.append(f"{ref} is not there any more")
        elif live is not None and not owner.owns(live):
            self._refused.append(f"{ref} is not this stack's ({whose(live)})")
        found = live or inputs
        secrets = registration.inputs.secrets | ({("data",), ("stringData",)} if ref.kind == "Secret" else set())
        outputs = {
            **marked(found, secrets),
            "__initialApiVersion": ref.api_version,
            "__fieldManager": owner.manager,
            "__inputs": marked(inputs, secrets),
        }
        done = properties_of(found)
        self._note(
            registration, marked(inputs, secrets), id=done.id, outputs=outputs, provider=self._providers[registration.provider]
        )
        return done

    def _dynamic(self, registration: Registration, entry: Entry) -> Registered:
        kept = entry.dynamic
        properties = without_nulls(registration.inputs.value)
        if kept is None or MASK in json.dumps([kept.inputs, kept.outputs]):
            self._refused.append(f"{entry.label} has secrets that the embedded engine did not keep")
            return Registered("", properties)
        secrets = registration.inputs.secrets
        # Whoever may write in a run's namespace may write its state, and Pulumi executes what `__provider` holds: what the
        # program declares wins, and nothing of Pulumi's own is taken from the state.
        known = {key: value for key, value in kept.outputs.items() if not key.startswith("__")}
        outputs = {**known, **properties}
        provider = self._default(PYTHON_PROVIDER, registration.version)
        self._note(registration, marked(properties, secrets), id=kept.id, outputs=marked(outputs, secrets), provider=provider)
        return Registered(kept.id, outputs)

    # -- resources as Pulumi writes them -----------------------------------------------------------------------------

    def _note(self, registration: Registration, inputs: dict[str, Any], **more: Any) -> str:
        depends = [self._urns[urn] for urn in registration.dependencies if urn in self._urns and urn != registration.parent]
        by_property = {
            key: [self._urns[urn] for urn in urns if urn in self._urns] for key, urns in registration.by_property.items()
        }
        guards = {"protect": registration.protect, "retainOnDelete": registration.retain}
        urn = self._add(
            registration.type,
            registration.name,
            custom=registration.custom,
            inputs=inputs,
            dependencies=depends,
            propertyDependencies=by_property,
            parent=self._urns.get(registration.parent, self._root),
            **more,
            **{key: True for key, value in guards.items() if value},
        )
        self._urns[registration.urn] = urn
        return urn

    def _default(self, type_: str, version: str) -> str:
        """Pulumi's own instance of a provider that the program does not configure; made when first used."""
        known = self._providers.get(type_)
        if known is None:
            id_ = str(uuid.uuid4())
            properties = {"version": version} if version else {}
            urn = self._add(
                type_, f"default{'_' + version.replace('.', '_') if version else ''}", id=id_, inputs=properties, outputs=properties
            )
            known = self._providers[type_] = f"{urn}::{id_}"
        return known

    def _add(self, type_: str, name: str, *, parent: str = "", custom: bool = True, **more: Any) -> str:
        above = parent.split("::")[2] if parent and parent != self._root else ""
        place = f"urn:pulumi:{self.name.stack}::{self.project.name}"
        urn = f"{place}::{above}${type_}::{name}" if above else f"{place}::{type_}::{name}"
        owned = {"parent": parent} if parent else {}
        self.resources.append({"urn": urn, "custom": custom, "type": type_, **owned, **more})
        return urn


def marked(value: Any, secrets: frozenset[Path] | set[Path], path: Path = ()) -> Any:
    """Plain data as Pulumi's state has it, with what is secret marked so; Pulumi encrypts it when it is imported.

    Raises:
        PrimageError: the data has a mark of Pulumi's, which only Pulumi may make.
    """
    if path in secrets:
        return {SIGNATURE: SECRET, "plaintext": json.dumps(value)}
    if isinstance(value, dict):
        if SIGNATURE in value:
            raise PrimageError(
                f"an object has a key that only Pulumi may use, at {'.'.join(map(str, path)) or 'its top'}: {SIGNATURE}",
                todo="find out who wrote it, and remove it; nothing was moved",
            )
        return {key: marked(item, secrets, (*path, key)) for key, item in value.items()}
    if isinstance(value, list):
        return [marked(item, secrets, (*path, index)) for index, item in enumerate(value)]
    return value
