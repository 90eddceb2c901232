"""What runs in somebody's own namespace, what each run has written, and stopping it."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, Path, Query
from fastapi.responses import Response

from portal.clients.jobs import made_in, of_stacks
from portal.domain.errors import RefusedError
from portal.domain.launch import Work
from portal.domain.runs import Progress, Run, labels_in_order, page_of, runs_of, stack_named, when
from portal.pages import told
from portal.pages.shared import OwnForm, Visit, Visiting, to
from primage.clients.cluster import Cluster, Ref, Refused
from primage.kubernetes.waiting import pods_of, why

router = APIRouter()
Label = Annotated[str, Path(pattern=r"^[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$")]
JOB = ("batch/v1", "Job")
LINES, MOST_TEXT = 200, 64 * 1024
"""Of what a job's newest pod has written, at most so many lines and characters."""
MOST_JOBS = 6
"""Of a run, those whose logs are shown."""
ENDED = frozenset({"done", "failed"})


@router.get("/runs")
def every_one(who: Visiting, page: Annotated[int, Query(ge=1, le=1000)] = 1) -> Response:
    """The newest first, page by page."""
    person = who.session.person
    cluster = who.cluster
    made, version = made_in(cluster, person.namespace)
    labels, number, pages = page_of(labels_in_order(made), page)
    shown = runs_of(of_stacks(cluster, person.namespace, labels, version)) if labels else []
    rows = [(run, _name(who, run)) for run in shown]
    there = {run.label for run, _ in rows}
    coming = [launch for launch in who.portal.launches.all_of(person.account) if launch.ended is None and launch.label not in there]
    lively = bool(coming) or any(run.state not in ENDED for run in shown)
    return who.page("runs", rows=rows, coming=coming, number=number, pages=pages, when=when, lively=lively)


@router.get("/runs/{label}")
def one(who: Visiting, label: Label) -> Response:
    """Its jobs, why those wait that do, and the last that each has written."""
    person = who.session.person
    launch = who.portal.launches.of(person.account, label)
    run = _run(who, label)
    if run is None and launch is None:
        raise RefusedError(404, "There is no such run, or it has been removed")
    name = (launch.work.stack if launch else "") or (_name(who, run) if run else "")
    jobs = _explained(who.cluster, person.namespace, run)
    said = [(job, "" if job.hpc else _log(who.cluster, person.namespace, job.job)) for job in jobs]
    queue, output = told.queue(who, run, name), told.output(who, run)
    coming = any(asked is not None and asked.coming for asked in (queue, output))
    lively = coming or (launch is not None and launch.ended is None) or (run is not None and run.state not in ENDED)
    shown = {"run": run, "launch": launch, "jobs": said, "opens": _opens(who, run), "lively": lively, "parts": _parts(name)}
    return who.page("run", label=label, name=name, when=when, queue=queue, output=output, **shown)


@router.post("/runs/{label}/output")
def read_output(who: Visiting, label: Label, _: OwnForm) -> Response:
    """Have what its HPC jobs have written read from HOME: a small pod of theirs does that, for a moment."""
    run = _run(who, label)
    if run is None:
        raise RefusedError(404, "There is no such run, or it has been removed")
    told.ask_for_output(who, run, MOST_JOBS)
    return to(f"/runs/{label}")


@router.post("/runs/{label}/stop")
def stop(who: Visiting, label: Label, _: OwnForm) -> Response:
    """Take the whole stack away: jobs that run are ended, and what they have printed goes; files in HOME stay."""
    person = who.session.person
    run = _run(who, label)
    launch = who.portal.launches.of(person.account, label)
    name = (_name(who, run) if run else "") or (launch.work.stack if launch else "")
    if not name:
        raise RefusedError(404, "There is no such run of yours, or it has been removed")
    kubeconfig = who.portal.api.kubeconfig(who.session.tokens.id_token)
    who.portal.launches.begin(person.account, Work(stack=name), kubeconfig)
    return to("/runs")


def _run(who: Visit, label: str) -> Run | None:
    return next(iter(runs_of(of_stacks(who.cluster, who.session.person.namespace, [label]))), None)


def _name(who: Visit, run: Run) -> str:
    person = who.session.person
    vos = [one.vo for one in person.memberships]
    return stack_named(run.label, [job.job for job in run.jobs], person.namespace, vos, who.portal.settings.site)


def _opens(who: Visit, run: Run | None) -> list[str]:
    """Where the run's sessions open."""
    gateway = who.portal.settings.gateway
    if gateway is None or run is None:
        return []
    origin = gateway.origin(who.session.person.namespace)
    return [f"{origin}{job.page}" for job in run.jobs if job.page and job.state == "running"]


def _parts(name: str) -> tuple[str, str]:
    """VO and app of a run that can be started again."""
    app, _, rest = name.partition("/")
    return rest.partition("_")[2].partition("--")[0].rpartition(".")[0], app


def _explained(cluster: Cluster, namespace: str, run: Run | None) -> list[Progress]:
    """A run's jobs, with the reason for the wait of those that wait."""
    found = []
    for job in (run.jobs if run else ())[-MOST_JOBS:]:
        if job.state == "waiting":
            try:
                told = why(cluster, Ref(*JOB, job.job, namespace))
            except Refused:
                told = None  # who looks may not see the nodes
            job = replace(job, detail=told.detail if told else job.detail)
        found.append(job)
    return found


def _log(cluster: Cluster, namespace: str, job: str) -> str:
    pods = pods_of(cluster, Ref(*JOB, job, namespace))
    return cluster.logs(namespace, pods[-1]["metadata"]["name"], tail=LINES)[-MOST_TEXT:] if pods else ""
