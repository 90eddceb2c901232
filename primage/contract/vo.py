"""A virtual organisation (VO) and its members as a site's settings describe them."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from primage.contract.networks import Cidr
from primage.contract.outputs import Quantity, Settings, SomeQuantity
from primage.contract.roles import Role
from primage.contract.spelling import Identity, VoName

Uid = Annotated[int, Field(ge=1000, le=2_000_000_000)]
"""A POSIX user or group of people: those below are the machines' own."""


class QuotaConfig(Settings):
    """What all of a VO's pods in its namespace may ask for together."""

    cpu: Quantity = Field(description="Processor cores.")
    memory: Quantity = Field(description="Main memory.")
    gpu: int = Field(default=0, ge=0, description="GPUs (nvidia.com/gpu).")
    pods: int = Field(default=100, ge=1, description="Pods at a time.")
    pods_kept: int = Field(default=2000, ge=1, description="Pod objects, finished ones among them.")
    jobs: int = Field(default=500, ge=1, description="Job objects, finished ones among them.")
    cron_jobs: int = Field(default=50, ge=0, description="CronJobs.")
    config_maps: int = Field(default=500, ge=1, description="Config maps; each HPC job has one.")
    secrets: int = Field(default=300, ge=1, description="Secrets; each run of an app has one or two.")
    services: int = Field(default=50, ge=0, description="Services; each queue has one.")
    claims: int = Field(default=10, ge=3, description="Persistent volume claims; the site makes three.")
    objects: int = Field(
        default=100,
        ge=20,
        description="Objects of each other kind: Deployments and their ReplicaSets, StatefulSets, NetworkPolicies, and so on.",
    )
    ephemeral_storage: Quantity = Field(default="200Gi", description="Scratch space on nodes: both the requests and the limits.")


class ContainerConfig(Settings):
    """Processor and memory of one container."""

    cpu: SomeQuantity = Field(description="Processor cores.")
    memory: SomeQuantity = Field(description="Main memory.")


class Membership(Settings):
    """What a member of a VO is and may do, whoever they are."""

    uid: Uid = Field(description="POSIX user, and group, that owns the member's private folder; the same on every site.")
    roles: tuple[Role, ...] = Field(
        default=(Role.RESEARCHER,), description="What they may do (docs/reference/roles.md); with none, nothing but be known."
    )
    quota: QuotaConfig | None = Field(default=None, description="Limits of the member's namespace; by default those of the VO's.")


class MemberSpec(Membership):
    """A member of a VO: custom resource `Member`, in the VO's namespace."""

    identity: Identity = Field(max_length=200, description="As the identity provider has it: name@domain.tld.")


class VirtualOrganisationSpec(Settings):
    """A virtual organisation that a site serves: custom resource `VirtualOrganisation`."""

    name: VoName = Field(max_length=200, description="The VO's name in the identity provider.")
    gid: Uid = Field(description="POSIX group that owns the VO's folders; the same on every site.")
    quota: QuotaConfig = Field(description="Limits of the VO's namespace.")
    container_default: ContainerConfig = Field(
        default=ContainerConfig(cpu="500m", memory="512Mi"), description="What a container gets if it asks for nothing."
    )
    container_max: ContainerConfig | None = Field(default=None, description="The most one container may ask for.")
    scratch_max: SomeQuantity = Field(
        default="20Gi", description="The most scratch space on a node that one container, or one emptyDir, may have."
    )
    egress: tuple[Cidr, ...] = Field(
        default=(), description="Networks outside the cluster that the VO's pods may connect to; none by default."
    )


class UserConfig(Membership):
    """A member of a VO with a namespace, a private folder and HPC accounts of their own."""

    name: Identity = Field(max_length=200, description="Identity as the identity provider has it: name@domain.tld.")

    @property
    def member(self) -> MemberSpec:
        """The same as a member of any origin."""
        return MemberSpec(identity=self.name, uid=self.uid, roles=self.roles, quota=self.quota)


class VoConfig(VirtualOrganisationSpec):
    """A virtual organisation the site serves."""

    users: tuple[UserConfig, ...] = Field(default=(), description="Its members who have a namespace of their own.")

    @property
    def organisation(self) -> VirtualOrganisationSpec:
        """It without its members."""
        return VirtualOrganisationSpec.model_validate(self.model_dump(exclude={"users"}))
