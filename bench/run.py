"""Measure the standing local site; writes bench/results.json.

Each figure is the median of several runs, beside what it is compared with, measured in the same run. `site_cold_s` is
kept from the last time a site was stood up from empty caches (see docs/how-to/measure.md): it is not measured here.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import connector_figures
import hpc_figures
import image_figures
import member_figures
import portal_figures
import queue_figures
import study_figures

from primage.clients.cluster import Cluster, Ref
from primage.engine.api import Options
from primage.engine.embedded.engine import EmbeddedEngine
from primage.kubernetes.waiting import pods_of, wait_gone
from primage.operations.site import usual_site
from primage.projects.project import parse_stack_name

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "bench" / "results.json"
NAMESPACE = "vo-dot-primage-dot-eu"
RUNS = 5
SCRIPT = "date +%s.%N; date +%s.%N"


def median_of(measure: Callable[[], float], runs: int = RUNS) -> float:
    """The median of several runs, after one that is not counted."""
    measure()
    return round(statistics.median(measure() for _ in range(runs)), 3)


def seconds(command: list[str]) -> float:
    """How long a command takes, as a whole process."""
    started = time.monotonic()
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=600)
    return time.monotonic() - started


def overhead(submitted: float, seen: float, written: str) -> tuple[float, float]:
    """Submitting to the first instruction, and the last instruction to the end being seen, in seconds."""
    first, last = (float(line) for line in written.split()[:2])
    return first - submitted, seen - last


def batch_job(engine: EmbeddedEngine, cluster: Cluster) -> tuple[float, float]:
    """One job of app `batch`, through the engine."""
    stack = parse_stack_name("batch/vo.primage.eu.local--bench")
    job = {
        "name": "bench",
        "image": "primage/base:1",
        "command": ["sh", "-c", SCRIPT],
        "cpu": "100m",
        "memory": "32Mi",
    }
    result = engine.up(stack, Options(overrides={"job": job}))
    ref = Ref("batch/v1", "Job", "bench-bench", NAMESPACE)
    timing = result.timings[str(ref)]
    written = cluster.logs(NAMESPACE, pods_of(cluster, ref)[-1]["metadata"]["name"])
    engine.destroy(stack, Options())
    return overhead(timing["submitted"], timing["ready"], written)


def bare_job(cluster: Cluster, manifest: dict[str, object]) -> tuple[float, float]:
    """The same Job, sent and watched with nothing of ours between."""
    ref = Ref("batch/v1", "Job", "bare", NAMESPACE)
    submitted = time.time()
    cluster.apply(manifest, manager="bench")
    ended = False
    while not ended:
        for current in cluster.watch(ref, timeout_s=30):
            conditions = (current or {}).get("status", {}).get("conditions") or []
            if any(c["type"] == "Complete" and c["status"] == "True" for c in conditions):
                ended = True
                break
    seen = time.time()
    written = cluster.logs(NAMESPACE, pods_of(cluster, ref)[-1]["metadata"]["name"])
    cluster.delete(ref)
    wait_gone(cluster, ref, timeout_s=60, report=lambda _: None)
    return overhead(submitted, seen, written)


def job_figures() -> dict[str, float]:
    """Jobs through the engine and bare ones, in turn, so that a slow moment hits both."""
    engine = EmbeddedEngine()
    cluster = usual_site().cluster
    stack = parse_stack_name("batch/vo.primage.eu.local--bench")
    job = {"name": "bare", "image": "primage/base:1", "command": ["sh", "-c", SCRIPT], "cpu": "100m", "memory": "32Mi"}
    (manifest,) = engine.render(stack, Options(overrides={"job": job}))
    manifest["metadata"]["name"] = "bare"
    ours, bare = [], []
    for _ in range(RUNS + 1):
        ours.append(batch_job(engine, cluster))
        bare.append(bare_job(cluster, manifest))
    ours, bare = ours[1:], bare[1:]

    def middle(pairs: list[tuple[float, float]], index: int) -> float:
        return round(statistics.median(pair[index] for pair in pairs), 3)

    differences = [sum(one) - sum(other) for one, other in zip(ours, bare, strict=True)]
    return {
        "batch_container_s": middle(ours, 0),
        "batch_end_seen_s": middle(ours, 1),
        "batch_overhead_s": round(statistics.median(sum(pair) for pair in ours), 3),
        "bare_job_overhead_s": round(statistics.median(sum(pair) for pair in bare), 3),
        "batch_overhead_over_bare_job_s": round(statistics.median(differences), 3),
    }


def command_figures() -> dict[str, float]:
    """Whole commands on a standing site."""
    primage = str(Path(sys.executable).with_name("primage"))
    commands = {"help_s": ["--help"], "validate_s": ["validate"], "preview_s": ["preview", "local"], "up_noop_s": ["up", "local"]}
    return {name: median_of(lambda given=given: seconds([primage, *given])) for name, given in commands.items()}


def site_figures() -> dict[str, float]:
    """`make site` where the site stands and the study has been run."""
    primage = str(Path(sys.executable).with_name("primage"))
    return {"site_warm_s": round(seconds([primage, "site", "local", "up"]) + seconds([primage, "study"]), 1)}


PARTS: dict[str, Callable[[], dict[str, float]]] = {
    "commands": command_figures,
    "batch jobs": job_figures,
    "queues": queue_figures.figures,
    "HPC jobs": hpc_figures.figures,
    "images": image_figures.figures,
    "members": member_figures.figures,
    "connector": connector_figures.figures,
    "portal": portal_figures.figures,
    "the study": study_figures.figures,
    "the site": site_figures,
}


def main() -> None:
    """Measure every part, or those named as arguments; each part's figures are kept as soon as it ends."""
    chosen = sys.argv[1:] or list(PARTS)
    if unknown := set(chosen) - set(PARTS):
        sys.exit(f"Error: no part is called {', '.join(sorted(unknown))}. Next: name some of {', '.join(PARTS)}.")
    kept = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    figures = dict(kept.get("figures", {}))
    for number, name in enumerate(chosen, 1):
        print(f"Measuring {name} ({number} of {len(chosen)})", flush=True)
        found = PARTS[name]()
        figures.update(found)
        measured = datetime.now(UTC).isoformat(timespec="seconds")
        RESULTS.write_text(json.dumps({"measured": measured, "figures": figures}, indent=2) + "\n")
        for figure, value in found.items():
            print(f"  {figure:34} {value}", flush=True)


if __name__ == "__main__":
    main()
