"""A batch job of one VO on one site."""

import pulumi

from primage.components.app import this_app
from primage.components.jobs.batch_job import BatchJob
from primage.components.jobs.batch_settings import BatchJobSettings
from primage.components.settings import load_settings

app = this_app("batch")
job = BatchJob(load_settings("job", BatchJobSettings), app)

pulumi.export("namespace", app.namespace)
pulumi.export("job", job.job_name)
