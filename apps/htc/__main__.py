"""A high-throughput application of one VO on one site."""

import pulumi

from primage.components.app import this_app
from primage.components.queues.htc_application import HtcApplication
from primage.components.queues.htc_settings import HtcSettings
from primage.components.settings import load_settings

app = this_app("htc")
application = HtcApplication(load_settings("htc", HtcSettings), app)

pulumi.export("namespace", app.namespace)
pulumi.export("queue", application.queue_name)
pulumi.export("producer", application.producer_name)
pulumi.export("consumers", application.consumers_name)
