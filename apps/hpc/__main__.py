"""An HPC job of one VO on one site."""

import pulumi

from primage.components.app import this_app
from primage.components.jobs.hpc_job import HpcJob
from primage.components.jobs.hpc_settings import HpcJobSettings
from primage.components.settings import load_settings

app = this_app("hpc")
job = HpcJob(load_settings("job", HpcJobSettings), app)

pulumi.export("namespace", app.namespace)
pulumi.export("job", job.job_name)
