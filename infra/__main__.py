"""The site program: what one site's cluster has for every VO it serves, and for their members."""

import pulumi

from infra.components.admission import Admission
from infra.components.authorizer import Authorizer
from infra.components.clinical_records import ClinicalRecords
from infra.components.definitions import Definitions
from infra.components.federated_login import FederatedLogin
from infra.components.gateway import Gateway
from infra.components.guacamole import Guacamole
from infra.components.hpc_connector import HpcConnector
from infra.components.image_archive import ImageArchive
from infra.components.memberships import Memberships
from infra.components.organisation import Organisation
from infra.components.portal import Portal
from infra.components.priority_classes import PriorityClasses, class_name
from infra.components.system_namespace import SystemNamespace
from infra.config import SiteConfig
from infra.outputs import portal_files, portal_settings, site_offer, site_outputs
from primage.components.images import pin_images
from primage.components.labels import label_everything, labels_of
from primage.components.provider import cluster_provider
from primage.components.settings import load_settings
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
labels = labels_of(stack=site, site=site)
system = SystemNamespace("system", opts=on_site)
definitions = Definitions("definitions", opts=on_site)
if config.login and config.login.keycloak:
    FederatedLogin("login", config.login, config.network, cluster, labels, opts=after(system))
first: list[pulumi.Resource] = [system, definitions]
if config.login:
    first.append(Memberships("memberships", opts=on_site))
if config.login and config.login.portal:
    told, files = portal_settings(site, config), portal_files(config, outputs.images)
    # The authorizer tells Keycloak of its secret.
    first.append(Portal("portal", config.login, told, files, config.network, cluster, labels, opts=after(system)))
if config.login and config.login.guacamole:
    Guacamole("guacamole", config.login, opts=after(system))
if config.gateway:
    Gateway("gateway", config.gateway, config.network, cluster, labels, opts=after(system))
if config.image_archive:
    ImageArchive("image-archive", config.image_archive, cluster, labels, opts=after(system))
if config.clinical_records:
    ClinicalRecords("clinical-records", config.clinical_records, cluster, labels, opts=after(system))
offer = site_offer(site, config, outputs.images)
authorizer = Authorizer("authorizer", config.authorizer_image, offer, opts=after(*first))
admission = Admission("admission", [class_name(item) for item in config.priority_classes], config.gateway, opts=on_site)
for vo in config.vos:
    before: list[pulumi.Resource] = [authorizer, admission]
    if centres := [centre for centre in config.hpc.backends if vo.name in centre.vos]:
        image = outputs.images.resolve(config.hpc.image)
        # Before the VO, so that it goes after it: it cancels at the centres what a tenant that is taken away has there.
        before.append(HpcConnector(vo, centres, image, config.volumes.home, config.network, opts=after(authorizer)))
    Organisation(vo, offer, opts=after(*before))

pulumi.export("site", outputs.model_dump())
