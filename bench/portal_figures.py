"""How fast the portal is for somebody with a thousand runs: real pages, and a real API server, by the tests' helpers."""

from __future__ import annotations

import gc
import json
import statistics
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path += [str(ROOT / "tests/helpers"), str(ROOT / "services/portal")]

from control_plane import ADMIN, control_plane  # noqa: E402
from starlette.testclient import TestClient  # noqa: E402

from portal.app import application, portal_with  # noqa: E402
from portal.domain.person import Person, person_of  # noqa: E402
from portal.domain.sessions import Tokens  # noqa: E402
from portal.pages.shared import SESSION  # noqa: E402
from portal.settings import Given  # noqa: E402
from primage.clients.cluster import Cluster, Object  # noqa: E402
from primage.contract.names import LABEL_MANAGED_BY, LABEL_STACK, stack_label  # noqa: E402
from primage.contract.portal import PortalSettings  # noqa: E402
from primage.local.toolchain.build import KUBERNETES_TOOLS  # noqa: E402

RUNS, LOOKS = 1000, 60
URL, VO, ADA = "https://portal.example.org", "vo.primage.eu", "ada@example.org"


def figures() -> dict[str, float]:
    """The 95th percentile of each page, in milliseconds, one after the other and four at once."""
    with tempfile.TemporaryDirectory(prefix="primage-bench-") as place:
        folder = Path(place)
        with control_plane(KUBERNETES_TOOLS.build(folder / "build.log", lambda *_: None), folder) as kubeconfig:
            browser = _browser(folder, kubeconfig)
            space = browser.person.namespace
            cluster = Cluster(kubeconfig)
            cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": space}}, manager="bench")
            with ThreadPoolExecutor(8) as pool:
                list(pool.map(lambda number: cluster.apply(_job(space, number), manager="bench"), range(RUNS)))
            label = stack_label(_stack(space, 7))
            with ThreadPoolExecutor(4) as pool:
                crowd = list(pool.map(lambda _: browser.look("/runs"), range(LOOKS)))
            return {
                "portal_runs_p95_ms": _p95([browser.look("/runs") for _ in range(LOOKS)]),
                "portal_runs_last_page_p95_ms": _p95([browser.look("/runs?page=20") for _ in range(LOOKS)]),
                "portal_runs_4_at_once_p95_ms": _p95(crowd),
                "portal_run_p95_ms": _p95([browser.look(f"/runs/{label}") for _ in range(LOOKS)]),
                "portal_form_p95_ms": _p95([browser.look(f"/apps/{VO}/htc") for _ in range(LOOKS)]),
                "portal_you_p95_ms": _p95([browser.look("/") for _ in range(LOOKS)]),
            }


class _Browser:
    """Somebody who has logged in."""

    def __init__(self, client: TestClient, person: Person) -> None:
        self.client = client
        self.person = person

    def look(self, path: str) -> float:
        """Milliseconds until a page is there."""
        begun = time.monotonic()
        answer = self.client.get(path)
        took = (time.monotonic() - begun) * 1000
        assert answer.status_code == 200, answer.text
        return took


def _browser(folder: Path, kubeconfig: str) -> _Browser:
    settings = PortalSettings(site="local", description="", url=URL, issuer="https://login.example.org/realms/x", vos=(VO,))
    server = json.loads(Path(kubeconfig).read_text())["clusters"][0]["cluster"]["server"]
    (folder / "api").mkdir()
    (folder / "api/ca.crt").write_text((folder / "ca.crt").read_text())
    portal = portal_with(Given(folder, settings.model_copy(update={"api": server})))
    person = person_of({"preferred_username": ADA, "sub": "1", "groups": [f"/{VO}/researcher"]}, [VO])
    number, _ = portal.sessions.begin(person, Tokens(ADMIN, "unused", time.time() + 86400))
    client = TestClient(application(portal), base_url=URL)
    client.cookies.set(SESSION, number)
    client.get("/runs")
    gc.freeze()  # as the portal does
    return _Browser(client, person)


def _stack(namespace: str, number: int) -> str:
    return f"batch/{namespace}_{VO}.local--run-{number}"


def _job(namespace: str, number: int) -> Object:
    """As app `batch` makes them, and not begun: no pods are in the way."""
    variables = [{"name": f"N{n}", "value": "x" * 40} for n in range(8)]
    container = {"name": "job", "image": "example.org/image", "command": ["true"], "env": variables}
    labels = {LABEL_MANAGED_BY: "primage", LABEL_STACK: stack_label(_stack(namespace, number))}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": f"hello-run-{number}", "namespace": namespace, "labels": labels},
        "spec": {"suspend": True, "template": {"spec": {"restartPolicy": "Never", "containers": [container]}}},
    }


def _p95(milliseconds: list[float]) -> float:
    return round(statistics.quantiles(milliseconds, n=20)[-1], 1)


if __name__ == "__main__":
    print(json.dumps(figures(), indent=1))
