"""What all namespaces of a connector have together, so that none of them takes more than its part."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

LISTS, LOOKS, BLOCKS, ANSWERS = 4, 4, 64, 2


@dataclass(frozen=True)
class Shares:
    """Places, of which each is held for a limited time.

    Attributes:
        lists: of lists of jobs being read, which are long.
        looks: of looks at backends where nobody follows a job.
        blocks: of blocks of files in memory; each backend of a namespace has a few of them.
        answers: of answers of slurmrestd being read, which tell of everybody's jobs.
    """

    lists: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(LISTS))
    looks: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(LOOKS))
    blocks: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(BLOCKS))
    answers: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(ANSWERS))
