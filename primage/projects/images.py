"""The file of references that a site's settings name: written when its images are pushed."""

from __future__ import annotations

from primage.contract.images import Images, parse_references
from primage.errors import ExitCode, PrimageError
from primage.paths import named_file


def images_of(registry: str, references: str) -> Images:
    """What short names stand for. Without the file, as before the first push, they stand for tags in the registry.

    Args:
        references: path of the file, relative to the repository; empty for none.

    Raises:
        PrimageError: the file is not one of references.
    """
    path = named_file(references) if references else None
    if path is None or not path.exists():
        return Images(registry=registry)
    try:
        return Images(registry=registry, pinned=parse_references(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise PrimageError(
            f"the file of image references cannot be read: {error}",
            where=str(path),
            todo="write it again: on the local site `primage site local up` does; elsewhere push the images again",
            code=ExitCode.INVALID,
        ) from error
