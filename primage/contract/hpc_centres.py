"""HPC centres as a site's settings describe them."""

from __future__ import annotations

from pydantic import Field, model_validator

from primage.contract import hpc
from primage.contract.https import place_of
from primage.contract.networks import Cidr, own_network
from primage.contract.outputs import Settings
from primage.contract.spelling import Account, Datalake, DnsLabel, Host, Partition, Scratch, Slurmrestd


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
        if not self.networks and self.by_name:
            raise ValueError("networks: name the centre's networks, since a network policy cannot allow a host by its name")
        return self

    def _addresses(self) -> list[str | None]:
        """The network of each of its hosts alone; None for a host that is given by name."""
        hosts = [self.endpoint.partition(":")[0], *([place_of(self.slurmrestd).host] if self.slurmrestd else [])]
        return [own_network(host) for host in hosts]

    @property
    def by_name(self) -> bool:
        """Whether somebody has to be asked for the address of one of its hosts."""
        return None in self._addresses()

    @property
    def reached(self) -> list[str]:
        """The networks that the connector may reach."""
        return [*self.networks] or sorted({network for network in self._addresses() if network})

    @property
    def ports(self) -> set[int]:
        """Of its SSH server, and of its REST daemon where it has one."""
        rest = {place_of(self.slurmrestd).port} if self.slurmrestd else set()
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
