"""The site program: what one site's cluster has for every VO it serves, and for their members."""

import pulumi

from infra.components.hpc_connector import HpcConnector
from infra.components.priority_classes import PriorityClasses
from infra.components.shared_volumes import SharedVolumes
from infra.components.virtual_organisation import VirtualOrganisation
from infra.config import SiteConfig
from infra.outputs import site_outputs
from infra.tenants import tenants
from primage.stacks.labels import label_everything
from primage.stacks.provider import cluster_provider
from primage.stacks.settings import load_settings

site = pulumi.get_stack()
config = load_settings("site", SiteConfig)
outputs = site_outputs(site, config)
label_everything(site=site)

on_site = pulumi.ResourceOptions(provider=cluster_provider(outputs.kubeconfig, outputs.context))
PriorityClasses("priority", config.priority_classes, opts=on_site)
for tenant in tenants(config):
    slug = tenant.namespace
    organisation = VirtualOrganisation(
        slug, tenant, mount_point=config.mount_point, oneprovider=config.oneprovider, protect=config.protect, opts=on_site
    )
    volumes = SharedVolumes(
        f"{slug}-volumes", tenant, config.volumes, namespace=organisation.namespace, protect=config.protect, opts=on_site
    )
    backends = [backend for backend in config.hpc.backends if tenant.vo.name in backend.vos]
    if backends:
        HpcConnector(
            f"{slug}-hpc", config.hpc, backends, tenant, namespace=organisation.namespace,
            opts=pulumi.ResourceOptions.merge(on_site, pulumi.ResourceOptions(depends_on=[volumes, organisation])),
        )  # fmt: skip

pulumi.export("site", outputs.model_dump())
