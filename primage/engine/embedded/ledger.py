"""A stack's state while it is worked on: what is about to be done is written down before it is done, and what came of it after."""

from __future__ import annotations

import threading
from typing import Any

from primage.engine.embedded.declaration import Declaration, DeclaredDynamic, DeclaredObject
from primage.engine.embedded.objects import hidden
from primage.engine.embedded.outputs import kept
from primage.engine.embedded.state import Entry, StackState, Status, entry_of
from primage.engine.embedded.stores import StateStore
from primage.engine.embedded.values import Decoded


class Ledger:
    """The state and its store, for many threads."""

    def __init__(self, state: StackState, store: StateStore) -> None:
        self._state = state
        self._store = store
        self._guard = threading.Lock()

    def entry(self, urn: str) -> Entry | None:
        """What is known of a resource."""
        return self._state.resources.get(urn)

    def note_object(self, declared: DeclaredObject, status: Status) -> None:
        """An object got so far."""
        self._note(self._object(declared, status))

    def note_same(self, declared: DeclaredObject) -> None:
        """Nothing was to be done: of what is known already, this is written with whatever is written next."""
        entry = self._object(declared, Status.READY)
        if self.entry(entry.urn) is None:
            self._note(entry)
            return
        with self._guard:
            self._state.resources[entry.urn] = entry

    def note_dynamic(self, declared: DeclaredDynamic, id_: str, outputs: dict[str, Any], status: Status) -> None:
        """A dynamic resource got so far. Outputs are kept as the provider gave them: what is secret it must not return in clear."""
        secrets = declared.registration.inputs.secrets
        inputs = hidden(declared.inputs, lambda path, _: any(path[: len(secret)] == secret for secret in secrets))
        self._note(self._entry(declared, status, dynamic={"id": id_, "inputs": inputs, "outputs": outputs}))

    def note_deleting(self, entry: Entry) -> None:
        """It is about to be deleted."""
        self._note(entry.model_copy(update={"status": Status.DELETING}))

    def note_outputs(self, outputs: Decoded) -> None:
        """The stack's own outputs."""
        with self._guard:
            self._state.outputs, self._state.secret_outputs = kept(outputs)
            self._store.save(self._state)

    def forget(self, entry: Entry) -> None:
        """It is no longer the stack's."""
        with self._guard:
            del self._state.resources[entry.urn]
            self._store.save(self._state)

    def _note(self, entry: Entry) -> None:
        with self._guard:
            self._state.resources[entry.urn] = entry
            self._store.save(self._state)

    def _object(self, declared: DeclaredObject, status: Status) -> Entry:
        return self._entry(declared, status, ref=declared.ref, digest=declared.digest)

    @staticmethod
    def _entry(declared: Declaration, status: Status, **more: Any) -> Entry:
        protect, retain = declared.guards
        return entry_of(
            urn=declared.urn,
            type=declared.registration.type,
            name=declared.registration.name,
            status=status,
            order=declared.order,
            level=declared.level,
            protect=protect,
            retain=retain,
            **more,
        )
