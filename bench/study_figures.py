"""The validation study's test by one batch job and by consumers of a queue, in one run of `primage study`: the paper's Table 3."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
LONGEST_S = 1800


def run_study() -> dict[str, Any]:
    """Run all of it again; the results stay in study-results, as after `make site`."""
    primage = str(Path(sys.executable).with_name("primage"))
    command = [primage, "study", "--again", "--json"]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True, timeout=LONGEST_S)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


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
    }


if __name__ == "__main__":
    print(json.dumps(figures(), indent=2))
