"""A site's settings: the schema of `primage:site` in `Pulumi.<site>.yaml`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from infra.components.volumes import Volume
from primage.contract import hpc
from primage.contract.accounts import VO_UID
from primage.contract.names import namespace_for
from primage.contract.networks import Cidr, NetworkConfig, inside, own_network
from primage.contract.outputs import ClusterConfig, Settings
from primage.contract.spelling import AbsolutePath, Account, Datalake, DnsLabel, Host, Partition, Registry, Scratch, Slurmrestd
from primage.contract.vo import VoConfig


class VolumesConfig(Settings):
    """The shared volumes, by the names the paper gives them."""

    datalake: Volume = Field(description="Images, read-only for jobs.")
    home: Volume = Field(description="A private folder per user and a shared folder per VO.")
    image: str = Field(
        default="primage/base:1",
        min_length=1,
        description="Image of the Jobs that make VOs' and members' folders: any with python3 (images/base).",
    )

    @model_validator(mode="after")
    def _apart(self) -> VolumesConfig:
        lake, home = f"{self.datalake.place}/", f"{self.home.place}/"
        if lake.startswith(home) or home.startswith(lake):
            raise ValueError(f"datalake ({self.datalake.place}) and home ({self.home.place}) must not lie in each other")
        return self


class PriorityClassConfig(Settings):
    """A priority jobs may have; higher values are scheduled first."""

    name: DnsLabel = Field(description="Name of the class; on the cluster it is prefixed with primage-.")
    value: int = Field(ge=0, le=1_000_000, description="Higher values go first.")
    default: bool = Field(default=False, description="Whether pods without a class get this one.")
    description: str = Field(default="", description="When to use it, for users.")


class HpcBackendConfig(Settings):
    """An HPC centre that VOs' jobs can run at; its credentials are given later with `primage hpc login`."""

    name: DnsLabel = Field(max_length=40, description="Name jobs use.")
    endpoint: Host = Field(
        max_length=hpc.HOST_BYTES,
        description="Login node: host or host:port (the paper's ENDPOINT).",
    )
    vos: tuple[str, ...] = Field(min_length=1, description="VOs whose jobs may run there, each under an account of its own.")
    partition: Partition = Field(
        default=hpc.Backend.partition,
        max_length=hpc.SLURM_NAME_BYTES,
        description="Slurm partition; empty for its default.",
    )
    account: Account = Field(
        default=hpc.Backend.account,
        max_length=hpc.SLURM_NAME_BYTES,
        description="Slurm account (grant) that is charged; empty for the user's.",
    )
    scratch: Scratch = Field(
        default=hpc.Backend.scratch,
        max_length=hpc.PATH_BYTES,
        description="Full path of the folder there for jobs' files; `~` and variables ($SCRATCH) are expanded there.",
    )
    datalake: Datalake = Field(
        default=hpc.Backend.datalake,
        max_length=hpc.PATH_BYTES,
        description="Where the VO's DATALAKE is mounted there; {vo} stands for the VO. Empty if it is not mounted.",
    )
    slurmrestd: Slurmrestd = Field(
        default=hpc.Backend.slurmrestd,
        max_length=hpc.HOST_BYTES,
        description="URL of Slurm's REST daemon, to send jobs through it and only files over SSH (SFTP); empty for SSH alone.",
    )
    networks: tuple[Cidr, ...] = Field(
        default=(),
        description="Networks of its login node and REST daemon, which the connector may reach; "
        "not needed if both are given as addresses.",
    )
    max_jobs: int = Field(
        default=hpc.Backend.max_jobs,
        ge=1,
        le=hpc.MOST_JOBS,
        description="A VO's jobs in Slurm at most; others wait on the site.",
    )
    poll_seconds: float = Field(
        default=hpc.Backend.poll_s,
        ge=hpc.SHORTEST_POLL_S,
        le=hpc.LONGEST_POLL_S,
        description="Usual time between two queries of its queue while jobs are there; right after a submission, a quarter of it.",
    )

    @model_validator(mode="after")
    def _reachable(self) -> HpcBackendConfig:
        if not self.networks and None in self._addresses():
            raise ValueError("networks: name the centre's networks, since a network policy cannot allow a host by its name")
        return self

    def _addresses(self) -> list[str | None]:
        """The network of each of its hosts alone; None for a host that is given by name."""
        hosts = [self.endpoint, *([self.slurmrestd.removeprefix("https://")] if self.slurmrestd else [])]
        return [own_network(host.partition(":")[0]) for host in hosts]

    @property
    def reached(self) -> list[str]:
        """The networks that the connector may reach."""
        return [*self.networks] or sorted({network for network in self._addresses() if network})

    @property
    def ports(self) -> set[int]:
        """Of its SSH server, and of its REST daemon where it has one."""
        rest = {int(self.slurmrestd.removeprefix("https://").partition(":")[2] or 443)} if self.slurmrestd else set()
        return {int(self.endpoint.partition(":")[2] or 22), *rest}

    def data(self, vo: str) -> dict[str, str]:
        """Its config map in a VO's namespace (the paper's figure 7), for people to read: no program believes it."""
        return {
            "ENDPOINT": self.endpoint,
            "partition": self.partition,
            "account": self.account,
            "scratch": self.scratch,
            "datalake": self.datalake.replace("{vo}", vo),
            "max_jobs": str(self.max_jobs),
            "poll_seconds": f"{self.poll_seconds:g}",
            **({"slurmrestd": self.slurmrestd} if self.slurmrestd else {}),
        }

    def for_connector(self, vo: str) -> hpc.Backend:
        """What a VO's connector is told of it."""
        return hpc.Backend(
            name=self.name,
            endpoint=self.endpoint,
            partition=self.partition,
            account=self.account,
            scratch=self.scratch,
            datalake=self.datalake.replace("{vo}", vo),
            slurmrestd=self.slurmrestd,
            max_jobs=self.max_jobs,
            poll_s=self.poll_seconds,
        )


class HpcConfig(Settings):
    """HPC centres, and the connector that carries jobs to them."""

    image: str = Field(default="primage/hpc-connector:1", description="Image of the connector (images/hpc-connector).")
    backends: tuple[HpcBackendConfig, ...] = Field(default=(), description="HPC centres.")


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
    volumes: VolumesConfig = Field(description="The shared volumes.")
    network: NetworkConfig = Field(default=NetworkConfig(), description="What pods may reach.")
    priority_classes: tuple[PriorityClassConfig, ...] = Field(default=(), description="Priorities jobs may have.")
    hpc: HpcConfig = Field(default=HpcConfig(), description="HPC centres that jobs can run at.")
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
        if sum(c.default for c in self.priority_classes) > 1:
            problems.append("priority_classes: more than one is the default")
        if problems:
            raise ValueError("\n".join(problems))
        return self


def _duplicates(where: str, what: str, values: list[str]) -> list[str]:
    return [
        f"{where}: {what} {value} is given {values.count(value)} times" for value in sorted(set(values)) if values.count(value) > 1
    ]


MODELS = {"site": SiteConfig}
"""Setting by setting, its schema: what `primage validate` checks a stack's file against."""
