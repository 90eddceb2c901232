"""Everything that speaks to somebody: Kubernetes, HPC centres, and the HOME volume."""
