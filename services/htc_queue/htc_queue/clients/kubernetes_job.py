"""The consumers' Job, as the API server of the pod's own namespace shows it.

A handful of lines with the standard library: a client library would be carried into every consumer's container.
https://kubernetes.io/docs/tasks/run-application/access-api-from-pod/
"""

from __future__ import annotations

import json
import os
import re
import ssl
from http.client import HTTPException, HTTPSConnection
from pathlib import Path
from typing import Any

from htc_queue.domain import MOST_CONSUMERS, QueueError

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
ANSWER_S = 15.0
MANAGER = "primage-queue"
NOT_FOUND = 404
MOST_BYTES = 4 * 1024 * 1024
"""Of an answer; the API server keeps no object of more than 1.5 MiB."""
NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")


class ApiError(Exception):
    """The API server did not do what was asked, or does not answer."""


class Job:
    """One Job, in the pod's own namespace.

    Args:
        account: folder with token, ca.crt and namespace, as Kubernetes projects it.

    Raises:
        QueueError: this is not the name of a Job, or not a pod of a cluster.
    """

    def __init__(self, name: str, account: Path = ACCOUNT) -> None:
        self.name = name
        self._account = account
        try:
            self._server = (os.environ["KUBERNETES_SERVICE_HOST"], int(os.environ["KUBERNETES_SERVICE_PORT"]))
            namespace = (account / "namespace").read_text().strip()
        except (KeyError, ValueError, OSError) as error:
            raise QueueError(f"`scale` runs in a pod that has a token of its cluster's API ({error!r})") from error
        for part in (name, namespace):
            if not NAME.fullmatch(part):
                raise QueueError(f"{part[:80]!r} is not the name of a Job or a namespace")
        self._path = f"/apis/batch/v1/namespaces/{namespace}/jobs/{name}"

    def parallelism(self) -> int | None:
        """How many consumers there may be now; None where there is no such Job, or it has ended."""
        job = self._ask("GET")
        if job is None:
            return None
        try:
            conditions = job["status"].get("conditions") or []
            ended = any(c["type"] in {"Complete", "Failed"} and c["status"] == "True" for c in conditions)
            return None if ended or job["metadata"].get("deletionTimestamp") else int(job["spec"]["parallelism"])
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ApiError(f"the API server's answer is not job {self.name}: {error!r}") from error

    def scale(self, parallelism: int) -> None:
        """Have another number of consumers."""
        if not 0 <= parallelism <= MOST_CONSUMERS:
            raise ApiError(f"{parallelism} consumers are not from 0 to {MOST_CONSUMERS}")
        self._ask("PATCH", {"spec": {"parallelism": parallelism}})

    def _ask(self, method: str, patch: dict[str, Any] | None = None) -> dict[str, Any] | None:
        body = None if patch is None else json.dumps(patch)
        kind = {} if patch is None else {"Content-Type": "application/merge-patch+json"}
        connection = None
        try:
            # The token is read each time: the kubelet renews it.
            token = (self._account / "token").read_text().strip()
            trust = ssl.create_default_context(cafile=str(self._account / "ca.crt"))
            connection = HTTPSConnection(*self._server, timeout=ANSWER_S, context=trust)
            headers = {"Authorization": f"Bearer {token}", "Accept": "application/json", **kind}
            connection.request(method, f"{self._path}?fieldManager={MANAGER}", body, headers)
            answer = connection.getresponse()
            text = answer.read(MOST_BYTES + 1)
        except (OSError, HTTPException, ValueError) as error:
            raise ApiError(f"the API server does not answer: {error}") from error
        finally:
            if connection:
                connection.close()
        if answer.status == NOT_FOUND:
            return None
        if answer.status >= 300:
            raise ApiError(f"the API server answered {answer.status} to {method} of job {self.name}: {text[:300]!r}")
        return self._read(text)

    def _read(self, text: bytes) -> dict[str, Any]:
        try:
            found = json.loads(text) if len(text) <= MOST_BYTES else None
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            raise ApiError(f"the API server's answer about job {self.name} is not an object of at most {MOST_BYTES} bytes")
        return found
