"""A site's settings: the schema of `primage:site` in `Pulumi.<site>.yaml`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from primage.contract.accounts import VO_UID
from primage.contract.gateway import GatewayConfig
from primage.contract.hpc_centres import HpcConfig
from primage.contract.image_archive import ImageArchiveConfig
from primage.contract.login import LoginConfig
from primage.contract.names import namespace_for
from primage.contract.networks import NetworkConfig, inside, own_network
from primage.contract.outputs import ClusterConfig, Settings
from primage.contract.records import RecordsConfig
from primage.contract.spelling import AbsolutePath, DnsLabel, Registry
from primage.contract.tenant_secrets import TenantSecretsConfig
from primage.contract.vo import VoConfig
from primage.contract.volumes.settings import VolumesConfig


class PriorityClassConfig(Settings):
    """A priority jobs may have; higher values are scheduled first."""

    name: DnsLabel = Field(description="Name of the class; on the cluster it is prefixed with primage-.")
    value: int = Field(ge=0, le=1_000_000, description="Higher values go first.")
    default: bool = Field(default=False, description="Whether pods without a class get this one.")
    description: str = Field(default="", description="When to use it, for users.")


class ImagesConfig(Settings):
    """Where the site's nodes have images from."""

    registry: Registry = Field(
        description="Registry that has this project's images: host, port where it is not 443, and a path where they are below one. "
        "`primage/base:1` in any setting is that image there.",
    )
    references: str = Field(
        default="",
        max_length=1024,
        description="File that says by which digest each of them goes, relative to the repository; empty: by their tags.",
    )


class SiteConfig(Settings):
    """One site."""

    description: str = Field(description="What the site is, in one line.")
    kind: Literal["local", "on-premises", "public-cloud"] = Field(description="Where it runs.")
    cluster: ClusterConfig = Field(default=ClusterConfig(), description="How operators reach its Kubernetes API.")
    protect: bool = Field(default=True, description="Refuse to delete VOs' namespaces and volumes until this is set to false.")
    mount_point: AbsolutePath = Field(default="/primage", description="Where jobs find DATALAKE and HOME.")
    oneprovider: str = Field(
        default="",
        description="Host of the nearest Oneprovider, given to jobs as ONECLIENT_PROVIDER_HOST; empty where there is none.",
    )
    images: ImagesConfig = Field(description="Where nodes have images from.")
    authorizer_image: str = Field(
        default="primage/authorizer:1",
        min_length=1,
        description="Image of what makes tenants' objects and folders (images/authorizer).",
    )
    volumes: VolumesConfig = Field(description="The shared volumes.")
    secrets: TenantSecretsConfig = Field(
        default=TenantSecretsConfig(),
        description="Secrets of the site's that tenants have copies of: for storage, and to pull images.",
    )
    network: NetworkConfig = Field(default=NetworkConfig(), description="What pods may reach.")
    priority_classes: tuple[PriorityClassConfig, ...] = Field(default=(), description="Priorities jobs may have.")
    hpc: HpcConfig = Field(default=HpcConfig(), description="HPC centres that jobs can run at.")
    login: LoginConfig | None = Field(
        default=None, description="Who says who people are; empty: nobody logs in, and members are those named below."
    )
    image_archive: ImageArchiveConfig | None = Field(default=None, description="Where VOs' medical images are; empty: nowhere.")
    clinical_records: RecordsConfig | None = Field(default=None, description="Where VOs' clinical records are; empty: nowhere.")
    vos: tuple[VoConfig, ...] = Field(min_length=1, description="The VOs it serves.")

    @model_validator(mode="after")
    def _unique(self) -> SiteConfig:
        identities = [name for vo in self.vos for name in (vo.name, *(user.name for user in vo.users))]
        problems = [
            *_duplicates("vos", "name", [vo.name for vo in self.vos]),
            *_duplicates("vos", "gid", [str(vo.gid) for vo in self.vos]),
            *_duplicates("vos", "namespace", [namespace_for(name) for name in identities]),
            *_duplicates("vos.users", "uid", [str(VO_UID), *(str(user.uid) for vo in self.vos for user in vo.users)]),
            *_duplicates("priority_classes", "name", [c.name for c in self.priority_classes]),
            *_duplicates("hpc.backends", "name", [b.name for b in self.hpc.backends]),
        ]
        served = {vo.name for vo in self.vos}
        problems += [
            f"hpc.backends: {backend.name} is for {vo}, a VO that the site does not serve"
            for backend in self.hpc.backends
            for vo in backend.vos
            if vo not in served
        ]
        problems += [
            f"vos: the egress {cidr} of {vo.name} lies among the site's own machines ({machines})"
            for vo in self.vos
            for cidr in vo.egress
            for machines in self.network.machines
            if inside(cidr, machines)
        ]
        if self.hpc.backends and not self.network.api_servers:
            problems.append("network.api_servers: is required with HPC backends: their connector reads jobs from the API servers")
        if self.login and self.login.keycloak and not self.network.pods:
            problems.append("network.pods: is required with login.keycloak: whoever logs in comes from elsewhere")
        if self.login and self.login.portal and not self.network.pods:
            problems.append("network.pods: is required with login.portal: whoever opens it comes from elsewhere")
        problems += _about_gateway(self.login, self.network)
        problems += [
            f"image_archive.shelves: {shelf.vo} is a VO that the site does not serve"
            for shelf in (self.image_archive.shelves if self.image_archive else ())
            if shelf.vo not in served
        ]
        if self.login and not self.cluster.server:
            problems.append("cluster.server: is required with login: whoever logs in is to reach the API server there")
        if sum(c.default for c in self.priority_classes) > 1:
            problems.append("priority_classes: more than one is the default")
        if problems:
            raise ValueError("\n".join(problems))
        return self

    @property
    def gateway(self) -> GatewayConfig | None:
        """Where members' sessions open in a browser; None where they do not."""
        return self.login.gateway if self.login else None


def _about_gateway(login: LoginConfig | None, network: NetworkConfig) -> list[str]:
    if login is None or login.gateway is None:
        return []
    problems = []
    if not network.pods:
        problems.append("network.pods: is required with login.gateway: whoever opens a session comes from elsewhere")
    if own_network(login.host) is None and not login.networks:
        problems.append(f"login.networks: is required with login.gateway: sessions reach {login.host} there, and no other address")
    others = {"login.issuer": login.host, **({"login.portal.url": login.portal.host} if login.portal else {})}
    if login.guacamole:
        others["login.guacamole.url"] = login.guacamole.host
    return problems + [
        f"{where}: {host} is below login.gateway.domain ({login.gateway.domain}): pages of sessions could set its cookies"
        for where, host in others.items()
        if f".{host}".endswith(f".{login.gateway.domain}")
    ]


def _duplicates(where: str, what: str, values: list[str]) -> list[str]:
    return [
        f"{where}: {what} {value} is given {values.count(value)} times" for value in sorted(set(values)) if values.count(value) > 1
    ]


MODELS = {"site": SiteConfig}
"""Setting by setting, its schema: what `primage validate` checks a stack's file against."""
