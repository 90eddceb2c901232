"""Running a Pulumi program in this process, with our monitor in place of the Pulumi engine.

**Technical debt, private API:** the runtime is configured through `pulumi.runtime.mocks.MockSettings` and transforms are
run through `_CallbackServicer`, neither of which Pulumi promises to keep. Both are used here and nowhere else; tests
run the same programs on the Pulumi CLI where it is installed, and would show a difference.
"""

from __future__ import annotations

import asyncio
import json
import logging
import runpy
import sys
import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from primage.engine.embedded.values import Decoded, decode, encode
from primage.errors import ExitCode, PrimageError

PARALLEL = 32
"""Resources handled at a time: each waits in a thread of its own, mostly for the API server."""

logging.getLogger("pulumi").setLevel(logging.WARNING)


@dataclass(frozen=True)
class Registration:
    """One resource as the program declares it.

    Attributes:
        urn: Pulumi's name for it.
        type: type token, such as `kubernetes:core/v1:Namespace`.
        custom: False for components, which group others and are nothing themselves.
        inputs: its properties.
        parent: URN of the component or stack that it belongs to.
        dependencies: URNs it comes after, its parent's among them.
        by_property: which of them each property came from.
        provider: URN of its provider, empty for the default one.
        version: of its provider, as the SDK asks for it.
        timeout_s: `custom_timeouts.create`, or 0.
    """

    urn: str
    type: str
    name: str
    custom: bool
    inputs: Decoded
    parent: str
    dependencies: tuple[str, ...]
    by_property: dict[str, list[str]]
    provider: str
    version: str
    protect: bool
    retain: bool
    ignore_changes: tuple[str, ...]
    timeout_s: float


@dataclass(frozen=True)
class Registered:
    """What becomes of a registration: an id (empty in a preview of something new) and its properties."""

    id: str
    properties: dict[str, Any]
    secret_keys: frozenset[str] = frozenset()


class Host(Protocol):
    """What an engine does with a program's declarations; called from many threads."""

    def register(self, registration: Registration) -> Registered:
        """One resource, after what it depends on."""

    def read_stack(self, full_name: str) -> dict[str, Any]:
        """Outputs of another stack, by its full name (`organization/project/stack`); none of them is secret."""

    def outputs(self, values: Decoded) -> None:
        """The stack's own outputs, at the program's end."""


def run_program(folder: Path, *, project: str, stack: str, config: dict[str, Any], preview: bool, host: Host) -> None:
    """Run the program in `folder` to its end.

    Args:
        config: values of the stack's `config:`; structured ones are given to Pulumi as JSON, as its CLI does.
        preview: whether the program is told it is a dry run.

    Raises:
        PrimageError: what the host raised, or that the program itself failed.
    """
    import pulumi
    from pulumi.runtime import mocks, settings

    host_monitor = _monitor_class()(host)
    known = set(sys.modules)
    path_before = list(sys.path)
    loop = asyncio.new_event_loop()
    loop.set_default_executor(ThreadPoolExecutor(max_workers=PARALLEL, thread_name_prefix="resource"))
    asyncio.set_event_loop(loop)
    settings.ROOT.set(None)
    settings.configure(
        mocks.MockSettings(  # type: ignore[no-untyped-call]
            monitor=host_monitor,
            monitor_features=set(host_monitor.GetDeploymentInfo(None).supportedFeatures),
            engine=mocks.MockEngine(logging.getLogger("pulumi")),
            project=project,
            stack=stack,
            dry_run=preview,
            organization="organization",
            callbacks=None,
        )
    )
    # What a program that failed left behind belongs to a loop that is closed.
    settings.SETTINGS.rpc_manager.clear()
    settings.SETTINGS.outputs.clear()
    texts = {key: value if isinstance(value, str) else json.dumps(value) for key, value in config.items()}
    pulumi.runtime.set_all_config(texts, [])

    async def program() -> None:
        runpy.run_path(str(folder), run_name="__main__")

    try:
        loop.run_until_complete(pulumi.runtime.run_in_stack(program))
    except PrimageError:
        raise
    except Exception as error:
        raise _program_error(error, folder) from error
    finally:
        _wind_down(loop)
        asyncio.set_event_loop(None)
        sys.path[:] = path_before
        _forget_modules(folder, known)


def _wind_down(loop: asyncio.AbstractEventLoop) -> None:
    """Let handlers in other threads end, then cancel what a failed program left waiting, so that the next one starts clean."""
    # Failures have been collected by the host; asyncio need not report each again.
    loop.set_exception_handler(lambda *_: None)
    loop.run_until_complete(loop.shutdown_default_executor())
    left = asyncio.all_tasks(loop)
    for task in left:
        task.cancel()
    loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
    loop.close()


def _program_error(error: Exception, folder: Path) -> PrimageError:
    cause: BaseException | None = error
    seen: set[int] = set()
    while cause is not None and id(cause) not in seen:
        if isinstance(cause, PrimageError):
            return cause
        seen.add(id(cause))
        cause = cause.__cause__ or cause.__context__
    return PrimageError(
        f"the program failed: {type(error).__name__}: {error}",
        where=str(folder / "__main__.py"),
        todo="run with --debug to see where; a value it does not like is in the stack's configuration file",
    )


def _forget_modules(folder: Path, known: set[str]) -> None:
    """Drop the program's own modules: the next program may have others of the same name."""
    for name in set(sys.modules) - known:
        origin = getattr(sys.modules[name], "__file__", None) or ""
        if origin.startswith(str(folder)):
            del sys.modules[name]


def _that_knows(token: str, servicers: Iterable[Any]) -> Any:
    """The program's servicer that has this transform.

    Raises:
        PrimageError: none has it, because the program failed and its servicers ended with it.
    """
    for servicer in servicers:
        if token in servicer._callbacks:
            return servicer
    raise PrimageError("the program ended before all its resources were declared", todo="see the program's own error")


def _monitor_class() -> Any:
    """The monitor, made late because importing Pulumi takes most of a second."""
    from google.protobuf import empty_pb2
    from pulumi.runtime import mocks
    from pulumi.runtime._callbacks import _CallbackServicer
    from pulumi.runtime.proto import resource_pb2

    def transformed(request: Any, callbacks: list[Any]) -> Any:
        """The request after each transform, run on the program's own event loop."""
        for callback in callbacks:
            servicer = _that_knows(callback.token, _CallbackServicer._servicers)
            options = resource_pb2.TransformResourceOptions(
                depends_on=list(request.dependencies), protect=request.protect, provider=request.provider
            )
            asked = resource_pb2.TransformRequest(
                type=request.type,
                name=request.name,
                custom=request.custom,
                parent=request.parent,
                properties=request.object,
                options=options,
            )
            call: Any = servicer._callbacks[callback.token](asked.SerializeToString())
            future: Any = asyncio.run_coroutine_threadsafe(call, servicer._loop)
            request.object.CopyFrom(future.result(timeout=60).properties)
        return request

    class Monitor(mocks.MockMonitor):
        """Pulumi's own mock monitor, seeing whole requests."""

        def __init__(self, host: Host) -> None:
            super().__init__(mocks=None)  # type: ignore[arg-type]  # every method that would use it is replaced
            self._host = host
            self._transforms: list[Any] = []
            self._guard = threading.Lock()
            self._root = ""

        def RegisterResource(self, request: Any) -> Any:
            urn = self.make_urn(request.parent, request.type, request.name)
            if request.type == "pulumi:pulumi:Stack":
                self._root = urn
                return resource_pb2.RegisterResourceResponse(urn=urn)
            with self._guard:
                stack_transforms = list(self._transforms)
            request = transformed(request, [*request.transforms, *stack_transforms])
            done = self._host.register(_registration(urn, request))
            return resource_pb2.RegisterResourceResponse(urn=urn, id=done.id, object=encode(done.properties, done.secret_keys))

        def ReadResource(self, request: Any) -> Any:
            urn = self.make_urn(request.parent, request.type, request.name)
            if request.type != "pulumi:pulumi:StackReference":
                raise PrimageError(
                    f"the program reads an existing {request.type} ({request.name}), which the embedded engine cannot",
                    todo="install the Pulumi CLI and use --engine pulumi",
                    code=ExitCode.UNSUPPORTED,
                )
            outputs = self._host.read_stack(request.id)
            properties = {"name": request.id, "outputs": outputs, "secretOutputNames": []}
            return resource_pb2.ReadResourceResponse(urn=urn, properties=encode(properties))

        def RegisterResourceOutputs(self, request: Any) -> Any:
            if request.urn == self._root:
                self._host.outputs(decode(request.outputs))
            return empty_pb2.Empty()

        def RegisterStackTransform(self, request: Any) -> Any:
            with self._guard:
                self._transforms.append(request)
            return empty_pb2.Empty()

        def Invoke(self, request: Any) -> Any:
            raise PrimageError(
                f"the program calls the provider function {request.tok}, which the embedded engine does not have",
                todo="install the Pulumi CLI and use --engine pulumi",
                code=ExitCode.UNSUPPORTED,
            )

    return Monitor


def _registration(urn: str, request: Any) -> Registration:
    return Registration(
        urn=urn,
        type=request.type,
        name=request.name,
        custom=request.custom,
        inputs=decode(request.object),
        parent=request.parent,
        by_property={key: list(of.urns) for key, of in request.propertyDependencies.items()},
        version=request.version,
        dependencies=tuple(dict.fromkeys([*request.dependencies, *([request.parent] if request.parent else [])])),
        provider=request.provider.rsplit("::", 1)[0] if request.provider else "",
        protect=request.protect,
        retain=request.retainOnDelete,
        ignore_changes=tuple(request.ignoreChanges),
        timeout_s=_seconds(request.customTimeouts.create),
    )


def _seconds(text: str) -> float:
    """Seconds of a Pulumi duration such as `10m` or `1h30m`; 0 when empty."""
    total, number = 0.0, ""
    for char in text:
        if char in "hms":
            total += float(number or 0) * {"h": 3600, "m": 60, "s": 1}[char]
            number = ""
        else:
            number += char
    return total
