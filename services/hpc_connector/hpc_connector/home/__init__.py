"""Reads and writes people's HOME, as whom it belongs to: in a container of its own, without a token and without credentials."""
