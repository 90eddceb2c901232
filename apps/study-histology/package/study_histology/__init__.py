"""Breast histology patches: prepare, train, predict, report (Segrelles Quilis et al. 2022, section 5.2).

The same code runs on a laptop, in a Kubernetes job and on an HPC machine; it only reads and writes folders.
"""

PATCH = 50
"""Side of a patch in pixels, as in the IDC set."""
