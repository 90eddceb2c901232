"""Functional checks of a standing site: what a user would find broken, tried the way a user would.

Each check is independent; all of them run, and each says what it saw.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import partial
from http import HTTPStatus
from itertools import chain
from threading import Event
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from primage.clients.cluster import Cluster, Ref, Refused
from primage.clients.tls import certificate_end
from primage.clients.web import answer_of
from primage.components.queues.htc_settings import QUEUE_IMAGE
from primage.contract import names
from primage.contract.login import LOGGED_IN
from primage.contract.outputs import SiteOutputs
from primage.engine.api import Engine, Options, Result
from primage.errors import PrimageError
from primage.operations.data_checks import data_looks
from primage.operations.login import issuer_of, portal_authority
from primage.operations.queues import StackQueue
from primage.operations.site import site_handle
from primage.projects.project import StackName

CERTIFICATE_DAYS = 30
JOB_S = 150.0
"""How long one object of a job that is tried may take to get ready, or to go."""
BASE_IMAGE = "primage/base:1"
BATCH_SCRIPT = """\
set -eu
test -r "$MOUNT_POINT/DATALAKE"
if touch "$MOUNT_POINT/DATALAKE/.check" 2>/dev/null; then echo "DATALAKE can be written"; exit 1; fi
date -u +%FT%TZ > "$HOME/.primage-check"
rm "$HOME/.primage-check"
touch "$MOUNT_POINT/HOME/shared/.primage-check" && rm "$MOUNT_POINT/HOME/shared/.primage-check"
test "$(id -u)" != 0
"""
HPC_SCRIPT = """\
set -eu
test -n "$SLURM_JOB_ID"
test "$(id -u)" != 0
ls "$MOUNT_POINT/DATALAKE/" > /dev/null
"""


@dataclass(frozen=True)
class Check:
    """One check's end: whether it holds, and what was seen."""

    name: str
    ok: bool
    detail: str
    seconds: float

    def as_dict(self) -> dict[str, Any]:
        """For `--json`."""
        return asdict(self)


def run_checks(site: str, engine: Engine, on_check: Callable[[Check], None]) -> list[Check]:
    """All checks of a site, in the order a person would look; `on_check` is told of each as it ends.

    Args:
        engine: brings up the small jobs that are tried, as many side by side as it can.
    """
    handle = site_handle(site)
    done = []
    runs = _Runs(engine)
    looks, jobs = _looks(handle.outputs, handle.cluster), _jobs(handle.outputs, runs)
    for check in chain(map(_try, looks), side_by_side(jobs, engine.at_a_time, runs.given_up)):
        done.append(check)
        on_check(check)
    return done


Outcome = tuple[bool, str]
Trial = tuple[str, Callable[[], Outcome]]
"""A check's name, and what tries it."""


def _try(trial: Trial) -> Check:
    name, check = trial
    started = time.monotonic()
    try:
        ok, detail = check()
    except (PrimageError, Refused) as error:
        ok, detail = False, str(error)
    return Check(name, ok, detail, round(time.monotonic() - started, 2))


def side_by_side(trials: Iterable[Trial], at_a_time: int, given_up: Event) -> Iterator[Check]:
    """Each trial's check, in their order.

    Args:
        given_up: set when this is interrupted. No further trial is begun then, and those that run end and clear up.
    """
    if at_a_time == 1:
        yield from map(_try, trials)
        return
    with ThreadPoolExecutor(at_a_time) as pool:
        try:
            yield from pool.map(_try, trials)
        except BaseException:
            given_up.set()
            raise


def _looks(outputs: SiteOutputs, cluster: Cluster) -> Iterator[Trial]:
    yield "api", partial(_api, cluster)
    yield "certificate", partial(_certificate, cluster)
    yield "nodes", partial(_nodes, cluster)
    yield "dns", partial(_deployment, cluster, Ref("apps/v1", "Deployment", "coredns", "kube-system"))
    if outputs.login:
        yield "login", partial(_login, outputs.site)
    if outputs.portal:
        yield "portal", partial(_portal, outputs.site, outputs.portal, outputs.login)
    yield from data_looks(outputs.site, cluster)
    for vo, served in outputs.vos.items():
        yield f"namespace {vo}", partial(_namespace, cluster, served.namespace)
        yield f"volumes {vo}", partial(_volumes, cluster, served.namespace)
        yield f"privileged pods refused {vo}", partial(_privileged, cluster, served.namespace)
    for served in outputs.vos.values():
        for member, place in served.users.items():
            yield f"namespace {member}", partial(_namespace, cluster, place.namespace)
            yield f"volumes {member}", partial(_volumes, cluster, place.namespace)


@dataclass(frozen=True)
class _Runs:
    """Runs of apps, as long as nobody gives the checks up."""

    engine: Engine
    given_up: Event = field(default_factory=Event)

    @contextmanager
    def run(self, name: StackName, key: str, settings: dict[str, Any]) -> Iterator[Result]:
        """One, up from nothing; gone again afterwards, also when it was given up."""
        options = Options(overrides={key: settings}, timeout_s=JOB_S, given_up=self.given_up)
        self.engine.destroy(name, options)
        try:
            yield self.engine.up(name, options)
        finally:
            self.engine.destroy(name, Options(timeout_s=JOB_S))


def _jobs(outputs: SiteOutputs, runs: _Runs) -> Iterator[Trial]:
    first = next(iter(outputs.vos))
    yield f"batch job {first}", partial(_batch, runs, first, outputs.site)
    yield f"queue {first}", partial(_queue, runs, first, outputs.site)
    for vo, served in outputs.vos.items():
        for number, backend in enumerate(served.backends, 1):
            run = StackName(site=outputs.site, app="hpc", vo=vo, run=f"check-{number}")
            yield f"HPC job {backend} {vo}", partial(_hpc, runs, run, backend)


def _api(cluster: Cluster) -> Outcome:
    return cluster.raw("/readyz") == "ok", cluster.server


def _certificate(cluster: Cluster) -> Outcome:
    days = (certificate_end(cluster.server) - datetime.now(UTC)).days
    return days > CERTIFICATE_DAYS, f"the API server's certificate ends in {days} days"


def _login(site: str) -> Outcome:
    url = issuer_of(site).url
    days = (certificate_end(url) - datetime.now(UTC)).days
    return days > CERTIFICATE_DAYS, f"{url} answers; its certificate ends in {days} days"


def _portal(site: str, url: str, issuer: str) -> Outcome:
    """It answers, and who wants to log in is sent to the site's identity provider, for this portal."""
    authority = portal_authority(site)
    status, _ = answer_of(f"{url}/health", authority=authority)
    if status != HTTPStatus.OK:
        return False, f"{url} answers with HTTP {status}"
    status, leads = answer_of(f"{url}/login", authority=authority)
    back = dict(parse_qsl(urlsplit(leads).query)).get("redirect_uri", "")
    if not leads.startswith(f"{issuer}/") or back != f"{url}{LOGGED_IN}":
        return False, f"{url} answers, and to log in leads to {leads or 'nowhere'} (HTTP {status}), not to {issuer}"
    days = (certificate_end(url) - datetime.now(UTC)).days
    return days > CERTIFICATE_DAYS, f"{url} answers, and leads to {issuer} to log in; its certificate ends in {days} days"


def _nodes(cluster: Cluster) -> Outcome:
    ready = {
        node["metadata"]["name"]: any(c["type"] == "Ready" and c["status"] == "True" for c in node["status"].get("conditions", []))
        for node in cluster.list("v1", "Node")
    }
    down = [name for name, up in ready.items() if not up]
    return bool(ready) and not down, f"{', '.join(down)} not ready" if down else f"{len(ready)} ready: {', '.join(sorted(ready))}"


def _deployment(cluster: Cluster, ref: Ref) -> Outcome:
    found = cluster.get(ref)
    available = int((found or {}).get("status", {}).get("availableReplicas", 0))
    return available > 0, f"{available} available" if found else f"{ref} is not there"


def _namespace(cluster: Cluster, namespace: str) -> Outcome:
    found = cluster.get(Ref("v1", "Namespace", namespace))
    if found is None:
        return False, f"{namespace} is not there"
    level = found["metadata"]["labels"].get("pod-security.kubernetes.io/enforce", "none")
    quotas = cluster.list("v1", "ResourceQuota", namespace)
    denied = cluster.get(Ref("networking.k8s.io/v1", "NetworkPolicy", "default-deny", namespace)) is not None
    ok = level == "restricted" and bool(quotas) and denied
    return ok, f"Pod Security {level}, {len(quotas)} quota, default deny {'on' if denied else 'missing'}"


def _volumes(cluster: Cluster, namespace: str) -> Outcome:
    wanted = (names.CLAIM_DATALAKE, names.CLAIM_HOME_PRIVATE, names.CLAIM_HOME_SHARED)
    phases = {
        name: (cluster.get(Ref("v1", "PersistentVolumeClaim", name, namespace)) or {}).get("status", {}).get("phase", "missing")
        for name in wanted
    }
    said = ", ".join(f"{name} {phase}" for name, phase in phases.items())
    return all(phase == "Bound" for phase in phases.values()), f"{said}; sizes are the file system's to enforce"


def _privileged(cluster: Cluster, namespace: str) -> Outcome:
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "primage-check-privileged", "namespace": namespace},
        "spec": {"containers": [{"name": "c", "image": BASE_IMAGE, "securityContext": {"privileged": True}}]},
    }
    try:
        cluster.apply(pod, manager="primage-check", dry_run=True)
    except Refused as refusal:
        return refusal.status == 403 and "PodSecurity" in refusal.message, refusal.message[:120]
    return False, "a privileged pod would be let in"


def _batch(runs: _Runs, vo: str, site: str) -> Outcome:
    job = {
        "name": "check",
        "image": BASE_IMAGE,
        "command": ["/bin/sh", "-c"],
        "args": [BATCH_SCRIPT],
        "cpu": "50m",
        "memory": "32Mi",
        "backoff_limit": 0,
        "deadline_seconds": 120,
    }
    with runs.run(StackName(site=site, app="batch", vo=vo, run="check"), "job", job) as result:
        return True, f"wrote to HOME, could not write to DATALAKE ({result.seconds:.1f} s)"


def _queue(runs: _Runs, vo: str, site: str) -> Outcome:
    """A producer, a queue and a consumer, as app `htc` has them."""
    stack = StackName(site=site, app="htc", vo=vo, run="check")
    application = {
        "name": "check",
        "parallelism": 1,
        "producer": {"arguments": ["one", "two", "three"]},
        "consumer": {"image": QUEUE_IMAGE, "bring_queue": False, "command": ["test", "-n"], "cpu": "250m", "memory": "64Mi"},
        "deadline_seconds": 120,
    }
    with runs.run(stack, "htc", application) as result:
        standing = StackQueue(stack).standing()
        return standing["done"] == 3 and standing["finished"], f"{standing['done']} of 3 arguments done ({result.seconds:.1f} s)"


def _hpc(runs: _Runs, run: StackName, backend: str) -> Outcome:
    """A job on the HPC machine whose result comes back to HOME; by nobody in particular, not by root."""
    job = {
        "name": "check",
        "host": backend,
        "script": HPC_SCRIPT,
        "memory": "32Mi",
        "backoff_limit": 0,
        "deadline_seconds": 120,
        "monitoring_period": 2,
    }
    with runs.run(run, "job", job) as result:
        return True, f"ran on {backend} and saw DATALAKE ({result.seconds:.1f} s)"
