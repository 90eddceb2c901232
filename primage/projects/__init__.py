"""Pulumi projects, their stack files, and checking both offline."""
