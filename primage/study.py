"""The validation study of the paper (section 5.2) on a site: run it, bring its results here, and compare with Table 3."""

from __future__ import annotations

import base64
import io
import json
import tarfile
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from primage.clients.cluster import Cluster, Ref
from primage.engine.embedded.engine import EmbeddedEngine
from primage.engine.embedded.waiting import pods_of
from primage.engine.engine import Options
from primage.errors import PrimageError
from primage.stack import StackName

PAPER_TABLE_3: dict[str, dict[str, int | None]] = {
    "container creation": {"local": 3, "batch": 3, "HTC": 3},
    "file transfers": {"local": None, "batch": 7, "HTC": 16},
    "queue creation": {"local": None, "batch": None, "HTC": 5},
    "execution": {"local": 140, "batch": 140, "HTC": 43},
    "total": {"local": 143, "batch": 150, "HTC": 64},
}
"""Seconds, as printed in the paper; its HTC column adds to 67."""
RESULTS = (
    "report.json",
    "classification-report.txt",
    "confusion-matrix.png",
    "training-curve.png",
    "history.json",
    "timings.json",
    "model.keras",
)  # fmt: skip
MOST_LINES = 200_000


@dataclass(frozen=True)
class Study:
    """A study that has ended.

    Attributes:
        report: the study's own report (accuracy, sensitivity, specificity, confusion matrix, …).
        seconds: the batch column of Table 3, measured; None where it could not be (the job ran before and was cleaned up).
        files: what was brought here.
    """

    report: dict[str, Any]
    seconds: dict[str, float | None]
    files: list[Path]


def run_study(vo: str, site: str, out: Path, options: Options) -> Study:
    """Run the study's stack to its end and copy its results to folder `out`."""
    engine = EmbeddedEngine()
    stack = StackName(site=site, app="study-histology", vo=vo)
    result = engine.up(stack, options)
    outputs = engine.outputs(stack)
    kubeconfig = engine.outputs(StackName(site))["site"]
    cluster = Cluster(str(kubeconfig["kubeconfig"]), str(kubeconfig["context"]))
    files = _fetch(engine, cluster, stack, str(outputs["out"]), out, options)
    report = json.loads((out / "report.json").read_text())
    timings = json.loads((out / "timings.json").read_text())
    job = Ref("batch/v1", "Job", str(outputs["job"]), str(outputs["namespace"]))
    measured = result.timings.get(str(job)) or _recorded(out)
    seconds = _table(cluster, job, timings, measured)
    (out / "table3.json").write_text(
        json.dumps({"paper": PAPER_TABLE_3, "ours": {"batch": seconds}, "measured": measured}, indent=2)
    )
    return Study(report, seconds, [*files, out / "table3.json"])


def _recorded(out: Path) -> dict[str, float]:
    """What an earlier run measured: a study that was not run again keeps its figures."""
    try:
        measured = json.loads((out / "table3.json").read_text())["measured"]
        return {str(key): float(value) for key, value in measured.items()}
    except (OSError, ValueError, KeyError, AttributeError):
        return {}


def _table(cluster: Cluster, job: Ref, timings: dict[str, float], measured: dict[str, float]) -> dict[str, float | None]:
    execution = round(sum(timings.values()), 1)
    started = _container_started(cluster, job)
    creation = round(max(0.0, started - measured["submitted"]), 1) if started and measured else None
    total = round(measured["ready"] - measured["submitted"], 1) if measured else None
    # Results are written straight to the shared volume: no file is transferred before or after.
    return {"container creation": creation, "file transfers": 0.0, "queue creation": None, "execution": execution, "total": total}


def _container_started(cluster: Cluster, job: Ref) -> float | None:
    for pod in reversed(pods_of(cluster, job)):
        for container in pod.get("status", {}).get("containerStatuses") or []:
            ended = container.get("state", {}).get("terminated") or {}
            if ended.get("startedAt"):
                return datetime.fromisoformat(ended["startedAt"]).timestamp()
    return None


def _fetch(engine: EmbeddedEngine, cluster: Cluster, study: StackName, folder: str, out: Path, options: Options) -> list[Path]:
    """Bring the results here through a small job's log: that needs no right but those the study itself needs."""
    stack = StackName(site=study.site, app="batch", vo=study.vo, run="fetch")
    script = 'cd "$HOME/$FOLDER" && tar -czf - "$@" | base64 -w 120 && echo END'
    job = {
        "name": "results", "image": "localhost/primage/base:1", "command": ["/bin/sh", "-c", script, "fetch"],
        "args": list(RESULTS), "env": {"FOLDER": folder}, "cpu": "100m", "memory": "64Mi", "backoff_limit": 0,
        "deadline_seconds": 120,
    }  # fmt: skip
    fetching = Options(overrides={"job": job}, listener=options.listener, timeout_s=150)
    engine.destroy(stack, fetching)
    try:
        engine.up(stack, fetching)
        ref = Ref("batch/v1", "Job", str(engine.outputs(stack)["job"]), str(engine.outputs(stack)["namespace"]))
        lines = cluster.logs(ref.namespace, pods_of(cluster, ref)[-1]["metadata"]["name"], tail=MOST_LINES).split()
    finally:
        engine.destroy(stack, fetching)
    if not lines or lines[-1] != "END":
        raise PrimageError("the results did not arrive whole", todo="run `primage study` again: the study itself is done")
    out.mkdir(parents=True, exist_ok=True)
    with tarfile.open(fileobj=io.BytesIO(base64.b64decode("".join(lines[:-1])))) as archive:
        archive.extractall(out, filter="data")
    return [out / name for name in RESULTS]
