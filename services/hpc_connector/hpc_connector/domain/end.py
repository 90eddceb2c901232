"""How an attempt ended, and whether another may do better."""

from __future__ import annotations

from dataclasses import dataclass

from hpc_connector.domain.seen import Seen


@dataclass(frozen=True)
class End:
    """How an attempt ended: done, or a reason and a sentence; `again` says whether another try may help."""

    done: bool
    reason: str = ""
    message: str = ""
    again: bool = True


def end_of(seen: Seen) -> End:
    """What became of an attempt that is over, for the Job's conditions."""
    words = _STATES.get(seen.state)
    if seen.unfit and (not words or seen.state == "COMPLETED"):
        said = "left something else than an exit status (0 to 255) in its result file, which only run.sh writes"
        return End(done=False, reason="ResultUnfit", message=said, again=False)
    if words and not (seen.state == "COMPLETED" and seen.code):
        return End(done=seen.state == "COMPLETED", reason=words[0], message=words[1], again=words[2])
    if seen.code is None:
        if seen.state == "FAILED":
            return End(done=False, reason="Failed", message="it failed before it could say how; see its output")
        return End(done=False, reason="Lost", message="Slurm no longer knows it, and it left no result")
    if seen.code == 0:
        return End(done=True)
    if seen.code > 128:
        return End(done=False, reason="Signalled", message=f"ended by signal {seen.code - 128}")
    return End(done=False, reason="ExitStatus", message=f"ended with status {seen.code}")


def explained(end: End, tail: str) -> End:
    """The same, where the last of the output says better what happened: without control groups Slurm only writes it there."""
    if end.reason in {"Failed", "Signalled"} and "Exceeded job memory limit" in tail:
        reason, message, again = _STATES["OUT_OF_MEMORY"]
        return End(done=False, reason=reason, message=message, again=again)
    return end


_STATES = {
    "COMPLETED": ("", "", True),
    "TIMEOUT": ("TimeLimit", "ran longer than the time it asked for", False),
    "DEADLINE": ("TimeLimit", "could not end before its deadline", False),
    "OUT_OF_MEMORY": ("OutOfMemory", "used more memory than it asked for", False),
    "NODE_FAIL": ("NodeFailure", "its compute node failed", True),
    "BOOT_FAIL": ("NodeFailure", "its compute node did not start", True),
    "PREEMPTED": ("Preempted", "made room for a job that goes before it", True),
    "CANCELLED": ("Cancelled", "was cancelled on the HPC machine, by its operators or by hand", False),
    "REVOKED": ("Cancelled", "was revoked on the HPC machine", False),
}
