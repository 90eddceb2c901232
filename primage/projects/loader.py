"""Reading YAML: the one strict way, for every file of a project and for values on the command line."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import yaml

from primage.errors import ExitCode, PrimageError


def read_yaml(path: Path) -> Any:
    """A file's one document.

    Raises:
        PrimageError: it is not UTF-8, not YAML, or gives a key twice.
    """
    try:
        return load_yaml(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise PrimageError(
            f"not valid YAML: {' '.join(str(error).split())}",
            where=str(path),
            todo="correct the line it names",
            code=ExitCode.INVALID,
        ) from error
    except UnicodeDecodeError as error:
        raise PrimageError("not valid UTF-8", where=str(path), todo="save it as UTF-8", code=ExitCode.INVALID) from error


def load_yaml(text: str) -> Any:
    """A text's one document; raises yaml.YAMLError."""
    return yaml.load(text, Loader=_strict_loader())  # noqa: S506  # a safe loader, see below


@cache
def _strict_loader() -> Any:
    """YAML's safe loader, in C where there is one, refusing a key given twice (YAML 1.2, 3.2.1.3)."""
    base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

    class Strict(base):  # type: ignore[misc]  # the base is chosen when this runs
        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            seen: set[Any] = set()
            for key_node, _ in node.value:
                key = self.construct_object(key_node, deep=True)
                if isinstance(key, str | int) and key in seen:
                    raise yaml.constructor.ConstructorError(None, None, f"key {key!r} is given twice", key_node.start_mark)
                seen.add(key if isinstance(key, str | int) else str(key))
            return super().construct_mapping(node, deep)

    return Strict
