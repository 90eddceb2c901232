"""Both engines in tests: commands in processes of their own, a stack's objects, and what of them must be the same."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from primage.clients.cluster import Cluster, Object, Ref, Refused
from primage.contract.login import AUTHORITY_KEY
from primage.contract.names import LABEL_STACK, stack_label
from primage.engine.embedded.objects import differences
from primage.engine.ownership import STATE_TYPE

ROOT = Path(__file__).resolve().parents[2]
COMMAND_S = 400
NOT_THE_PROGRAMS = (
    "kopf.primage.eu/",
    "batch.kubernetes.io/",
    "controller-uid",
    "deployment.kubernetes.io/",
    "hpc.primage.eu/",
    "job-name",
    "pv.kubernetes.io/",
)
"""Beginnings of labels and annotations that controllers write."""


@dataclass
class Tally:
    """What has been compared."""

    stacks: list[str] = field(default_factory=list)
    objects: int = 0


TALLY = Tally()


@dataclass(frozen=True)
class Primage:
    """`primage` in processes of its own, so that several may run side by side.

    Attributes:
        environment: of each process, beside this one's.
    """

    environment: dict[str, str]

    def __call__(self, *arguments: str, fails: bool = False) -> dict[str, Any]:
        """The document that a command prints."""
        done = subprocess.run(
            [sys.executable, "-m", "primage", *arguments, "--json"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, **self.environment},
            timeout=COMMAND_S,
        )
        assert (done.returncode != 0) is fails, f"{arguments}: {done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        document: dict[str, Any] = json.loads(done.stdout)
        return document


def owned(cluster: Cluster, stack: str, kinds: Iterable[tuple[str, str]]) -> dict[Ref, Object]:
    """A stack's objects, found by its label, without what an engine keeps there."""
    found = [obj for kind in kinds for obj in _listed(cluster, kind, f"{LABEL_STACK}={stack_label(stack)}")]
    ours = [obj for obj in found if obj.get("type") != STATE_TYPE and not obj["metadata"].get("ownerReferences")]
    return {Ref.of(obj): obj for obj in ours}


def _listed(cluster: Cluster, kind: tuple[str, str], labels: str) -> list[Object]:
    """Objects of a kind; none of one that the cluster does not know (any more)."""
    try:
        return cluster.list(*kind, labels=labels)
    except Refused as refusal:
        if refusal.status != 404:
            raise
        return []


def require_same(stack: str, ours: dict[Ref, Object], pulumis: dict[Ref, Object]) -> None:
    """Compare what two engines made, field by field."""
    assert ours, f"{stack} has no objects"
    assert set(ours) == set(pulumis)
    first, second = _normal(ours), _normal(pulumis)
    found = {str(ref): change for ref in first if (change := differences(first[ref], second[ref]))}
    assert found == {}
    TALLY.stacks.append(stack)
    TALLY.objects += len(ours)


def _normal(objects: dict[Ref, Object]) -> dict[Ref, Object]:
    """The objects without what the server and its controllers write, and with names in place of their UIDs."""
    named = {obj["metadata"]["uid"]: f"uid of {ref}" for ref, obj in objects.items()}
    return {ref: _bare(obj, named) for ref, obj in objects.items()}


def _bare(obj: Object, named: dict[str, str]) -> Object:
    bare: Object = _renamed({key: value for key, value in obj.items() if key != "status"}, named)
    if obj["kind"] == "Secret":
        bare["data"] = sorted(bare.get("data") or {})
    if obj["kind"] == "ConfigMap" and AUTHORITY_KEY in bare.get("data", {}):
        # Of a session's login: the authority is thrown away with the key that it was made with.
        bare["data"][AUTHORITY_KEY] = "some authority"
    if obj["kind"] == "Service" and bare["spec"].get("clusterIP") != "None":
        for key in ("clusterIP", "clusterIPs"):
            bare["spec"].pop(key, None)
    if obj["kind"] == "Job":
        bare["spec"].pop("selector", None)
    if obj["kind"] == "PersistentVolume":
        for key in ("uid", "resourceVersion"):
            bare["spec"]["claimRef"].pop(key, None)
    bare["metadata"].pop("finalizers", None)
    return bare


def _renamed(value: Any, named: dict[str, str]) -> Any:
    if isinstance(value, dict):
        kept = {key: item for key, item in value.items() if not key.startswith(NOT_THE_PROGRAMS)}
        return {key: _renamed(item, named) for key, item in kept.items() if item not in ({}, None)}
    if isinstance(value, list):
        return [_renamed(item, named) for item in value]
    if isinstance(value, str):
        for uid, name in named.items():
            value = value.replace(uid, name)
            value = name if value == uid[:8] else value
    return value
