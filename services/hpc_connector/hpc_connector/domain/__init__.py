"""What an HPC job is and what becomes of it: no I/O here.

Whatever comes from a person, a job or an HPC machine is read here, strictly and within limits, and nothing that it may say
raises anything but RefusedError or UnavailableError, which concern that one job.
"""
