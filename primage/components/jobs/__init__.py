"""Jobs: batch and HPC."""
