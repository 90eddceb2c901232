"""E-forms: what a form's file may say, what is wrong with answers, and old answers read with new versions."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from eform_values import values_of
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import _keywords

from datasets.clients.eforms import FOLDER, read_forms
from datasets.domain.answers import answered, written
from datasets.domain.errors import FormError, RefusedError
from datasets.domain.forms import form_of
from datasets.domain.grammar import MOST_BYTES
from datasets.domain.versions import Forms

FORMS = read_forms()
NEUROBLASTOMA = FORMS.newest("neuroblastoma")
COMPLETE: dict[str, Any] = {
    "patient": {"sex": "female"},
    "diagnosis": {"age": 400, "histology": "neuroblastoma"},
    "staging": {"stage": "L2", "idrf": ["dumbbell"]},
    "outcome": {"vital_status": "alive"},
}
QUICK = settings(max_examples=40, deadline=None)


def small(version: int = 1, **more: Any) -> dict[str, Any]:
    """A form's file."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:primage:eform:small:{version}",
        "title": "Small",
        "description": "A small one.",
        "type": "object",
        "additionalProperties": False,
        "required": ["a"],
        "properties": {
            "a": section(one={"title": "One", "type": "integer", "minimum": 0, "maximum": 9}),
            "b": {"title": "B", "type": "array", "maxItems": 3, "items": section(kind=choice("x", "y"), untitled=True)},
        },
        **more,
    }


def section(*, untitled: bool = False, **fields: Any) -> dict[str, Any]:
    made = {"type": "object", "additionalProperties": False, "properties": fields}
    return made if untitled else {"title": "A", **made}


def choice(*answers: str) -> dict[str, Any]:
    return {"title": "Kind", "type": "string", "oneOf": [{"const": one, "title": one} for one in answers]}


def form(**said: Any) -> Any:
    return form_of(json.dumps(small(**said)), "small")


@pytest.mark.parametrize("disease", ["breast-idc", "dipg", "neuroblastoma"])
def test_each_disease_has_a_form_whose_coded_fields_say_where_their_codes_are_from(disease: str) -> None:
    made = FORMS.newest(disease)
    codes = [code for one in made.fields.values() for part in (one.about, *one.options) for code in part.codes]
    assert len(codes) > 20
    assert all(code.source and code.display for code in codes)
    assert "No code could be verified" in made.file.comment


def test_a_complete_case_has_nothing_wrong() -> None:
    assert NEUROBLASTOMA.wrong(COMPLETE) == []


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        ("staging.stage", "IV", "Choose one of the answers"),
        ("staging.idrf", [], "at least one image-defined risk factor"),
        ("staging.metastases", ["bone"], "no distant metastases"),
        ("diagnosis.age", -1, "a whole number from 0 to 45000 d"),
        ("diagnosis.age", True, "a whole number"),
        ("diagnosis.age", {"$gt": ""}, "a whole number"),
        ("laboratory.vma", 1e400, "a number from 0"),
        ("outcome.cause_of_death", "disease", "has no cause of death"),
        ("patient.sex", {"$ne": None}, "Choose one of the answers"),
    ],
)
def test_what_is_wrong_is_said_at_its_field(path: str, value: Any, says: str) -> None:
    values = copy.deepcopy(COMPLETE)
    name, _, last = path.partition(".")
    values.setdefault(name, {})[last] = value
    assert [(one.path, says in one.says) for one in NEUROBLASTOMA.wrong(values)] == [(path, True)]


@pytest.mark.parametrize(
    ("path", "values"),
    [
        ("staging.idrf", lambda many: {**COMPLETE, "staging": {"stage": "L2", "idrf": many}}),
        ("treatment.1.kind", lambda many: {**COMPLETE, "treatment": [{"phase": "induction"}, {"kind": many}]}),
    ],
)
def test_a_list_with_more_answers_than_are_offered_is_not_compared(path: str, values: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []
    monkeypatch.setattr(_keywords, "uniq", lambda given: asked.append(given) or True)
    many = [{"a": number} for number in range(100)]
    assert [(one.path, one.says) for one in NEUROBLASTOMA.wrong(values(many))] == [(path, "Choose each answer once.")]
    assert asked == []
    assert NEUROBLASTOMA.wrong(COMPLETE) == []
    assert asked != []


def test_a_stage_of_small_children_is_refused_for_older_ones() -> None:
    values = {**COMPLETE, "staging": {"stage": "MS", "metastases": ["liver", "skin"]}}
    assert NEUROBLASTOMA.wrong(values) == []
    old = {**values, "diagnosis": {"age": 547, "histology": "neuroblastoma"}}
    assert [one.path for one in NEUROBLASTOMA.wrong(old)] == ["diagnosis.age"]


def test_a_draft_may_lack_answers_but_hold_no_wrong_one() -> None:
    assert NEUROBLASTOMA.wrong_in_draft({}) == []
    assert NEUROBLASTOMA.wrong_in_draft({"staging": {"stage": "L2"}}) == []
    assert [one.path for one in NEUROBLASTOMA.wrong_in_draft({"staging": {"stage": "V"}})] == ["staging.stage"]
    assert NEUROBLASTOMA.wrong_in_draft({"$where": "1"})


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(), lambda below: st.lists(below) | st.dictionaries(st.text(), below)
    )
)
@QUICK
def test_whatever_is_sent_is_said_to_be_wrong_and_nothing_breaks(values: Any) -> None:
    assert NEUROBLASTOMA.wrong(values)


@pytest.mark.parametrize("disease", FORMS.diseases)
def test_what_a_browser_sends_comes_back_as_it_was(disease: str) -> None:
    made = FORMS.newest(disease)

    @given(values_of(made))
    @QUICK
    def comes_back(values: dict[str, Any]) -> None:
        assert answered(made, written(made, values)) == values
        # Of the right kinds, so nothing but an answer that another one asks for can be wrong.
        assert made.wrong_in_draft(values) == []

    comes_back()


@given(st.lists(st.tuples(st.text(max_size=30) | st.sampled_from([*NEUROBLASTOMA.fields]), st.text(max_size=30)), max_size=20))
@QUICK
def test_a_browsers_form_is_read_or_refused(pairs: list[tuple[str, str]]) -> None:
    try:
        values = answered(NEUROBLASTOMA, pairs)
    except RefusedError:
        return
    assert isinstance(NEUROBLASTOMA.wrong(values), list)


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"$ref": "https://example.org/form.json"}, "$ref"),
        ({"$defs": {}}, "$defs"),
        ({"properties": {"a": {"$ref": "#/properties/b"}}}, "properties.a"),
        ({"properties": {"a": {"title": "A", "type": "object", "properties": {"x": choice("x", "y")}}}}, "properties.a"),
        ({"properties": {"$where": section(x=choice("x", "y"))}}, "properties"),
        ({"properties": {"a": section(**{"x.y": choice("x", "y")})}}, "properties.a"),
        ({"properties": {"a": section(x={"title": "X", "type": "string", "pattern": "(a+)+$"})}}, "properties.a"),
        ({"properties": {"a": section(x=choice("x", "x"))}}, "offered twice"),
        ({"properties": {"a": section(**{f"f{n}": choice("x", "y") for n in range(56)})}}, "56 fields"),
        ({"required": ["z"]}, "not there"),
        ({"allOf": [{"if": {"$ref": "file:///etc/passwd"}, "then": {}, "x-at": "a.one", "x-says": "No."}]}, "$ref"),
        ({"allOf": [{"if": {}, "then": {"properties": {"a": {"pattern": "x"}}}, "x-at": "a.one", "x-says": "No."}]}, "pattern"),
        ({"allOf": [{"if": {}, "then": {}, "x-at": "a.two", "x-says": "No."}]}, "no field"),
        ({"version": 2}, "x-from-the-version-before"),
        ({"$schema": "http://json-schema.org/draft-07/schema#"}, "$schema"),
    ],
)
def test_a_form_that_says_more_than_forms_may_is_refused(said: dict[str, Any], why: str) -> None:
    with pytest.raises(FormError) as refused:
        form(**said)
    assert why in str(refused.value)


@pytest.mark.parametrize("text", ["", "[", "[" * 100_000, '{"a": 1, "a": 2}', '{"a": NaN}', " " * (MOST_BYTES + 1)])
def test_what_is_no_form_is_refused(text: str) -> None:
    with pytest.raises(FormError):
        form_of(text, "none")


def test_a_file_in_the_wrong_place_is_refused(tmp_path: Any) -> None:
    (tmp_path / "dipg").mkdir()
    (tmp_path / "dipg" / "1.json").write_bytes((FOLDER / "neuroblastoma" / "1.json").read_bytes())
    with pytest.raises(FormError, match="rename"):
        read_forms(tmp_path)


def two_versions(earlier: dict[str, Any], **properties: Any) -> Forms:
    return Forms([form(), form(version=2, properties=properties, **{"x-from-the-version-before": earlier})])


NEW = {
    "a": section(uno={"title": "One", "type": "integer", "minimum": 0, "maximum": 9}),
    "b": {"title": "B", "type": "array", "maxItems": 3, "items": section(kind=choice("ex", "y", "z"), untitled=True)},
}


@given(values_of(form()))
@QUICK
def test_old_answers_are_read_with_a_new_version_and_stay_as_they_are(values: dict[str, Any]) -> None:
    forms = two_versions({"renamed": {"a.one": "a.uno"}, "recoded": {"b.kind": {"x": "ex"}}}, **NEW)
    before = copy.deepcopy(values)
    read = forms.read("small", 1, values)
    assert values == before
    assert forms.newest("small").wrong_in_draft(read) == []
    assert read["a"].get("uno") == values["a"].get("one")
    assert [line["kind"] for line in read.get("b", [])] == [
        {"x": "ex"}.get(line["kind"], line["kind"]) for line in values.get("b", [])
    ]
    assert forms.read("small", 2, read) == read


@pytest.mark.parametrize(
    ("earlier", "why"),
    [
        ({}, "say what becomes of it"),
        ({"renamed": {"a.none": "a.uno"}, "dropped": ["a.one"]}, "no such field"),
        ({"renamed": {"a.one": "a.uno"}, "dropped": ["a.x"]}, "was no field"),
        ({"renamed": {"a.one": "a.uno"}, "recoded": {"a.one": {}}}, "is no field"),
        ({"renamed": {"a.one": "a.uno", "b.kind": "a.uno"}}, "stay there"),
    ],
)
def test_a_version_that_forgets_an_answer_is_refused(earlier: dict[str, Any], why: str) -> None:
    with pytest.raises(FormError, match=why):
        two_versions(earlier, **NEW)


def test_two_fields_can_change_names_with_each_other() -> None:
    fields = {name: {"title": name, "type": "integer", "minimum": 0, "maximum": 9} for name in ("x", "y")}
    forms = Forms(
        [
            form(properties={"a": section(**fields)}),
            form(
                version=2,
                properties={"a": section(**fields)},
                **{"x-from-the-version-before": {"renamed": {"a.x": "a.y", "a.y": "a.x"}}},
            ),
        ]
    )
    assert forms.read("small", 1, {"a": {"x": 1, "y": 2}}) == {"a": {"x": 2, "y": 1}}


def test_versions_are_numbered_without_gaps() -> None:
    with pytest.raises(FormError, match="number them"):
        Forms([form(version=2, **{"x-from-the-version-before": {}})])
    with pytest.raises(RefusedError):
        FORMS.version("neuroblastoma", 2)
    with pytest.raises(RefusedError):
        FORMS.newest("../etc")
