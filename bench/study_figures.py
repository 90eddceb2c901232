"""The validation study's test by one batch job and by consumers of a queue, in one run of `primage study`: the paper's Table 3;
and beside it what the machine itself gives a second process that tests."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from primage.local.images.catalogue import STUDY_REQUIREMENTS
from primage.local.images.wheels import unpack_wheels
from primage.operations.study import outside
from primage.paths import local_site_dir, log_dir

ROOT = Path(__file__).resolve().parents[1]
HOME = "shared/home/vo.primage.eu/private/vo.primage.eu/histology"
LONGEST_S = 1800
PARTITIONS = 16
"""Of each process of the comparison: some eight seconds of work."""


def run_study() -> dict[str, Any]:
    """Run all of it again; the results stay in study-results, as after `make site`."""
    primage = str(Path(sys.executable).with_name("primage"))
    command = [primage, "study", "--again", "--json"]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True, timeout=LONGEST_S)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def two_processes() -> float:
    """How many times faster two plain processes test side by side, without a cluster, than the same work is done by one."""
    libraries = unpack_wheels(ROOT / STUDY_REQUIREMENTS, log_dir() / "study-local.log")
    with outside(local_site_dir() / HOME, libraries) as (out, environment):
        first, second = (
            [str(out / "partitions" / f"p{number}.csv") for number in range(start, start + PARTITIONS)]
            for start in (1, 1 + PARTITIONS)
        )

        def took(*each: list[str]) -> float:
            started = time.monotonic()
            command = [sys.executable, "-m", "study_histology", "--out", str(out), "predict", "--results"]
            running = [
                subprocess.Popen(
                    [*command, f"{len(each)}-{number}", *partitions],
                    env={**os.environ, **environment},
                    stdout=subprocess.DEVNULL,
                )
                for number, partitions in enumerate(each)
            ]
            if any(process.wait(timeout=LONGEST_S) for process in running):
                raise RuntimeError("a process that tests failed")
            return time.monotonic() - started

        alone = took(first)
        together = took(first, second)
    return round(2 * alone / together, 2)


def figures() -> dict[str, float]:
    """What is compared and the seconds it is made of."""
    study = run_study()
    report, batch, htc, local = study["report"], *(study["seconds"][name] for name in ("batch", "HTC", "local"))
    return {
        "study_predictions": report["predictions"],
        "study_consumers": study["consumers"],
        "study_train_s": report["training"]["seconds"],
        "study_local_execution_s": local["execution"],
        "study_batch_execution_s": batch["execution"],
        "study_batch_total_s": batch["total"],
        "study_htc_queue_s": htc["queue creation"],
        "study_htc_execution_s": htc["execution"],
        "study_htc_total_s": htc["total"],
        "study_htc_speedup_execution": study["speedup"]["execution"],
        "study_htc_speedup_total": study["speedup"]["total"],
        "study_two_processes_speedup": two_processes(),
    }


if __name__ == "__main__":
    print(json.dumps(figures(), indent=2))
