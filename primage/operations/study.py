"""The validation study of the paper (section 5.2) on a site: run it, bring its results here, and compare with Table 3."""

from __future__ import annotations

import base64
import gzip
import io
import json
import os
import shutil
import sys
import tarfile
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from primage.clients.cluster import Cluster, Ref
from primage.contract import names
from primage.contract.hpc import backend_object
from primage.engine.api import Engine, Event, Options, Result
from primage.errors import PrimageError
from primage.kubernetes.waiting import pods_of
from primage.operations.logs import jobs_of
from primage.operations.site import site_handle
from primage.operations.study_page import write_json, write_page
from primage.operations.study_table import PAPER_TABLE_3, Process, Seen, Study, processes_of, table_of
from primage.paths import local_site_dir, log_dir, repository_root
from primage.process import run_logged
from primage.projects.project import StackName

MOMENTS = "moments.json"
"""What was seen of the stages when they ran, among the results: an interrupted study goes on with it."""
STAGES = ("train", "batch", "htc", "report")
RESULTS = (
    "report.json",
    "classification-report.txt",
    "confusion-matrix.png",
    "training-curve.png",
    "history.json",
    "results.ipynb",
    "results.html",
    "timings-prepare.json",
    "timings-predict.json",
    "model.keras",
    "model.onnx",
)
MOST_LINES = 200_000
MOST_BYTES = 500 * 1024 * 1024
"""Of all results together, unpacked."""
LOCAL_TIMEOUT_S = 1800
MOST_CONSUMERS = 4
"""The paper's; on the local site no more than this machine has cores, since each keeps one busy."""


@dataclass
class StudyRun:
    """One run of the study, stage by stage; each is a stack, so that an interrupted run goes on where it was."""

    vo: str
    site: str
    out: Path
    engine: Engine
    """Brings its stages up."""
    options: Options
    settings: dict[str, Any]
    libraries: Callable[[Path], Path]
    """Given a log file, the folder for PYTHONPATH that has what the study's package needs, for the process without a cluster."""
    train_on: str | None = None
    """HPC backend for training, empty for a batch job; None for the VO's first one that it has credentials for."""

    def __post_init__(self) -> None:
        self._seen = _read_seen(self.out / MOMENTS)
        if "consumers" not in self.settings:
            self.settings = {**self.settings, "consumers": _consumers(self.site)}

    def run(self, *, again: bool) -> Study:
        """Every stage that is not done yet, then the results."""
        if again:
            for stage in reversed(STAGES):
                self.engine.destroy(self._stack(stage), self.options)
            self._seen = {}
        self.out.mkdir(parents=True, exist_ok=True)
        trained = self._up("train", hpc=self.train_on if self.train_on is not None else self._own_backend())
        self._note_job("batch", self._up("batch"))
        self._note_job("HTC", self._up("htc"))
        folder = str(trained.outputs["out"])
        self._local(folder)
        self._up("report")
        files = _fetch(self.engine, self._stack("report"), folder, self.out, self.options)
        report = json.loads((self.out / "report.json").read_text())
        processes = processes_of(report)
        table, consumers = table_of(self._seen, processes), self.settings["consumers"]
        write_json(self.out / "table3.json", {"paper": PAPER_TABLE_3, "ours": table, "consumers": consumers})
        shares = [process.partitions for process in processes["HTC"]]
        study = Study(report, table, consumers, shares, [*files, self.out / "table3.json"])
        return replace(study, files=[*study.files, write_page(study, self.out / "study.html")])

    def _stack(self, stage: str) -> StackName:
        return StackName(site=self.site, app="study-histology", vo=self.vo, run=stage)

    def _own_backend(self) -> str:
        site = site_handle(self.site)
        namespace = site.place(self.vo).namespace
        for backend in site.outputs.vos[self.vo].backends:
            if site.cluster.get(Ref("v1", "Secret", backend_object(backend), namespace)):
                return backend
        return ""

    def _up(self, stage: str, **more: str) -> Result:
        overrides = {f"study.{key}": value for key, value in {**self.settings, **more, "stage": stage}.items()}
        options = Options(overrides=overrides, listener=self.options.listener, timeout_s=self.options.timeout_s)
        return self.engine.up(self._stack(stage), options)

    def _note_job(self, column: str, result: Result) -> None:
        """Note when this run of the stage began and ended; a stage that ran earlier keeps what was noted then."""
        outputs = result.outputs
        job = Ref("batch/v1", "Job", str(outputs["job"]), str(outputs["namespace"]))
        timing = result.timings.get(str(job))
        if not timing:
            return
        queue = result.timings.get(f"StatefulSet {job.namespace}/{names.queue_server(str(outputs.get('queue')))}")
        waited = queue["ready"] - queue["submitted"] if queue else None
        submitted = _submitted(site_handle(self.site).cluster, job, timing["submitted"])
        self._note(column, Seen(submitted=submitted, ended=timing["ready"], queue=waited))

    def _note(self, column: str, seen: Seen) -> None:
        self._seen[column] = seen
        write_json(self.out / MOMENTS, {name: each.model_dump() for name, each in self._seen.items()})

    def _local(self, folder: str) -> None:
        """The same test by the same code as a plain process of this machine, where this machine has the site's HOME."""
        home = local_site_dir() / "shared" / "home" / self.vo / "private" / self.vo / folder
        if self.site != "local" or not home.is_dir() or "local" in self._seen:
            return
        log = log_dir() / "study-local.log"
        with outside(home, self.libraries(log)) as (copy, environment):
            self.options.listener(Event("Process on this machine", "creating"))
            run = partial(run_logged, env=environment, log=log, timeout_s=LOCAL_TIMEOUT_S)
            # The images have their libraries compiled too.
            run([sys.executable, "-c", "import study_histology.predict, onnxruntime"])
            started = time.time()
            run([sys.executable, "-m", "study_histology", "--out", str(copy), "predict", "--results", "predictions-local"])
            ended = time.time()
            made = copy / "predictions-local"
            _require_same(made, home / "predictions-htc")
            processes = tuple(Process.model_validate_json(path.read_text()) for path in made.glob("process-*.json"))
        self.options.listener(Event("Process on this machine", "ready"))
        self._note("local", Seen(submitted=started, ended=ended, processes=processes))


@contextmanager
def outside(home: Path, libraries: Path) -> Iterator[tuple[Path, dict[str, str]]]:
    """A copy of what testing takes, and what a plain process that tests there has in its environment: no cluster is needed.

    Args:
        home: the study's folder in the VO's HOME.
        libraries: the folder with what its package needs.
    """
    package = repository_root() / "apps" / "study-histology" / "package"
    with tempfile.TemporaryDirectory(prefix="primage-study-") as copy:
        for part in ("data", "partitions", "model.onnx"):
            source = home / part
            (shutil.copytree if source.is_dir() else shutil.copy2)(source, Path(copy) / part)
        yield Path(copy), {"PYTHONPATH": f"{libraries}:{package}", "PYTHONDONTWRITEBYTECODE": ""}


def _consumers(site: str) -> int:
    return min(MOST_CONSUMERS, os.cpu_count() or 1) if site == "local" else MOST_CONSUMERS


def _require_same(ours: Path, theirs: Path) -> None:
    for path in sorted(ours.glob("*.npy")):
        if path.read_bytes() != (theirs / path.name).read_bytes():
            raise PrimageError(
                f"the predictions in {path.name} differ between this machine and the cluster",
                where=str(theirs),
                todo="run `primage study --again`; if it stays so, the two run different code",
            )


def _submitted(cluster: Cluster, job: Ref, sent: float) -> float:
    """When a job was submitted: by an earlier run, where this one only went on waiting for it."""
    live = cluster.get(job)
    created = datetime.fromisoformat(live["metadata"]["creationTimestamp"]).timestamp() if live else sent
    return created if created < sent - 1 else sent


def _read_seen(path: Path) -> dict[str, Seen]:
    try:
        return TypeAdapter(dict[str, Seen]).validate_json(path.read_bytes())
    except (OSError, ValueError):
        return {}


def _fetch(engine: Engine, study: StackName, folder: str, out: Path, options: Options) -> list[Path]:
    """Bring the results here through a small job's log: that needs no right but those the study itself needs."""
    stack = StackName(site=study.site, app="batch", vo=study.vo, run="fetch")
    script = 'cd "$HOME/$FOLDER" && tar -czf - "$@" | base64 -w 120 && echo END'
    job = {
        "name": "results",
        "image": "primage/base:1",
        "command": ["/bin/sh", "-c", script, "fetch"],
        "args": list(RESULTS),
        "env": {"FOLDER": folder},
        "cpu": "100m",
        "memory": "64Mi",
        "backoff_limit": 0,
        "deadline_seconds": 120,
    }
    fetching = Options(overrides={"job": job}, listener=options.listener, timeout_s=150)
    engine.destroy(stack, fetching)
    try:
        engine.up(stack, fetching)
        ((cluster, ref),) = jobs_of(stack)
        lines = cluster.logs(ref.namespace, pods_of(cluster, ref)[-1]["metadata"]["name"], tail=MOST_LINES).split()
    finally:
        engine.destroy(stack, fetching)
    if not lines or lines[-1] != "END":
        raise PrimageError("the results did not arrive whole", todo="run `primage study` again: the study itself is done")
    _unpack("".join(lines[:-1]), out)
    return [out / name for name in RESULTS]


def _unpack(text: str, out: Path) -> None:
    """The results and nothing else: whoever may write logs in the namespace may have written this."""
    out.mkdir(parents=True, exist_ok=True)
    left, missing = MOST_BYTES, set(RESULTS)
    try:
        with tarfile.open(fileobj=io.BytesIO(base64.b64decode(text, validate=True)), mode="r:gz") as archive:
            for member in archive:
                left -= member.size
                if member.name not in missing or not member.isreg() or left < 0:
                    raise PrimageError(f"{member.name[:100]!r} is none of the study's results, or too large", where=str(out))
                missing.remove(member.name)
                archive.extract(member, out, filter="data")
    except (ValueError, EOFError, zlib.error, tarfile.TarError, gzip.BadGzipFile) as error:
        raise PrimageError(f"what came is not an archive of results: {error}", todo="run `primage study` again") from error
    if missing:
        raise PrimageError(f"of the study's results are missing: {', '.join(sorted(missing))}", todo="run `primage study` again")
