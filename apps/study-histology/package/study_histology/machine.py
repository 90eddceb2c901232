"""What about a machine decides how a computation rounds."""

from __future__ import annotations

import os
import platform
import re
from importlib import metadata
from pathlib import Path

LIBRARIES = ("numpy", "jax", "keras", "onnxruntime")
INSTRUCTIONS = ("amx_tile", "avx512f", "avx2", "avx", "sse4_2", "asimd")
"""Widest first: the first one that a processor has is what the libraries use."""


def machine() -> dict[str, str | int]:
    """Processor, instruction set, cores and the libraries' versions, for who compares two results."""
    info = Path("/proc/cpuinfo")
    text = info.read_text() if info.is_file() else ""
    name = re.search(r"^model name\s*: (.+)$", text, re.MULTILINE)
    flags = re.search(r"^(?:flags|Features)\s*: (.+)$", text, re.MULTILINE)
    has = flags[1].split() if flags else []
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return {
        "processor": name[1] if name else platform.machine(),
        "instructions": next((each for each in INSTRUCTIONS if each in has), "unknown"),
        "cores": cores,
        **{library: metadata.version(library) for library in LIBRARIES},
    }
