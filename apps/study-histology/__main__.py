"""The histology study (paper, section 5.2) of one VO on one site, as a batch job."""

import pulumi
from config import StudySettings

from primage.stacks.app import this_app
from primage.stacks.batch_job import BatchJob
from primage.stacks.settings import load_settings

app = this_app("study-histology")
settings = load_settings("study", StudySettings)
# Kubernetes itself puts the variable in: the program need not know the site.
job = BatchJob(settings.job("$(MOUNT_POINT)"), app)

pulumi.export("namespace", app.namespace)
pulumi.export("job", job.job_name)
pulumi.export("out", settings.out)
