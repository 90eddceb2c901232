"""The consumers' Job, as the API server of the pod's own namespace shows it.

A handful of lines with the standard library: a client library would be carried into every consumer's container.
https://kubernetes.io/docs/tasks/run-application/access-api-from-pod/
"""

from __future__ import annotations

import json
import os
import ssl
from http.client import HTTPException, HTTPSConnection
from pathlib import Path
from typing import Any

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
ANSWER_S = 15.0
MANAGER = "primage-queue"
NOT_FOUND = 404


class ApiError(Exception):
    """The API server did not do what was asked, or does not answer."""


class Job:
    """One Job.

    Args:
        account: folder with token, ca.crt and namespace, as Kubernetes projects it.
    """

    def __init__(self, name: str, account: Path = ACCOUNT) -> None:
        self.name = name
        self._account = account
        self._server = (os.environ["KUBERNETES_SERVICE_HOST"], int(os.environ["KUBERNETES_SERVICE_PORT"]))
        self._path = f"/apis/batch/v1/namespaces/{(account / 'namespace').read_text().strip()}/jobs/{name}"

    def parallelism(self) -> int | None:
        """How many consumers there may be now; None where there is no such Job, or it has ended."""
        job = self._ask("GET")
        if job is None or job["metadata"].get("deletionTimestamp"):
            return None
        ended = any(c["type"] in {"Complete", "Failed"} and c["status"] == "True" for c in job["status"].get("conditions") or [])
        return None if ended else int(job["spec"]["parallelism"])

    def scale(self, parallelism: int) -> None:
        """Have another number of consumers."""
        self._ask("PATCH", {"spec": {"parallelism": parallelism}})

    def _ask(self, method: str, patch: dict[str, Any] | None = None) -> dict[str, Any] | None:
        # The token is read each time: the kubelet renews it.
        headers = {"Authorization": f"Bearer {(self._account / 'token').read_text().strip()}", "Accept": "application/json"}
        body = None
        if patch is not None:
            headers["Content-Type"] = "application/merge-patch+json"
            body = json.dumps(patch)
        trust = ssl.create_default_context(cafile=str(self._account / "ca.crt"))
        connection = HTTPSConnection(*self._server, timeout=ANSWER_S, context=trust)
        try:
            connection.request(method, f"{self._path}?fieldManager={MANAGER}", body, headers)
            answer = connection.getresponse()
            text = answer.read()
        except (OSError, HTTPException) as error:
            raise ApiError(f"the API server does not answer: {error}") from error
        finally:
            connection.close()
        if answer.status == NOT_FOUND:
            return None
        if answer.status >= 300:
            raise ApiError(f"the API server answered {answer.status} to {method} of job {self.name}: {text[:300]!r}")
        found: dict[str, Any] = json.loads(text)
        return found
