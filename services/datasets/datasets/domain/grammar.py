"""What a form's file may say: a small part of JSON Schema 2020-12, so that each field can be shown, checked and searched by.

https://json-schema.org/draft/2020-12/schema. A file that says more is refused: no `$ref` (nothing is fetched for a form), no
`pattern` (what takes time to match), no free nesting. What starts with `x-` is ours: where a field comes from, and its unit.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

MOST_BYTES = 256 * 1024
"""Of a form's file."""
MOST_FIELDS = 55
"""That are searched by in one form: a collection of MongoDB has at most 64 indexes, of which the case itself needs a few."""
MOST_LINES, MOST_OPTIONS, LONGEST_TEXT = 20, 60, 500

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,39}$")]
"""Of a section or field. No dot and no dollar: it becomes part of a path in the records."""
Text = Annotated[str, Field(min_length=1, max_length=1000)]
Bound = Annotated[float, Field(ge=-1e9, le=1e9)]


class Said(BaseModel):
    """A part of a form's file, of which every word is known."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, allow_inf_nan=False)


class CodeSystem(StrEnum):
    """Where a code is from."""

    NCIT = "http://ncicb.nci.nih.gov/xml/owl/EVS/Thesaurus.owl"
    SNOMED = "http://snomed.info/sct"
    LOINC = "http://loinc.org"
    ICD_O_3 = "http://terminology.hl7.org/CodeSystem/icd-o-3"
    PCDC = "https://docs.pedscommons.org/"
    """The Pediatric Cancer Data Commons' dictionary of neuroblastoma (INRG), by a variable's name."""


class Code(Said):
    """What a field or an option is in a public standard.

    Attributes:
        source: where this was read.
    """

    system: CodeSystem
    code: Annotated[str, Field(pattern=r"^[A-Za-z0-9._/-]{1,60}$")]
    display: Text
    source: Text


class Option(Said):
    """One answer to choose."""

    const: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.+-]{0,39}$")]
    title: Text
    codes: tuple[Code, ...] = Field(default=(), alias="x-codes")


class Titled(Said):
    """What a person reads of a field."""

    title: Text
    description: Text | None = None
    codes: tuple[Code, ...] = Field(default=(), alias="x-codes")


class Choice(Titled):
    """One of several answers."""

    type: Literal["string"]
    one_of: tuple[Option, ...] = Field(alias="oneOf", min_length=2, max_length=MOST_OPTIONS)

    @property
    def options(self) -> tuple[Option, ...]:
        """The answers to choose from."""
        return self.one_of


class OptionsOfMany(Said):
    """The answers that several may be chosen from."""

    one_of: tuple[Option, ...] = Field(alias="oneOf", min_length=2, max_length=MOST_OPTIONS)


class Many(Titled):
    """Any of several answers."""

    type: Literal["array"]
    unique: Literal[True] = Field(alias="uniqueItems")
    items: OptionsOfMany

    @property
    def options(self) -> tuple[Option, ...]:
        """The answers to choose from."""
        return self.items.one_of


class Number(Titled):
    """A number between two others, in a unit."""

    type: Literal["number", "integer"]
    minimum: Bound
    maximum: Bound
    unit: Text | None = Field(default=None, alias="x-unit")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.minimum >= self.maximum:
            raise ValueError("minimum must be below maximum")
        return self


class YesNo(Titled):
    """Yes or no; without an answer it is neither."""

    type: Literal["boolean"]


class Line(Titled):
    """A line of text; cases are not searched by it, and datasets do not have it."""

    type: Literal["string"]
    most: int = Field(alias="maxLength", ge=1, le=LONGEST_TEXT)


AnyField = Choice | Many | Number | YesNo | Line


class Fields(Said):
    """The fields of a section."""

    type: Literal["object"]
    others: Literal[False] = Field(alias="additionalProperties")
    required: tuple[Name, ...] = ()
    properties: dict[Name, AnyField] = Field(min_length=1)

    @model_validator(mode="after")
    def _known(self) -> Self:
        if unknown := set(self.required) - set(self.properties):
            raise ValueError(f"required names what is not there: {', '.join(sorted(unknown))}")
        return self


class Once(Fields):
    """A section that is filled in once."""

    title: Text
    description: Text | None = None


class Repeated(Said):
    """A section that is filled in several times, as treatments are."""

    title: Text
    description: Text | None = None
    type: Literal["array"]
    most: int = Field(alias="maxItems", ge=1, le=MOST_LINES)
    items: Fields


class Rule(Said):
    """What one answer asks of another.

    Attributes:
        at: the field that it is said at, with a dot: `staging.idrf`.
        says: what is wrong where it does not hold, and what to do.
    """

    when: dict[str, Any] = Field(alias="if")
    then: dict[str, Any]
    at: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*\.[a-z][a-z0-9_]*$", alias="x-at")]
    says: Text = Field(alias="x-says")

    @model_validator(mode="after")
    def _plain(self) -> Self:
        _require_plain(self.when)
        _require_plain(self.then)
        return self


class Earlier(Said):
    """How answers to the version before are read with this one.

    Attributes:
        renamed: a field's path then, and its path now.
        dropped: paths of fields that this version does not ask for any more.
        recoded: by a field's path now, an answer then and the same now.
    """

    renamed: dict[str, str] = {}
    dropped: tuple[str, ...] = ()
    recoded: dict[str, dict[str, str]] = {}


class FormFile(Said):
    """The file as a whole."""

    dialect: Literal["https://json-schema.org/draft/2020-12/schema"] = Field(alias="$schema")
    id: Annotated[str, Field(pattern=r"^urn:primage:eform:[a-z][a-z0-9-]{0,30}:[1-9][0-9]{0,3}$", alias="$id")]
    comment: str = Field(default="", max_length=5000, alias="$comment")
    title: Text
    description: Text
    type: Literal["object"]
    others: Literal[False] = Field(alias="additionalProperties")
    required: tuple[Name, ...] = ()
    properties: dict[Name, Once | Repeated] = Field(min_length=1)
    rules: tuple[Rule, ...] = Field(default=(), max_length=50, alias="allOf")
    codes: tuple[Code, ...] = Field(default=(), alias="x-codes")
    earlier: Earlier | None = Field(default=None, alias="x-from-the-version-before")

    @property
    def disease(self) -> str:
        """What the form is of."""
        return self.id.split(":")[3]

    @property
    def version(self) -> int:
        """Which of the forms of the disease it is."""
        return int(self.id.split(":")[4])


RULE_WORDS = frozenset(
    {
        "properties",
        "required",
        "const",
        "enum",
        "minItems",
        "maxItems",
        "minimum",
        "maximum",
        "exclusiveMinimum",
        "exclusiveMaximum",
        "contains",
        "not",
        "type",
    }
)
"""Of JSON Schema, in a rule: none of them fetches anything or takes long."""
DEEPEST_RULE = 8


def _require_plain(schema: object, depth: int = 0) -> None:
    """Raise ValueError unless all words of a rule's schema are of RULE_WORDS."""
    if not isinstance(schema, dict) or depth > DEEPEST_RULE:
        raise ValueError("a rule's schema is an object, and not nested deeply")
    for word, said in schema.items():
        if word not in RULE_WORDS:
            raise ValueError(f"a rule may not use {word!r}")
        if word == "properties":
            if not isinstance(said, dict):
                raise ValueError("properties has names with schemas")
            for below in said.values():
                _require_plain(below, depth + 1)
        elif word in {"contains", "not"}:
            _require_plain(said, depth + 1)
