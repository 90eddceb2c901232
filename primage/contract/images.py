"""Images by short names: what `primage/base:1` stands for on a site.

A program names an image of this project by a short name. A site says which registry has it, and in a file of references, written
when images are pushed, by which digest. References to other registries stand for themselves.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

OWN = "primage/"
"""What the names of this project's images begin with."""
ON_DEMAND = ("desktop",)
"""What a site's registry has only where it was asked for, being large, by the names after OWN."""
REGISTRY = r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:[0-9]{1,5})?(/[a-z0-9]+([._-]+[a-z0-9]+)*)*"
_PATH = r"[a-z0-9]+([._-]+[a-z0-9]+)*(/[a-z0-9]+([._-]+[a-z0-9]+)*)*"
_PINNED = rf"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:[0-9]{{1,5}})?/{_PATH}@sha256:[0-9a-f]{{64}}$"
MOST_BYTES = 1_000_000
"""A file of references is far smaller."""

Name = Annotated[str, Field(pattern=rf"^{_PATH}(:[A-Za-z0-9_][A-Za-z0-9_.-]{{0,127}})?$", max_length=300)]
Pinned = Annotated[str, Field(pattern=_PINNED, max_length=500)]
_REFERENCES = TypeAdapter(dict[Name, Pinned])


class UnknownImageError(ValueError):
    """A short name that stands for nothing on the site."""


class Images(BaseModel):
    """What short names stand for on a site.

    Attributes:
        registry: that has this project's images; empty where there is none.
        pinned: references by digest, by short name.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    registry: str = ""
    pinned: Mapping[Name, Pinned] = {}

    def resolve(self, image: str) -> str:
        """The reference that a pod is given: by digest where one is known.

        Raises:
            UnknownImageError: an image of this project, and the site has no registry.
        """
        if image in self.pinned:
            return self.pinned[image]
        if not image.startswith(OWN):
            return image
        if not self.registry:
            raise UnknownImageError(f"the site does not say which registry has image {image}")
        return f"{self.registry}/{image}"


def parse_references(text: str) -> dict[str, str]:
    """A file of references: a JSON object of names, each with the reference by digest that it stands for.

    Raises:
        ValueError: anything else, saying which entry is wrong.
    """
    if len(text) > MOST_BYTES:
        raise ValueError(f"it is larger than {MOST_BYTES} bytes")
    try:
        return _REFERENCES.validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ValueError(f"{where}: {first['msg']}" if where else first["msg"]) from error


def in_pods(value: object, images: Images) -> object:
    """An object's fields with every container's image resolved, at whatever depth its pods are described."""
    if isinstance(value, list):
        return [in_pods(item, images) for item in value]
    if not isinstance(value, dict):
        return value
    return {key: _containers(item, images) if key in CONTAINERS else in_pods(item, images) for key, item in value.items()}


CONTAINERS = ("containers", "initContainers", "ephemeralContainers")


def _containers(value: object, images: Images) -> object:
    if not isinstance(value, list):
        return in_pods(value, images)
    return [
        {**item, "image": images.resolve(item["image"])} if isinstance(item, dict) and isinstance(item.get("image"), str) else item
        for item in value
    ]
