"""Which of Slurm's complaints pass by themselves: the one table, for sbatch's words and for slurmrestd's."""

from __future__ import annotations

PASSING = (
    "unable to contact",
    "socket timed out",
    "temporarily",
    "no space left",
    "assocmaxsubmit",
    "qosmaxsubmit",
    "zero bytes",
    "unspecified error",
)
"""In lower case. Slurm away, a busy controller, a full disk, an account with as many jobs as it may have. `Zero Bytes were
transmitted or received` and `Unspecified error` are what is left to say when a controller is just starting or ending."""


def passes(words: str) -> bool:
    """Whether Slurm says, of a submission, something that may be otherwise the next time."""
    said = words.lower()
    return any(phrase in said for phrase in PASSING)
