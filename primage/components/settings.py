"""Settings of a program, read once and checked before anything is declared."""

from __future__ import annotations

from typing import TypeVar

import pulumi
from pydantic import ValidationError

from primage.contract.outputs import Settings
from primage.errors import ExitCode, PrimageError
from primage.projects.validation import sentences

Model = TypeVar("Model", bound=Settings)


def load_settings(key: str, model: type[Model]) -> Model:
    """The value of `<project>:<key>` as its model.

    Raises:
        PrimageError: every field that is wrong, with its path.
    """
    raw = pulumi.Config().get_object(key)
    where = f"Pulumi.{pulumi.get_stack().partition('--')[0]}.yaml"
    try:
        return model.model_validate({} if raw is None else raw)
    except ValidationError as error:
        problems = "\n  ".join(sentences(error, f"{pulumi.get_project()}:{key}", raw))
        raise PrimageError(
            f"the settings of stack {pulumi.get_stack()} are refused:\n  {problems}\n",
            where=where,
            todo="correct these fields",
            code=ExitCode.INVALID,
        ) from error
