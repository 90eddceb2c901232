"""How much a job may name."""

MOST_FILES = 100_000
"""Files in what a job names: their names and digests (about 20 MB) are held in memory at once."""
