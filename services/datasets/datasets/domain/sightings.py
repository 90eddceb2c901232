"""What of a case's images is looked for, as words of which one index finds any, for all of it in one and the same study.

A study is seen as each of its modalities, or any; each of its parts of the body, or any; its quality, or any; and in its year, or
any. Whoever looks for some of these gives the others as any. Years are enough: days are shifted by up to ten of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import product

from datasets.domain.answers import texts
from datasets.domain.cases import Case, Study
from datasets.domain.searches import Images
from datasets.domain.versions import Forms

ANY = "*"
_WORD = re.compile(r"[A-Z0-9][A-Z0-9_ ]{0,15}")


def code_of(text: str) -> str:
    """A code of DICOM as it is looked for; empty where it is none."""
    plain = text.strip().upper()
    return plain if _WORD.fullmatch(plain) else ""


def sightings(study: Study) -> Iterator[str]:
    """All that a study is seen as."""
    years = (ANY, str(study.day.year)) if study.day else (ANY,)
    for words in product((ANY, *study.modalities), (ANY, *study.parts), (ANY, study.quality.value), years):
        yield "|".join(words)


def facts(case: Case, forms: Forms) -> list[str]:
    """All that a case is counted by, each once: `staging.stage=M`, `modality=MR`."""
    found = case.searched(forms)
    fields = [one for one in forms.newest(case.disease).fields.values() if one.options or one.kind == "yes-no"]
    answers = {one.path: found.get(one.path.partition(".")[0], {}).get(one.name) for one in fields}
    said = [f"{path}={text}" for path, answer in answers.items() if answer is not None for text in texts(answer)]
    images = [
        f"{what}={one}"
        for study in case.studies
        for what, those in (("modality", study.modalities), ("part", study.parts), ("quality", (study.quality.value,)))
        for one in those
    ]
    return sorted({*said, *images})


def looked_for(images: Images) -> Iterator[str]:
    """What is looked for; a study is seen as one of these."""
    years = [str(year) for year in images.years]
    for words in product(images.modalities or (ANY,), images.parts or (ANY,), images.qualities or (ANY,), years or (ANY,)):
        yield "|".join(words)
