"""Taking a standing stack of the embedded engine over to Pulumi's: the state that `pulumi up` would have written.

`pulumi import` reads objects back one by one, knows neither components nor dynamic providers, and would apply with a
field manager of its own, so that every later change is a conflict with the embedded engine's. So the program is run once
more, each declaration is paired with the live object, and the whole becomes a deployment for `pulumi stack import`. No
object is touched. The move is done when a preview by Pulumi changes nothing; else Pulumi forgets the stack again.
"""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from primage.clients.cluster import Cluster, Ref
from primage.engine.api import Options
from primage.engine.changes import MASK, Event, Result
from primage.engine.embedded import dynamic
from primage.engine.embedded.engine import EmbeddedEngine
from primage.engine.embedded.monitor import Registered, Registration, run_program
from primage.engine.embedded.ownership import Owner, whose
from primage.engine.embedded.session import properties_of, without_nulls
from primage.engine.embedded.state import Entry, StackState, Status
from primage.engine.embedded.values import SECRET, SIGNATURE, Decoded
from primage.engine.embedded.values import Path as ValuePath
from primage.engine.moved import aside
from primage.engine.pulumi_cli.command import NoSuchStack, Workspace, workspace
from primage.engine.pulumi_cli.engine import PulumiEngine, run
from primage.errors import ExitCode, PrimageError
from primage.projects.overrides import effective_config
from primage.projects.project import Project, StackName, project_of

PYTHON_PROVIDER = "pulumi:providers:pulumi-python"
BUILT_IN = "pulumi:providers:pulumi"
STACK = "pulumi:pulumi:Stack"
REFERENCE = "pulumi:pulumi:StackReference"


@dataclass(frozen=True)
class Moved:
    """What was taken over.

    Attributes:
        resources: how many, components and providers among them.
        objects: how many of these are objects of the cluster.
        kept: where the embedded engine's state is kept aside.
    """

    stack: str
    resources: int
    objects: int
    kept: str


def move_to_pulumi(name: StackName, options: Options) -> Moved:
    """Have Pulumi's engine, with the backend of `pulumi login`, own what the embedded engine owns.

    Raises:
        PrimageError: something of the stack cannot be moved, or a preview would change it; nothing is changed then.
    """
    project, engine = project_of(name), EmbeddedEngine()
    store = engine.store(name)
    with store.lock(), workspace(name, options.overrides) as here:
        state = store.load()
        _require_finished(name, state)
        exists = _require_empty(here, name)
        recorder = _record(name, project, options, state, engine)
        options.listener(Event(str(name), "recorded", f"{len(recorder.resources)} resources"))
        if not exists:
            run(here, name, "stack", "init", "--no-select")
        empty = run(here, name, "stack", "export")
        try:
            _import(here, name, filled(empty, recorder.resources))
            options.listener(Event(str(name), "imported"))
            _require_same(PulumiEngine().preview_in(here, name, options)[0], name)
        except BaseException:
            _import(here, name, empty)
            if not exists:
                run(here, name, "stack", "rm", "--yes")
            raise
        path = aside(name)
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.touch(mode=0o600)
        path.write_bytes(store.text(state))
        store.remove()
    objects = sum(resource["type"].startswith("kubernetes:") for resource in recorder.resources)
    return Moved(str(name), len(recorder.resources), objects, str(path))


def _require_finished(name: StackName, state: StackState) -> None:
    if not state.resources:
        raise PrimageError(f"{name} is not up by the embedded engine: there is nothing to move", code=ExitCode.INVALID)
    unfinished = [f"{entry.label} ({entry.status})" for entry in state.resources.values() if entry.status is not Status.READY]
    if unfinished:
        raise PrimageError(
            f"{name} cannot be moved while the last `up` or `destroy` of it is not finished: {', '.join(unfinished[:10])}",
            todo=f"run `primage up {name} --engine embedded` to its end, then move it",
        )


def _require_empty(here: Workspace, name: StackName) -> bool:
    """Refuse a stack of which Pulumi's backend has resources, and an app whose site it does not have; whether it has the stack."""
    try:
        known = json.loads(run(here, name, "stack", "export"))["deployment"].get("resources") or []
        exists = True
    except NoSuchStack:
        known, exists = [], False
    if known:
        raise PrimageError(
            f"Pulumi's backend has a stack {name.stack} of this project already, with {len(known)} resources",
            todo=f"destroy it there (`primage destroy {name} --engine pulumi`), or `pulumi login` to another backend",
        )
    if name.app:
        _require_site(StackName(name.site), name)
    return exists


def _require_site(site: StackName, name: StackName) -> None:
    with workspace(site) as there:
        try:
            run(there, site, "stack", "output", "--json")
        except NoSuchStack as error:
            raise PrimageError(
                f"{name} reads what its site offers from the site's stack, and site {site} is not moved yet",
                todo=f"run `primage move {site} --to pulumi` first",
            ) from error


def _record(name: StackName, project: Project, options: Options, state: StackState, engine: EmbeddedEngine) -> Recorder:
    recorder = Recorder(name, project, state, engine.cluster_of(name), engine.read_outputs)
    run_program(
        project.program,
        project=project.name,
        stack=name.stack,
        config=effective_config(project, name, options.overrides),
        preview=False,
        host=recorder,
    )
    recorder.finish()
    return recorder


def filled(empty: str, resources: list[dict[str, Any]]) -> str:
    """An empty deployment, which says how secrets are encrypted, with these resources."""
    document = json.loads(empty)
    document["deployment"]["resources"] = resources
    return json.dumps(document)


def _import(here: Workspace, name: StackName, deployment: str) -> None:
    file = here.folder / "deployment.json"
    file.touch(mode=0o600)
    file.write_text(deployment)
    run(here, name, "stack", "import", "--file", str(file))
    file.unlink()


def _require_same(planned: Result, name: StackName) -> None:
    changed = [
        f"{change.label}: {change.action} {', '.join(field.path for field in change.fields)}" for change in planned.changed()
    ]
    if changed:
        raise PrimageError(
            f"{name} was not moved, because Pulumi would change it:\n  " + "\n  ".join(changed[:20]) + "\n",
            todo=f"run `primage up {name} --engine embedded`, so that what is there is what the program says, then move it",
        )


@dataclass
class Recorder:
    """Implements `program.Host`: takes down what a program declares, as Pulumi's state has it.

    Attributes:
        resources: in dependency order.
    """

    name: StackName
    project: Project
    state: StackState
    cluster: Cluster
    read_outputs: Callable[[str], tuple[dict[str, Any], list[str]]]

    resources: list[dict[str, Any]] = field(default_factory=list)
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

    def read_stack(self, name: str) -> tuple[dict[str, Any], list[str]]:
        """Outputs of another stack; the reference is a resource too."""
        outputs, secret = self.read_outputs(name)
        with self._guard:
            properties = {"name": name, "outputs": outputs, "secretOutputNames": secret}
            self._add(
                REFERENCE,
                name,
                id=name,
                external=True,
                inputs={"name": name},
                outputs=properties,
                provider=self._default(BUILT_IN, ""),
                parent=self._root,
            )
        return outputs, secret

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
        outputs = {**properties, **kept.outputs}
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
        above = parent.split("::")[2] if parent and parent != getattr(self, "_root", "") else ""
        place = f"urn:pulumi:{self.name.stack}::{self.project.name}"
        urn = f"{place}::{above}${type_}::{name}" if above else f"{place}::{type_}::{name}"
        owned = {"parent": parent} if parent else {}
        self.resources.append({"urn": urn, "custom": custom, "type": type_, **owned, **more})
        return urn


def marked(value: Any, secrets: frozenset[ValuePath] | set[ValuePath], path: ValuePath = ()) -> Any:
    """Plain data as Pulumi's state has it, with what is secret marked so; Pulumi encrypts it when it is imported."""
    if path in secrets:
        return {SIGNATURE: SECRET, "plaintext": json.dumps(value)}
    if isinstance(value, dict):
        return {key: marked(item, secrets, (*path, key)) for key, item in value.items()}
    if isinstance(value, list):
        return [marked(item, secrets, (*path, index)) for index, item in enumerate(value)]
    return value
