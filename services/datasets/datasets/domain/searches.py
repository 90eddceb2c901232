"""What cases are looked for by: read from an address and typed, so that nothing reaches the records as somebody wrote it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from math import prod

from datasets.domain.cases import Quality, State
from datasets.domain.errors import RefusedError
from datasets.domain.forms import Form, FormField
from datasets.domain.grammar import Number, YesNo
from datasets.domain.pseudonyms import PSEUDONYM

PAGE, LARGEST_PAGE = 50, 500
MOST_WORDS = 200
"""Names and values in one search."""
MOST_IMAGES = 1000
"""Combinations of what images are looked for by."""
FIRST_YEAR, LAST_YEAR = 1900, 2100
_NUMBER = re.compile(r"-?[0-9]{1,12}(\.[0-9]{1,9})?")
_YEAR = re.compile(r"[0-9]{4}")
_WORD = re.compile(r"[A-Z0-9][A-Z0-9_ ]{0,15}")
"""A modality or part of the body: a code string of DICOM."""


@dataclass(frozen=True)
class Among:
    """A field has one of these answers."""

    path: str
    answers: tuple[str | bool, ...]


@dataclass(frozen=True)
class Between:
    """A field's number is not below one, nor above another; None for any."""

    path: str
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Images:
    """A case has a study for which all of this holds; what is empty asks for nothing."""

    modalities: tuple[str, ...] = ()
    parts: tuple[str, ...] = ()
    qualities: tuple[Quality, ...] = ()
    years: tuple[int, ...] = ()

    def __bool__(self) -> bool:
        return self != Images()


@dataclass(frozen=True)
class Search:
    """One search in one VO.

    Attributes:
        states: a case has one of them.
        after: pseudonym after which the page begins.
        most: cases on a page.
    """

    vo: str
    disease: str
    answers: tuple[Among | Between, ...] = ()
    images: Images = field(default_factory=Images)
    states: tuple[State, ...] = (State.COMPLETE,)
    after: str = ""
    most: int = PAGE


def looked_by(search: Search) -> tuple[str, ...]:
    """What a search asks something of: fields, `modality`, `part`, `quality`."""
    images = (("modality", search.images.modalities), ("part", search.images.parts), ("quality", search.images.qualities))
    return (*(one.path for one in search.answers if isinstance(one, Among)), *(name for name, wanted in images if wanted))


def without(search: Search, path: str) -> Search:
    """The same without what it asks of one of these."""
    images = search.images
    cleared = {
        "modality": replace(images, modalities=()),
        "part": replace(images, parts=()),
        "quality": replace(images, qualities=()),
    }.get(path, images)
    return replace(search, answers=tuple(one for one in search.answers if one.path != path), images=cleared)


@dataclass
class _Read:
    """An address's words, taken one after the other."""

    left: dict[str, list[str]]

    def take(self, name: str) -> list[str]:
        return self.left.pop(name, [])

    def one(self, name: str) -> str | None:
        given = self.take(name)
        if len(given) > 1:
            raise RefusedError(422, f"{name} is given more than once")
        return given[0] if given and given[0] else None


def search_of(vo: str, form: Form, words: Iterable[tuple[str, str]], *, drafts: bool = False) -> Search:
    """The search that an address asks for.

    Args:
        words: `staging.stage=M`, `diagnosis.age.from=30`, `modality=MR`, `part`, `quality`, `studied.from=2020`, `state`,
            `after`, `most`; a name again adds an answer.
        drafts: whether who asks may see drafts.

    Raises:
        RefusedError: it asks for what is not there, or not in the right way.
    """
    left: dict[str, list[str]] = {}
    for number, (name, text) in enumerate(words):
        if number >= MOST_WORDS:
            raise RefusedError(413, f"a search has at most {MOST_WORDS} words")
        if text:
            left.setdefault(name, []).append(text)
    read = _Read(left)
    repeated = {section.name for section in form.sections if section.most}
    answers = tuple(
        one
        for each in form.fields.values()
        if each.searchable
        for one in _asked(each, read, several=each.path.partition(".")[0] in repeated)
    )
    search = Search(vo, form.disease, answers, _images(read), _states(read, drafts=drafts), _after(read), _most(read))
    if read.left:
        raise RefusedError(422, f"cases are not searched by {sorted(read.left)[0][:60]!r}")
    return search


def _asked(one: FormField, read: _Read, *, several: bool) -> Iterable[Among | Between]:
    if isinstance(one.about, Number):
        low, high = (_number(f"{one.path}.{end}", read) for end in ("from", "to"))
        if several and None not in (low, high):
            # Each end could hold for another line, and not every server of the records can ask for one that both hold for.
            raise RefusedError(422, f"a case has several {one.path}: give from or to, not both")
        if low is not None or high is not None:
            yield Between(one.path, low, high)
    elif texts := read.take(one.path):
        if isinstance(one.about, YesNo):
            yield Among(one.path, tuple(sorted({_yes(one.path, text) for text in texts})))
        else:
            offered = {option.const for option in one.options}
            if wrong := sorted(set(texts) - offered):
                raise RefusedError(422, f"{one.path} has no answer {wrong[0][:40]!r}")
            yield Among(one.path, tuple(sorted(set(texts))))


def _number(name: str, read: _Read) -> float | None:
    if (text := read.one(name)) is None:
        return None
    if not _NUMBER.fullmatch(text):
        raise RefusedError(422, f"{name} is a number, such as 547 or 0.5")
    return float(text)


def _yes(name: str, text: str) -> bool:
    if text not in {"yes", "no"}:
        raise RefusedError(422, f"{name} is yes or no")
    return text == "yes"


def _images(read: _Read) -> Images:
    qualities = read.take("quality")
    if wrong := sorted(set(qualities) - set(Quality)):
        raise RefusedError(422, f"quality is one of {', '.join(Quality)}, not {wrong[0][:40]!r}")
    images = Images(
        modalities=_words("modality", read),
        parts=_words("part", read),
        qualities=tuple(sorted({Quality(text) for text in qualities})),
        years=_years(read),
    )
    if prod(len(one) or 1 for one in (images.modalities, images.parts, images.qualities, images.years)) > MOST_IMAGES:
        raise RefusedError(422, f"at most {MOST_IMAGES} combinations of modality, part, quality and year are looked for at a time")
    return images


def _words(name: str, read: _Read) -> tuple[str, ...]:
    texts = {text.upper() for text in read.take(name)}
    if wrong := sorted(text for text in texts if not _WORD.fullmatch(text)):
        raise RefusedError(422, f"{name} is a code of DICOM, such as MR or ABDOMEN, not {wrong[0][:40]!r}")
    return tuple(sorted(texts))


def _years(read: _Read) -> tuple[int, ...]:
    ends = [read.one(name) for name in ("studied.from", "studied.to")]
    if not any(ends):
        return ()
    for text in ends:
        if text and not (_YEAR.fullmatch(text) and FIRST_YEAR <= int(text) <= LAST_YEAR):
            raise RefusedError(422, f"studied.from and studied.to are years from {FIRST_YEAR} to {LAST_YEAR}")
    first, last = (int(text) if text else end for text, end in zip(ends, (FIRST_YEAR, LAST_YEAR), strict=True))
    if first > last:
        raise RefusedError(422, "studied.from is not after studied.to")
    return tuple(range(first, last + 1))


def _states(read: _Read, *, drafts: bool) -> tuple[State, ...]:
    allowed = {State.COMPLETE, State.DRAFT} if drafts else {State.COMPLETE}
    texts = set(read.take("state"))
    if wrong := sorted(texts - allowed):
        raise RefusedError(422, f"state is one of {', '.join(sorted(allowed))}, not {wrong[0][:40]!r}")
    return tuple(sorted(State(text) for text in texts)) or (State.COMPLETE,)


def _after(read: _Read) -> str:
    if (text := read.one("after")) is not None and not PSEUDONYM.fullmatch(text):
        raise RefusedError(422, "after is what the page before said comes next")
    return text or ""


def _most(read: _Read) -> int:
    if (text := read.one("most")) is None:
        return PAGE
    if not text.isascii() or not text.isdigit() or len(text) > 4 or not 1 <= int(text) <= LARGEST_PAGE:
        raise RefusedError(422, f"most is 1 to {LARGEST_PAGE}")
    return int(text)
