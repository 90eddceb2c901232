"""The forms' files, as the package brings them."""

from __future__ import annotations

from pathlib import Path

from datasets.domain.errors import FormError
from datasets.domain.forms import form_of
from datasets.domain.versions import Forms

FOLDER = Path(__file__).parent.parent / "eforms"


def read_forms(folder: Path = FOLDER) -> Forms:
    """All of a folder: DISEASE/VERSION.json.

    Raises:
        FormError: a file is not a form, or does not hold the form that its name says.
    """
    forms = []
    for file in sorted(folder.glob("*/*.json")):
        form = form_of(file.read_bytes(), str(file.relative_to(folder)))
        if (form.disease, str(form.version)) != (file.parent.name, file.stem):
            raise FormError(f"{file.relative_to(folder)} holds the form {form.disease} {form.version}: rename one of them")
        forms.append(form)
    return Forms(forms)
