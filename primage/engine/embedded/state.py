"""What a stack owns, as data of a strict schema: nothing that is executed, or that says where to connect.

Whoever may write in a namespace may write its runs' state, so reading one believes nothing (see primage/engine/ownership.py). No
secret is ever in it: values marked secret are masked, and a secret output cannot be read back.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, JsonValue, StrictBool, ValidationError, field_validator, model_validator
from pydantic_core import PydanticCustomError

from primage.clients.cluster import Ref
from primage.components.dynamic_providers import PREFIX, PROVIDERS
from primage.errors import PrimageError

CONNECTION = ("kubeconfig", "context")
"""Inputs of dynamic providers that are never kept: a site's own settings say how its cluster is reached."""
UNKNOWN_PROVIDER = "unknown_provider"
"""The kind of complaint about a type of resource that this version does not make."""


class Status(StrEnum):
    """How far an object got."""

    APPLYING = "applying"
    """Sent, or about to be; it may or may not be there."""
    READY = "ready"
    FAILED = "failed"
    DELETING = "deleting"


_PRINTABLE = r"^[^\x00-\x1f\x7f-\x9f]*$"
Text = Annotated[str, Field(max_length=1024, pattern=_PRINTABLE)]
Number = Annotated[int, Field(strict=True, ge=0, le=1_000_000)]


class Part(BaseModel):
    """Part of a state; unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class _Address(Part):
    """A `Ref` as it must look to be believed: every part is used in the path of a request."""

    api_version: str = Field(max_length=260, pattern=r"^([a-z0-9][a-z0-9.-]*/)?v[0-9][a-z0-9]*$")
    kind: str = Field(max_length=63, pattern=r"^[A-Z][A-Za-z0-9]*$")
    name: str = Field(max_length=253, pattern=r"^[A-Za-z0-9]([A-Za-z0-9._:-]*[A-Za-z0-9])?$")
    namespace: str = Field(default="", max_length=63, pattern=r"^([a-z0-9]([a-z0-9-]*[a-z0-9])?)?$")


def checked_ref(parts: dict[str, Any]) -> Ref:
    """An address that may be used in a request.

    Raises:
        ValueError: it looks like none.
    """
    return Ref(**_Address.model_validate(parts).model_dump())


class Dynamic(Part):
    """What a dynamic provider made; the provider itself is found by the resource's type.

    Attributes:
        id: as the provider gave it; empty while it is not made.
        inputs, outputs: its properties, secrets masked, without the way to the cluster.
    """

    id: Text = ""
    inputs: dict[str, JsonValue] = {}
    outputs: dict[str, JsonValue] = {}

    @field_validator("inputs", "outputs")
    @classmethod
    def _plain(cls, given: dict[str, JsonValue]) -> dict[str, JsonValue]:
        """Without the way to the cluster, and without what Pulumi keeps beside a provider's own properties: code."""
        return {key: value for key, value in given.items() if key not in CONNECTION and not key.startswith("__")}


class Entry(Part):
    """One resource a stack owns.

    Attributes:
        order: position in dependency order; deletion goes from the highest down.
        level: distance from resources without dependencies; what shares a level may be deleted together.
        digest: of the object without its secrets; tells whether a Job that finished and was cleaned up is the same.
        dynamic: for a resource of a dynamic provider, in place of `ref`.
    """

    urn: Text
    type: Text
    name: Text
    status: Status
    order: Number
    level: Number
    ref: Ref | None = None
    digest: str = Field(default="", pattern=r"^([0-9a-f]{64})?$")
    protect: StrictBool = False
    retain: StrictBool = False
    dynamic: Dynamic | None = None

    @field_validator("ref", mode="before")
    @classmethod
    def _address(cls, given: Any) -> Ref | None:
        if given is None or isinstance(given, Ref):
            return given
        return checked_ref(given)

    @model_validator(mode="after")
    def _one_kind(self) -> Entry:
        if (self.ref is None) == (self.dynamic is None):
            raise ValueError("it is to be an object of the cluster or a dynamic provider's, and not both")
        if self.dynamic is not None and self.type not in PROVIDERS:
            raise PydanticCustomError(UNKNOWN_PROVIDER, "no dynamic provider is known for {type}", {"type": self.type or "no type"})
        if self.ref is not None and self.type.startswith(PREFIX):
            raise ValueError(f"{self.type} is not an object of the cluster")
        return self

    @property
    def label(self) -> str:
        """What a person calls it."""
        return str(self.ref) if self.ref else f"{self.type} {self.name}"


@dataclass
class StackState:
    """All a stack owns, and its outputs."""

    stack: str
    resources: dict[str, Entry] = field(default_factory=dict)
    outputs: dict[str, Any] = field(default_factory=dict)
    secret_outputs: list[str] = field(default_factory=list)
    """Names of outputs whose values are not kept."""


def entry_of(**parts: Any) -> Entry:
    """An entry for what a program declares.

    Raises:
        PrimageError: it could not be read back.
    """
    try:
        return Entry(**parts)
    except ValidationError as error:
        raise PrimageError(
            f"{parts['type']} {parts['name']} cannot be kept in a state: {fault(error)}", todo="change it in the program"
        ) from error


def of_another_version(error: Exception) -> bool:
    """Whether what is wrong is that the state has more than this version knows."""
    if not isinstance(error, ValidationError):
        return False
    kinds = {item["type"] for item in error.errors(include_url=False, include_input=False, include_context=False)}
    return bool(kinds & {UNKNOWN_PROVIDER, "extra_forbidden"})


def fault(error: Exception) -> str:
    """One line of what is wrong, short whatever was given."""
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        return f"{place[-200:]}: {first['msg'].removeprefix('Value error, ')[:300]}"
    return f"{type(error).__name__}: {str(error)[:300]}" if not isinstance(error, ValueError) else str(error)[:300]
