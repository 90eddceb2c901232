"""The Pulumi CLI as an engine, through Pulumi's Automation API: the same programs, the same words about them."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

from primage.clients.cluster import Object
from primage.engine import protection
from primage.engine.changes import Action, Change, Event, FieldChange, Result
from primage.engine.embedded.objects import MASK
from primage.engine.engine import Options, silent
from primage.engine.settings import effective_config
from primage.errors import PrimageError
from primage.stack import StackName, project_of

_ACTIONS = {
    "create": Action.CREATE,
    "create-replacement": Action.REPLACE,
    "delete": Action.DELETE,
    "delete-replaced": Action.REPLACE,
    "discard-replaced": Action.REPLACE,
    "import-replacement": Action.REPLACE,
    "read-replacement": Action.REPLACE,
    "replace": Action.REPLACE,
    "same": Action.SAME,
    "update": Action.UPDATE,
}


class PulumiEngine:
    """Drives `pulumi preview|up|destroy` in the stack's project folder, with the backend the operator has logged in to."""

    def preview(self, name: StackName, options: Options) -> Result:
        """`pulumi preview`, with what `up` refuses said of each resource."""
        return self._operate("preview", name, options)

    def up(self, name: StackName, options: Options) -> Result:
        """`pulumi up`, after a preview of it that deletes nothing that the settings protect."""
        self._require_allowed("preview", name, options)
        return self._operate("up", name, options)

    def destroy(self, name: StackName, options: Options) -> Result:
        """`pulumi destroy`, likewise."""
        self._require_allowed("preview_destroy", name, options)
        return self._operate("destroy", name, options)

    def outputs(self, name: StackName) -> dict[str, Any]:
        """`pulumi stack output`, secret ones masked."""
        return _shown(self._stack(name, Options()).outputs())

    def render(self, name: StackName, options: Options) -> list[Object]:
        """Offline, so by the embedded engine: the programs are the same."""
        from primage.engine.embedded.engine import EmbeddedEngine

        return EmbeddedEngine().render(name, options)

    def _stack(self, name: StackName, options: Options) -> Any:
        import json

        from pulumi import automation

        project = project_of(name)
        try:
            stack = automation.create_or_select_stack(stack_name=name.stack, work_dir=str(project.folder))
            # A run or a member has no file of its own: Pulumi is told what is in the VO's.
            shares_a_file = name.stack != name.config_stack
            given = effective_config(project, name, options.overrides) if options.overrides or shares_a_file else {}
            for key, value in given.items():
                text = value if isinstance(value, str) else json.dumps(value)
                stack.set_config(key, automation.ConfigValue(text))
        except automation.CommandError as error:
            raise _refused(name, error) from error
        return stack

    def _require_allowed(self, verb: str, name: StackName, options: Options) -> None:
        planned = self._operate(verb, name, replace(options, listener=silent))
        protection.require_allowed(planned.changes, where=str(name))

    def _operate(self, verb: str, name: StackName, options: Options) -> Result:
        from pulumi import automation

        started = time.monotonic()
        changes: dict[str, Change] = {}

        def follow(event: Any) -> None:
            planned = event.resource_pre_event
            if planned is not None and planned.metadata.type.startswith(("kubernetes:", "pulumi-python:")):
                change = _change(planned.metadata)
                changes[change.urn] = _heavier(changes.get(change.urn), change)
                options.listener(Event(change.label, str(change.action)))
            if event.res_outputs_event is not None:
                options.listener(Event(_label(event.res_outputs_event.metadata), "ready"))

        stack = self._stack(name, options)
        try:
            done = getattr(stack, verb)(on_event=follow)
        except automation.CommandError as error:
            raise _refused(name, error) from error
        outputs = _shown(done.outputs) if verb == "up" else {}
        kinds = protection.protected_kinds(project_of(name), name, options.overrides)
        return Result(str(name), tuple(protection.mark(changes.values(), kinds)), outputs, time.monotonic() - started)


def _heavier(before: Change | None, now: Change) -> Change:
    """Of the steps that one resource goes through, the one that says most: a replacement is a creation and a deletion too."""
    return before if before and before.action in (Action.REPLACE, Action.DELETE) else now


def _change(step: Any) -> Change:
    detailed = step.detailed_diff or {}
    fields = tuple(FieldChange(path, "(before)", str(diff.diff_kind)) for path, diff in detailed.items())
    return Change(step.urn, _label(step), _ACTIONS.get(str(getattr(step.op, "value", step.op)), Action.UPDATE), fields)


def _label(step: Any) -> str:
    state = step.new or step.old
    metadata = (getattr(state, "inputs", None) or {}).get("metadata", {}) if state else {}
    kind = step.type.rsplit(":", 1)[-1]
    if not isinstance(metadata, dict) or "name" not in metadata:
        return f"{kind} {step.urn.rsplit('::', 1)[-1]}"
    namespace = f"{metadata['namespace']}/" if metadata.get("namespace") else ""
    return f"{kind} {namespace}{metadata['name']}"


def _shown(outputs: Any) -> dict[str, Any]:
    return {key: MASK if value.secret else value.value for key, value in outputs.items()}


def _refused(name: StackName, error: Exception) -> PrimageError:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return PrimageError(
        f"Pulumi did not bring {name} about; its last lines were:\n  " + "\n  ".join(lines[-15:]) + "\n",
        todo="mend what it names, then run the same command again",
    )
