"""The site contract: what a site's stack outputs and apps rely on, and the base of every settings model.

Exported under the one output name `site`, so that the whole of it is typed on both sides (tests/unit/test_programs.py).
"""

from __future__ import annotations

import re
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from primage.contract.accounts import VO_UID
from primage.contract.addresses import Addresses
from primage.contract.images import Images
from primage.contract.quantities import InvalidQuantityError, parse_quantity
from primage.contract.spelling import ApiServer

PLACEHOLDER = re.compile(
    r"<[A-Za-z_](?:[^<>]*[^<> ])?>|#[A-Za-z_ ]+#|CHANGE[-_ ]?ME|REPLACE[-_ ]?ME|EDIT[-_ ]?ME|\bTODO\b", re.IGNORECASE
)


class Settings(BaseModel):
    """Base of what people write in stack files: frozen, no unknown keys, no placeholder left unedited.

    Attributes:
        PROGRAMS: fields with a program's text, in which nothing is a placeholder: `sort <a >b`.
    """

    PROGRAMS: ClassVar[frozenset[str]] = frozenset()
    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=False)

    @model_validator(mode="before")
    @classmethod
    def _no_placeholder(cls, data: Any) -> Any:
        if isinstance(data, dict):
            for key, value in data.items():
                if isinstance(value, str) and key not in cls.PROGRAMS and PLACEHOLDER.search(value):
                    raise ValueError(f"{key} still holds the placeholder {value!r}; write the real value")
        return data


def _quantity(text: str) -> str:
    try:
        parse_quantity(text)
    except InvalidQuantityError as error:
        raise ValueError(str(error)) from error
    return text


def _number_as_text(value: Any) -> Any:
    """A plain number is a quantity too: `cpu: 2` in a file, `job.cpu=2` on the command line."""
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


Quantity = Annotated[str, BeforeValidator(_number_as_text), AfterValidator(_quantity), Field(examples=["2", "500m", "4Gi"])]
"""An amount in Kubernetes' notation."""


def _more_than_nothing(text: str) -> str:
    if not parse_quantity(text):
        raise ValueError("must be more than 0")
    return text


SomeQuantity = Annotated[Quantity, AfterValidator(_more_than_nothing)]
"""An amount of what a container gets. Kubernetes takes 0 for no limit, and counts it as nothing of a quota."""


class ClusterConfig(Settings):
    """How operators reach the site's Kubernetes API."""

    kubeconfig: str = Field(default="", description="Path of the kubeconfig file; empty for KUBECONFIG or ~/.kube/config.")
    context: str = Field(default="", description="Context in that file; empty for its current one.")
    server: ApiServer = Field(default="", description="URL of the API server, for those who log in as members.")
    authority: str = Field(
        default="",
        max_length=1024,
        description="File with the API server's certificate authority, PEM, relative to the repository; empty: the usual ones.",
    )


class UserOutputs(BaseModel):
    """What a member of a VO has on a site; backends, group and shared folder are the VO's.

    Attributes:
        namespace: where the member's jobs run.
        uid: POSIX user they run as, who owns the private folder.
        identity: as the identity provider has it; empty where nobody has said.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    namespace: str
    uid: int
    identity: str = ""


class VoOutputs(BaseModel):
    """What a VO has on a site.

    Attributes:
        namespace: where the VO's jobs run.
        gid: POSIX group that owns the VO's folders on the shared file system.
        backends: names of the HPC backends its jobs may be carried to.
        uid: POSIX user the jobs of the VO's own namespace run as.
        users: its members, by identity (`name@domain.tld`).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    namespace: str
    gid: int
    backends: tuple[str, ...] = ()
    uid: int = VO_UID
    users: dict[str, UserOutputs] = {}


class HpcOutputs(BaseModel):
    """Where an HPC backend is: what credentials are tried at.

    Attributes:
        endpoint: host or host:port of its login node.
        slurmrestd: URL of its REST daemon; empty where it has none.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    endpoint: str
    slurmrestd: str = ""


class GatewayOutputs(BaseModel, Addresses):
    """Where members' sessions open in a browser, after a login.

    Attributes:
        domain, port: of their addresses.
        proxy_image: of the login proxy before each session.
        own_authority: whether the issuer of logins has a certificate that the usual authorities do not vouch for; the one that does
            is then in the config map of every tenant.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    domain: str
    port: int
    proxy_image: str
    own_authority: bool


class SiteOutputs(BaseModel):
    """What apps read of a site through a StackReference.

    Attributes:
        site: the site's name.
        kubeconfig: path of the kubeconfig the site's operators use; empty for the usual places.
        context: context in it, empty for its current one.
        mount_point: where DATALAKE and HOME are mounted in jobs (MOUNT_POINT).
        vos: by VO name.
        hpc: HPC backends, by name.
        images: what short names of images stand for.
        login: issuer of the tokens that people log in with; empty where nobody does.
        portal: where members open the site's web pages; empty where it has none.
        gateway: where members' sessions open; None where `primage open` alone opens them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    site: str
    kubeconfig: str
    context: str
    mount_point: str
    vos: dict[str, VoOutputs]
    hpc: dict[str, HpcOutputs] = {}
    login: str = ""
    portal: str = ""
    gateway: GatewayOutputs | None = None
    images: Images = Images()
