"""How much a job may name."""

MOST_FILES = 100_000
"""Files in what a job names: their names and digests (about 20 MB) are held in memory at once."""
MOST_TOLD = 16 << 20
"""Bytes of those names as JSON: a path may have thousands, each spelled by six, and all namespaces of a VO share the memory."""
