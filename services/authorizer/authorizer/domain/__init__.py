"""Whose an object is and whether it is as it should be; no I/O."""
