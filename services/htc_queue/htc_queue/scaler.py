"""Keeps the number of consumers in line with the queue's length."""

from __future__ import annotations

import threading
import time

from htc_queue.clients import Queue, RedisError, say
from htc_queue.clients.kubernetes_job import ApiError, Job
from htc_queue.domain import QueueError, Scaling

LOOK_S = 2.0


def scale(queue: Queue, job: Job, scaling: Scaling, stopping: threading.Event) -> None:
    """Look at the queue and the Job every two seconds until told to stop; what cannot be asked now is asked again."""
    said = ""
    while not stopping.wait(LOOK_S):
        try:
            wanted, now = scaling.wanted(queue.standing(), time.monotonic()), job.parallelism()
            if now is not None and wanted != now:
                job.scale(wanted)
                say(f"{now} -> {wanted} consumers")
            said = ""
        except (ApiError, QueueError, RedisError) as error:
            if str(error) != said:
                say(f"cannot scale now: {error}")
            said = str(error)
