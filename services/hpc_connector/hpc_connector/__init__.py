"""Carries Kubernetes Jobs to Slurm."""
