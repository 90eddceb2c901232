"""The site program: what one site's cluster has for every VO it serves, and for their members."""

import pulumi

from infra.components.admission import Admission
from infra.components.folders import Folders
from infra.components.hpc_connector import HpcConnector
from infra.components.priority_classes import PriorityClasses, class_name
from infra.components.shared_volumes import SharedVolumes
from infra.components.system_namespace import SystemNamespace
from infra.components.virtual_organisation import VirtualOrganisation
from infra.config import SiteConfig
from infra.outputs import site_outputs
from primage.components.images import pin_images
from primage.components.labels import label_everything
from primage.components.provider import cluster_provider
from primage.components.settings import load_settings
from primage.contract import names
from primage.contract.tenant import tenants, tenants_of
from primage.projects.connection import connection_of

site = pulumi.get_stack()
config = load_settings("site", SiteConfig)
cluster = connection_of(config.cluster)
label_everything(stack=site, site=site)
outputs = site_outputs(site, config, cluster)
pin_images(site, outputs.images)

on_site = pulumi.ResourceOptions(provider=cluster_provider(cluster.kubeconfig, cluster.context))


def after(*others: pulumi.Resource) -> pulumi.ResourceOptions:
    """On the site's cluster, once these are there."""
    return pulumi.ResourceOptions.merge(on_site, pulumi.ResourceOptions(depends_on=list(others)))


PriorityClasses("priority", config.priority_classes, opts=on_site)
system = SystemNamespace("system", opts=on_site)
organisations = [
    VirtualOrganisation(
        tenant.namespace,
        tenant,
        mount_point=config.mount_point,
        oneprovider=config.oneprovider,
        network=config.network,
        protect=config.protect,
        opts=on_site,
    )
    for tenant in tenants(config.vos)
]
Admission("admission", [class_name(item) for item in config.priority_classes], opts=after(*organisations))
folders_image = outputs.images.resolve(config.volumes.image)
folders = {
    vo.name: Folders(
        f"{names.namespace_for(vo.name)}-folders",
        config.volumes,
        tenants_of(vo),
        image=folders_image,
        namespace=system.namespace,
        opts=on_site,
    )
    for vo in config.vos
}
for tenant, organisation in zip(tenants(config.vos), organisations, strict=True):
    slug = tenant.namespace
    volumes = SharedVolumes(
        f"{slug}-volumes",
        tenant,
        config.volumes,
        protect=config.protect,
        opts=after(organisation, folders[tenant.vo.name].made),
    )
    backends = [backend for backend in config.hpc.backends if tenant.vo.name in backend.vos]
    if backends:
        HpcConnector(f"{slug}-hpc", config.hpc.image, backends, tenant, opts=after(volumes, organisation))

pulumi.export("site", outputs.model_dump())
