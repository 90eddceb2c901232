"""The histology study (paper, section 5.2) of one VO on one site: all of it, or one stage of it."""

import pulumi
from config import Stage, StudySettings

from primage.components.app import this_app
from primage.components.jobs.batch_job import BatchJob
from primage.components.jobs.hpc_job import HpcJob
from primage.components.queues.htc_application import HtcApplication
from primage.components.settings import load_settings

app = this_app("study-histology")
settings = load_settings("study", StudySettings)
if settings.stage is Stage.HTC:
    application = HtcApplication(settings.application(), app)
    pulumi.export("queue", application.queue_name)
    pulumi.export("job", application.consumers_name)
elif settings.stage is Stage.TRAIN and settings.hpc:
    pulumi.export("job", HpcJob(settings.hpc_job(), app).job_name)
else:
    # Kubernetes itself puts the variable in: the program need not know the site.
    pulumi.export("job", BatchJob(settings.job("$(MOUNT_POINT)"), app).job_name)

pulumi.export("namespace", app.namespace)
pulumi.export("out", settings.out)
