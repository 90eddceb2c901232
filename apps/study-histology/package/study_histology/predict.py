"""Testing: the trained network applied to partitions. It needs NumPy and ONNX Runtime, and starts in a fraction of a second.

The same function does it in a plain process, in a batch job and in the consumers of a queue, on one core each: how many
there are is for the queue to decide. Equal partitions give equal bytes on processors of one kind.
"""

from __future__ import annotations

import os
import socket
import sys
import time
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from study_histology.data import Patches, load, read_partition
from study_histology.files import read_json, write_json, write_whole
from study_histology.orientations import ORIENTATIONS, all_orientations, as_input

AT_A_TIME = 8
"""Patches of one run of the network, in each of their orientations."""
PROCESS = "process-"
LOADED = time.time()


def predict(out: Path, partition: Path, results: Path) -> Path:
    """Classify the test patches a partition names; write the predicted classes to folder `results` as `<name>.npy`.

    A patch's class is the one that the network gives more of, over all orientations.
    """
    target = results / partition.with_suffix(".npy").name
    model = out / "model.onnx"
    if target.is_file() and target.stat().st_mtime >= _trained_at(out):
        return target
    indices, _ = read_partition(partition)
    network, tests = _trained(model, model.stat().st_mtime_ns)
    # Whole runs only: the last one's few patches could be added up in another order, and round differently.
    padded = np.concatenate([indices, np.repeat(indices[-1:], -len(indices) % AT_A_TIME)])
    runs = [_classes(network, tests, padded[start : start + AT_A_TIME]) for start in range(0, len(padded), AT_A_TIME)]
    classes = np.concatenate([np.empty(0, np.uint8), *runs])[: len(indices)]
    write_whole(target, lambda part: np.save(part, classes))
    _record(results)
    return target


def _trained_at(out: Path) -> float:
    """When training ended, by the clock of the files.

    Trained again, the network may have the same bytes, and is then not brought anew from an HPC centre; the history says how long
    training took, and is another file each time.
    """
    model, history = out / "model.onnx", out / "history.json"
    return max(model.stat().st_mtime, history.stat().st_mtime if history.is_file() else 0.0)


def _classes(network: Any, tests: Patches, indices: Any) -> Any:
    (given,) = network.run(None, {network.get_inputs()[0].name: as_input(all_orientations(tests.images(indices)))})
    return given.reshape(len(indices), ORIENTATIONS, -1).mean(axis=1).argmax(axis=1).astype(np.uint8)


@lru_cache(maxsize=1)
def _trained(model: Path, _: int) -> tuple[Any, Patches]:
    """The network and the test part, read once a process however many partitions it deals with."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    network = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return network, load(model.parent / "data" / "test.npz")


def predict_path(path: str) -> None:
    """Classify one partition, as a consumer of a queue of paths; the folders come from its place.

    `<out>/partitions/p1.csv` gives `<out>/<HISTOLOGY_RESULTS>/p1.npy`.
    """
    partition = Path(path)
    out = partition.parent.parent
    print(predict(out, partition, out / os.environ["HISTOLOGY_RESULTS"]), flush=True)


def _record(results: Path) -> None:
    """Say in a file beside the predictions what this process has done so far: when it began, until when, how many partitions."""
    path = results / f"{PROCESS}{socket.gethostname()}-{os.getpid()}.json"
    mine = _began()
    so_far = read_json(path) or {}
    done = so_far["partitions"] if so_far.get("began") == mine else 0
    write_json(path, {"began": mine, "ended": time.time(), "partitions": done + 1})


@cache
def _began() -> float:
    """When this process began, libraries and all; where the system does not say, when this module was loaded."""
    if not sys.platform.startswith("linux"):
        return LOADED
    ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
    age = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    return round(time.time() - age, 3)


def processes(results: Path) -> list[dict[str, Any]]:
    """What the processes that wrote to a folder since training said of themselves."""
    since = _trained_at(results.parent)
    return [read_json(path) for path in sorted(results.glob(f"{PROCESS}*.json")) if path.stat().st_mtime >= since]
