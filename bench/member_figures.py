"""How soon somebody who logs in has a namespace, and what serving them costs: the authorizer on a control plane of its own.

All of it is the tests' helpers'.
"""

from __future__ import annotations

import re
import statistics
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT / "tests/helpers"))

from authorizer_process import AuthorizerProcess, authorizer  # noqa: E402
from control_plane import control_plane  # noqa: E402
from waiting import define_kinds  # noqa: E402

from primage.clients.cluster import Cluster, Ref  # noqa: E402
from primage.contract import custom_resources as custom  # noqa: E402
from primage.contract import names, offer  # noqa: E402
from primage.contract.offer import SiteOffer  # noqa: E402
from primage.contract.vo import MemberSpec, QuotaConfig, VirtualOrganisationSpec  # noqa: E402
from primage.contract.volumes import PosixVolume  # noqa: E402
from primage.contract.volumes.settings import VolumesConfig  # noqa: E402
from primage.local.toolchain.build import KUBERNETES_TOOLS  # noqa: E402

AT_ONCE, ONE_BY_ONE = 200, 40
CONCURRENT = (16, 50, 200)
"""Members whose objects are all there before the first of them has a namespace."""
LIMIT_S = 600
ROUND_S, ROUNDS, SITES_ROUND_S = 20, 3, 290
"""Seconds after which the authorizer lists everything again: while its calls are counted, how often, and on a site."""
_CALLS = re.compile(r'^apiserver_request_total\{(?![^}]*resource="pods")[^}]*\} ([0-9.e+]+)$', re.MULTILINE)
"""Of the API server's metrics; not those about pods, for which the test's own nodes ask all the time."""
VO = VirtualOrganisationSpec(name="vo.example.org", gid=20001, quota=QuotaConfig(cpu="4", memory="8Gi"))
SPACE = names.namespace_for(VO.name)


def figures() -> dict[str, float]:
    """From a Member's object to its namespace with its rights: one after the other beside many others, and many at once."""
    with tempfile.TemporaryDirectory(prefix="primage-bench-") as place:
        folder = Path(place)
        with control_plane(KUBERNETES_TOOLS.build(folder / "build.log", lambda *_: None), folder) as kubeconfig:
            cluster = Cluster(kubeconfig)
            _offer(cluster)
            with authorizer(kubeconfig, folder / "authorizer") as process:
                _ask(cluster, custom.organisation(VO))
                begun = time.monotonic()
                with ThreadPoolExecutor(16) as pool:
                    ends = list(pool.map(lambda number: _seconds(cluster, f"many{number}"), range(AT_ONCE)))
                together = time.monotonic() - begun
                alone = [_seconds(cluster, f"one{number}") for number in range(ONE_BY_ONE)]
                memory = _memory(process)
                crowds = {number: _concurrent(cluster, number) for number in CONCURRENT}
                return {
                    "authorizer_calls_per_minute": round(_calls_per_minute(cluster, process), 1),
                    "login_to_namespace_s": round(statistics.median(alone), 2),
                    "login_to_namespace_p95_s": round(_p95(alone), 2),
                    "login_to_namespace_16_at_once_p95_s": round(_p95(ends), 2),
                    **{
                        f"login_to_namespace_{number}_concurrent_s": round(statistics.median(crowds[number]), 2)
                        for number in CONCURRENT
                    },
                    **{f"login_to_namespace_{number}_concurrent_p95_s": round(_p95(crowds[number]), 2) for number in CONCURRENT},
                    "members_made_per_s": round(AT_ONCE / together, 1),
                    "authorizer_memory_mib": round(memory, 1),
                }


def _concurrent(cluster: Cluster, number: int) -> list[float]:
    """For each of so many, written as those who log in are, one after the other as fast as that goes, and seen by one watch."""
    identities = [f"crowd{number}-{one}@example.org" for one in range(number)]
    specs = [MemberSpec(identity=identity, uid=70_000 + 1000 * number + uid) for uid, identity in enumerate(identities)]
    objects = {names.namespace_for(spec.identity): custom.member(VO.name, spec) for spec in specs}
    begun: dict[str, float] = {}
    for name, obj in objects.items():
        begun[name] = time.monotonic()
        cluster.create({**obj, "metadata": {**obj["metadata"], "finalizers": [custom.FINALIZER]}}, manager="bench")
    taken: dict[str, float] = {}
    end = time.monotonic() + LIMIT_S
    while len(taken) < number and time.monotonic() < end:
        for members in cluster.watch_all(custom.API_VERSION, custom.MEMBER, SPACE, labels="", timeout_s=30):
            for member in members:
                name = member["metadata"]["name"]
                if name in objects and (member.get("status") or {}).get("applied") == custom.digest_of(objects[name]):
                    taken.setdefault(name, time.monotonic() - begun[name])
            if len(taken) == number:
                break
    if len(taken) < number:
        raise TimeoutError(f"{number - len(taken)} of {number} members are not ready after {LIMIT_S} s")
    return list(taken.values())


def _calls_per_minute(cluster: Cluster, process: AuthorizerProcess) -> float:
    """What the API server is asked while nothing happens: with the authorizer, less what it is asked without.

    Everything is asked once a round, so shorter rounds tell what a site's cost.
    """
    process.kill()
    without = _calls(cluster)
    process.environment["PRIMAGE_WATCH_S"] = str(ROUND_S)
    process.start()
    while _calls(cluster, rounds=1) > AT_ONCE:  # it settles everybody again first
        continue
    return (_calls(cluster) - without) / ROUNDS * 60 / SITES_ROUND_S


def _calls(cluster: Cluster, rounds: int = ROUNDS) -> float:
    before = _counted(cluster)
    time.sleep(rounds * ROUND_S)
    return _counted(cluster) - before


def _counted(cluster: Cluster) -> float:
    return sum(map(float, _CALLS.findall(cluster.raw("/metrics"))))


def _p95(seconds: list[float]) -> float:
    return statistics.quantiles(seconds, n=20)[-1]


def _seconds(cluster: Cluster, name: str) -> float:
    number = int(name.strip("abcdefghijklmnopqrstuvwxyz"))
    uid = (50_000 if name.startswith("many") else 60_000) + number
    begun = time.monotonic()
    _ask(cluster, custom.member(VO.name, MemberSpec(identity=f"{name}@example.org", uid=uid)))
    return time.monotonic() - begun


def _ask(cluster: Cluster, obj: dict[str, object]) -> None:
    """Write a custom resource, and wait until all of it is there."""
    ref, wanted, end = Ref.of(obj), custom.digest_of(obj), time.monotonic() + LIMIT_S
    cluster.apply(obj, manager="bench")
    while time.monotonic() < end:
        if ((cluster.get(ref) or {}).get("status") or {}).get("applied") == wanted:
            return
        time.sleep(0.05)
    raise TimeoutError(f"{ref} is not ready after {LIMIT_S} s")


def _offer(cluster: Cluster) -> None:
    """What a site has, without HPC centres: their connectors are measured by themselves."""
    volumes = VolumesConfig(datalake=PosixVolume(path="/d", capacity="1Gi"), home=PosixVolume(path="/h", capacity="1Gi"))
    made = SiteOffer.model_validate(
        {
            "labels": {names.LABEL_MADE_BY: names.MADE_BY_SITE},
            "protect": False,
            "mount_point": "/primage",
            "oneprovider": "",
            "network": {},
            "volumes": volumes.model_dump(),
            "hpc": {},
        }
    )
    cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": names.SYSTEM_NAMESPACE}}, manager="bench")
    define_kinds(cluster, "bench")
    place = {"name": offer.CONFIG_MAP, "namespace": names.SYSTEM_NAMESPACE}
    text = made.model_dump_json()
    cluster.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": place, "data": {offer.KEY: text}}, manager="bench")


def _memory(process: AuthorizerProcess) -> float:
    status = Path(f"/proc/{process.pid()}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024
