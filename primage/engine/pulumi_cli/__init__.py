"""Pulumi's own engine, run by its command line."""
