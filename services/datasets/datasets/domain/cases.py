"""Cases: somebody under a pseudonym, what a form says of them, and which images of theirs there are."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date
from enum import StrEnum
from typing import Any

from datasets.domain.errors import RefusedError
from datasets.domain.forms import Form, Values
from datasets.domain.versions import Forms

MOST_MODALITIES, MOST_PARTS = 16, 32
"""Of a study: it is found by each of one with each of the other."""


class State(StrEnum):
    """How far a case is."""

    DRAFT = "draft"
    """Some answers are still to come; nobody finds it but who enters cases."""
    COMPLETE = "complete"
    WITHDRAWN = "withdrawn"
    """Consent has ended: nobody finds it, and no dataset takes it in any more."""


class Quality(StrEnum):
    """How good a study's images are, as somebody who has seen them says."""

    GOOD = "good"
    LIMITED = "limited"
    POOR = "poor"
    UNRATED = "unrated"


@dataclass(frozen=True)
class Study:
    """Images of one visit, after de-identification.

    Attributes:
        uid: of the study, as the archive has it.
        parts: of the body, as DICOM spells them.
        day: when, shifted as all days of the patient are; None where the images do not say.
        instances: UIDs of the images.
    """

    uid: str
    modalities: tuple[str, ...]
    parts: tuple[str, ...]
    day: date | None
    instances: tuple[str, ...]
    quality: Quality = Quality.UNRATED

    def with_another(self, other: Study) -> Study:
        """The same with what else has arrived of it.

        Raises:
            RefusedError: it would be of more modalities or parts than one study is.
        """
        modalities, parts = {*self.modalities, *other.modalities}, {*self.parts, *other.parts}
        if len(modalities) > MOST_MODALITIES or len(parts) > MOST_PARTS:
            raise RefusedError(
                422, f"one study has images of at most {MOST_MODALITIES} modalities and {MOST_PARTS} parts of the body"
            )
        return replace(
            self,
            modalities=tuple(sorted(modalities)),
            parts=tuple(sorted(parts)),
            day=min((day for day in (self.day, other.day) if day), default=None),
            instances=tuple(sorted({*self.instances, *other.instances})),
        )


@dataclass(frozen=True)
class Case:
    """One.

    Attributes:
        version: of the form that the answers were given to.
        answers: as they were given.
        revision: grows with each change; 0 for a case that is not kept yet.
    """

    vo: str
    pseudonym: str
    disease: str
    version: int
    state: State
    answers: Values
    studies: tuple[Study, ...] = ()
    revision: int = 0

    def with_answers(self, form: Form, answers: Values, *, complete: bool) -> Case:
        """The same with other answers.

        Raises:
            RefusedError: they are wrong, or some are missing from a case that is said to be complete; or it is withdrawn.
        """
        if self.state is State.WITHDRAWN:
            raise RefusedError(409, "this case is withdrawn: nothing is written into it any more")
        wrong = form.wrong(answers) if complete else form.wrong_in_draft(answers)
        if wrong:
            raise RefusedError(422, f"{wrong[0].path or 'the form'}: {wrong[0].says}")
        return replace(self, version=form.version, answers=answers, state=State.COMPLETE if complete else State.DRAFT)

    def with_study(self, study: Study) -> Case:
        """The same with images more.

        Raises:
            RefusedError: their study would be of more modalities or parts than one is.
        """
        others = [one for one in self.studies if one.uid != study.uid]
        mine = next((one for one in self.studies if one.uid == study.uid), None)
        return replace(self, studies=tuple(sorted([*others, mine.with_another(study) if mine else study], key=lambda one: one.uid)))

    def withdrawn(self) -> Case:
        """The same after consent has ended: of the answers nothing is kept, nor which images there were."""
        return replace(self, state=State.WITHDRAWN, answers={}, studies=())

    def searched(self, forms: Forms) -> Values:
        """The answers that the case is found by: as the newest form asks for them, and for lines all that are in any of them."""
        form = forms.newest(self.disease)
        read = forms.read(self.disease, self.version, self.answers)
        found: Values = {}
        for section in form.sections:
            given = read.get(section.name)
            lines = given if isinstance(given, list) else [given or {}]
            for one in section.fields:
                answers = [line[one.name] for line in lines if one.name in line] if one.searchable else []
                if answers:
                    found.setdefault(section.name, {})[one.name] = _distinct(answers) if section.most else answers[0]
        return found


def _distinct(answers: list[Any]) -> list[Any]:
    """Each answer once, in their order, whether a field has one or several."""
    flat = [one for answer in answers for one in (answer if isinstance(answer, list) else [answer])]
    return list(dict.fromkeys(flat))
