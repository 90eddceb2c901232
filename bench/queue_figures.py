"""Queues: arguments a second beside Celery and RQ on the same Redis, one process an argument beside an Indexed Job,
what an application costs before and after its work, and what a second consumer gains."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from htc_queue.clients import Queue
from primage.clients.cluster import Cluster, Ref
from primage.contract.pod_security import container_security, pod_security
from primage.engine.api import Options
from primage.engine.embedded.engine import EmbeddedEngine
from primage.kubernetes.waiting import pods_of, wait_gone, wait_ready
from primage.local.images import storage
from primage.local.images.catalogue import BASE, QUEUE
from primage.operations.site import site_handle, usual_site
from primage.process import capture
from primage.projects.project import parse_stack_name

ROOT = Path(__file__).resolve().parents[1]
NAMESPACE = "vo-dot-primage-dot-eu"
STACK = parse_stack_name("htc/vo.primage.eu.local--bench")
WORKERS = 4
ARGUMENTS = 4000
RQ_ARGUMENTS = 200
PROCESSES = 1000
COMPLETIONS = 40
SPEEDUP_ARGUMENTS = 24
SPIN = "import time; t = time.process_time()\nwhile time.process_time() - t < 1: pass"
TASKS = """
import os
from celery import Celery
app = Celery("tasks", broker=os.environ["BENCH_BROKER"])
app.conf.update(broker_connection_retry_on_startup=True, worker_prefetch_multiplier=4, task_acks_late=True, task_ignore_result=True)
@app.task
def count(number):
    with open(os.environ["BENCH_DONE"], "ab", buffering=0) as stream:
        stream.write(b".")
def deal(argument):
    with open(os.environ["BENCH_DONE"], "ab", buffering=0) as stream:
        stream.write(b".")
"""
"""The same work in all three: one byte appended to a file, which is how the end is seen."""


@contextmanager
def redis() -> Iterator[tuple[Path, str]]:
    """A Redis as a queue has it, synced at every command, on a socket in a folder."""
    name = "primage-bench-redis"

    def podman(*arguments: str) -> None:
        capture(["podman", *arguments], env=storage.environment())

    with tempfile.TemporaryDirectory(prefix="primage-bench-") as text:
        folder = Path(text)
        folder.chmod(0o777)
        options = ["--port", "0", "--unixsocket", "/data/s", "--unixsocketperm", "777", "--dir", "/data", "--save", ""]
        podman(
            "run",
            "-d",
            "--name",
            name,
            "--network",
            "none",
            "-v",
            f"{folder}:/data",
            "--entrypoint",
            "redis-server",
            QUEUE,
            *options,
            "--appendonly",
            "yes",
            "--appendfsync",
            "always",
        )
        try:
            (folder / "tasks.py").write_text(TASKS)
            while not (folder / "s").exists():
                time.sleep(0.05)
            yield folder, f"{folder}/s"
        finally:
            podman("rm", "-f", "-t", "0", name)


def _rate(folder: Path, socket: str, commands: list[list[str]], push: list[str], count: int) -> float:
    """Start workers, let them get ready, push, and see how long it takes until all is done."""
    done = folder / f"done-{time.monotonic_ns()}"
    done.touch()
    env = {
        **os.environ,
        "BENCH_DONE": str(done),
        "BENCH_BROKER": f"redis+socket://{socket}",
        "PRIMAGE_QUEUE": f"unix://{socket}",
        "PYTHONPATH": f"{folder}:{ROOT / 'services/htc_queue'}",
        "BENCH_COUNT": str(count),
    }
    workers = [
        subprocess.Popen(command, cwd=folder, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) for command in commands
    ]
    try:
        time.sleep(6)
        started = time.monotonic()
        subprocess.run(push, cwd=folder, env=env, check=True, capture_output=True, timeout=300)
        while done.stat().st_size < count:
            time.sleep(0.02)
            if time.monotonic() - started > 300:
                raise TimeoutError(f"{done.stat().st_size} of {count} after 300 s: {commands[0]}")
        return round(count / (time.monotonic() - started), 1)
    finally:
        for worker in workers:
            worker.terminate()
        for worker in workers:
            worker.wait(timeout=60)


def rates() -> dict[str, float]:
    """Arguments a second with four workers, of ours, Celery and RQ; and with one process an argument."""
    python, bin_ = sys.executable, Path(sys.executable).parent
    ours = [python, "-m", "htc_queue", "run"]
    numbers = "import os; print('\\n'.join(map(str, range(int(os.environ['BENCH_COUNT'])))))"
    push = ["sh", "-c", f'{python} -c "$1" | {python} -m htc_queue push --close', "push", numbers]
    celery_push = "import os, tasks\nfor n in range(int(os.environ['BENCH_COUNT'])): tasks.count.delay(n)"
    rq_push = (
        "import os, tasks, redis, rq\nq = rq.Queue(connection=redis.Redis(unix_socket_path=os.environ['BENCH_BROKER'][15:]))\n"
        "for n in range(int(os.environ['BENCH_COUNT'])): q.enqueue(tasks.deal, str(n))"
    )
    celery = [str(bin_ / "celery"), *f"-A tasks worker -c {WORKERS} --without-gossip --without-mingle -l error".split()]
    with redis() as (folder, socket):
        queue = Queue(f"unix://{socket}")

        def measure(commands: list[list[str]], how: list[str], count: int) -> float:
            queue._redis.flushall()
            return _rate(folder, socket, commands, how, count)

        rq = [str(bin_ / "rq"), "worker", "--url", f"unix://{socket}", "--quiet"]
        append = ["sh", "-c", 'printf . >> "$BENCH_DONE"']
        return {
            "queue_args_per_s": measure([[*ours, "--call", "tasks:deal"]] * WORKERS, push, ARGUMENTS),
            "queue_args_per_s_celery": measure([celery], [python, "-c", celery_push], ARGUMENTS),
            "queue_args_per_s_rq": measure([rq] * WORKERS, [python, "-c", rq_push], RQ_ARGUMENTS),
            "queue_processes_per_s": measure([[*ours, "--", *append]] * WORKERS, push, PROCESSES),
        }


def indexed_job(cluster: Cluster) -> float:
    """Completions a second of an Indexed Job, four at a time."""
    site = site_handle("local")
    vo = site.place("vo.primage.eu")
    resources = {"cpu": "50m", "memory": "16Mi"}
    container = {
        "name": "c",
        "image": site.outputs.images.resolve(BASE),
        "command": ["true"],
        "securityContext": container_security(),
        "resources": {"requests": resources, "limits": resources},
    }
    pod = {"restartPolicy": "Never", "containers": [container], "securityContext": pod_security(vo.uid, vo.gid)}
    spec = {"completions": COMPLETIONS, "parallelism": WORKERS, "completionMode": "Indexed", "template": {"spec": pod}}
    job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "bench-indexed", "namespace": NAMESPACE}, "spec": spec}
    started = time.monotonic()
    wait_ready(cluster, cluster.apply(job, manager="bench"), timeout_s=300, report=lambda _: None)
    seconds = time.monotonic() - started
    cluster.delete(Ref.of(job))
    wait_gone(cluster, Ref.of(job), timeout_s=60, report=lambda _: None)
    return round(COMPLETIONS / seconds, 2)


def _application(arguments: list[str], command: list[str], parallelism: int) -> Options:
    consumer = {"image": QUEUE, "bring_queue": False, "command": command, "cpu": "750m", "memory": "64Mi"}
    settings = {"name": "bench", "parallelism": parallelism, "producer": {"arguments": arguments}, "consumer": consumer}
    return Options(overrides={"htc": settings})


def overhead(engine: EmbeddedEngine) -> float:
    """Queue, producer and consumer around one argument that takes no time: from `up` to the end being seen, in seconds."""
    took = []
    for _ in range(3):
        result = engine.up(STACK, _application(["x"], ["true"], 1))
        first = min(timing["submitted"] for timing in result.timings.values())
        took.append(max(timing["ready"] for timing in result.timings.values()) - first)
        engine.destroy(STACK, Options())
    return round(statistics.median(took), 2)


def speedup(engine: EmbeddedEngine, cluster: Cluster) -> dict[str, float]:
    """Arguments that each take a second of processor time, with one consumer and with two: first one's begin to last one's end."""
    script = f"import time; b = time.time()\n{SPIN}\nprint('span', b, time.time(), flush=True)"
    arguments = [str(n) for n in range(SPEEDUP_ARGUMENTS)]
    took = {}
    for consumers in (1, 2):
        engine.up(STACK, _application(arguments, ["python3", "-c", script], consumers))
        job = Ref("batch/v1", "Job", "bench-bench-consumers", NAMESPACE)
        lines = [
            line
            for pod in pods_of(cluster, job)
            for line in cluster.logs(NAMESPACE, pod["metadata"]["name"], tail=1000).splitlines()
        ]
        spans = [tuple(map(float, line.split()[1:])) for line in lines if line.startswith("span ")]
        assert len(spans) == SPEEDUP_ARGUMENTS
        took[consumers] = max(end for _, end in spans) - min(begin for begin, _ in spans)
        engine.destroy(STACK, Options())
    return {"htc_seconds_1": round(took[1], 1), "htc_seconds_2": round(took[2], 1), "htc_speedup_2": round(took[1] / took[2], 2)}


def figures() -> dict[str, float]:
    """All of them, by name."""
    engine = EmbeddedEngine()
    cluster = usual_site().cluster
    engine.destroy(STACK, Options())
    found = {"htc_overhead_s": overhead(engine), **speedup(engine, cluster), **rates(), "indexed_job_per_s": indexed_job(cluster)}
    return {**found, "queue_processes_over_indexed_job": round(found["queue_processes_per_s"] / found["indexed_job_per_s"], 1)}
