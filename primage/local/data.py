"""What of the local site's images and records is built here: a site of one's own may have other servers, by official images."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from primage.local.images.catalogue import NX_27017_REQUIREMENTS, Image, archive_image, indexed_records_image, records_image
from primage.local.toolchain.build import FERRETDB_TOOLS, ToolSet


def data_tools(settings: dict[str, Any]) -> list[ToolSet]:
    """What is built for it.

    Args:
        settings: the site's, as its file has them; what is not whole there the site's program says better.
    """
    return [FERRETDB_TOOLS] if _kind(settings, "clinical_records") == "ferretdb" else []


def data_images(settings: dict[str, Any], repository: Path, libraries: Callable[[Path], Path]) -> list[Image]:
    """The images that it runs, of what has been built.

    Args:
        libraries: a folder with the libraries that a requirements file pins.
    """
    images = [archive_image()] if _kind(settings, "image_archive") == "orthanc" else []
    if _kind(settings, "clinical_records") == "nx-27017":
        images.append(indexed_records_image(repository, libraries(repository / NX_27017_REQUIREMENTS)))
    return images + [records_image(repository, tools.directory) for tools in data_tools(settings)]


def keeps_data(settings: dict[str, Any]) -> bool:
    """Whether any of it is built here."""
    return _kind(settings, "image_archive") == "orthanc" or _kind(settings, "clinical_records") in {"ferretdb", "nx-27017"}


def _kind(settings: dict[str, Any], name: str) -> str:
    found = settings.get(name)
    server = found.get("server") if isinstance(found, dict) else None
    return str(server.get("kind")) if isinstance(server, dict) else ""
