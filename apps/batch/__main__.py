"""A batch job of one VO on one site."""

import pulumi

from primage.stacks.app import this_app
from primage.stacks.batch_job import BatchJob
from primage.stacks.job_settings import BatchJobSettings
from primage.stacks.settings import load_settings

app = this_app("batch")
job = BatchJob(load_settings("job", BatchJobSettings), app)

pulumi.export("namespace", app.namespace)
pulumi.export("job", job.job_name)
