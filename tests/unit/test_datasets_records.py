"""Cases and datasets on a real server of MongoDB's protocol: kept, found, counted, frozen; and nothing lost by a kill."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from eform_values import values_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from records_server import RecordsServer, records_server

from datasets.clients.eforms import read_forms
from datasets.clients.records import Page, Records, connect
from datasets.domain.cases import Case, Quality, State, Study
from datasets.domain.datasets import difference, document_of, frozen, withdrawn_from
from datasets.domain.errors import RecordsAwayError, RefusedError
from datasets.domain.pseudonyms import Pseudonyms
from datasets.domain.searches import search_of

FORMS = read_forms()
FORM = FORMS.newest("neuroblastoma")
NAMES = Pseudonyms(b"a key of thirty-two bytes at least", "vo-a")
ANSWERS: dict[str, Any] = {
    "patient": {"sex": "female"},
    "diagnosis": {"age": 400, "histology": "neuroblastoma"},
    "staging": {"stage": "L2", "idrf": ["dumbbell"]},
    "treatment": [
        {"phase": "induction", "kind": ["chemotherapy", "surgery"], "age_start": 410},
        {"phase": "relapse", "kind": ["chemotherapy"], "age_start": 900},
    ],
    "outcome": {"vital_status": "alive", "relapse": True, "age_first_event": 890},
}
MRI = Study("2.25.1", ("MR",), ("ABDOMEN",), date(2015, 6, 1), ("2.25.2", "2.25.3"), Quality.GOOD)
CT = Study("2.25.4", ("CT",), ("CHEST",), None, ("2.25.5",))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RecordsServer]:
    with records_server(tmp_path_factory.mktemp("records")) as one:
        yield one


@pytest.fixture(scope="module")
def records(server: RecordsServer) -> Records:
    made = Records(connect(server.url, "primage"), FORMS)
    made.prepare()
    made.prepare()  # the second time changes nothing
    return made


def case(who: str, vo: str = "vo-a", **more: Any) -> Case:
    return replace(Case(vo, NAMES.of_patient(who), "neuroblastoma", 1, State.COMPLETE, ANSWERS), **more)


def found(records: Records, vo: str, *words: tuple[str, str], drafts: bool = False) -> Page:
    return records.search(search_of(vo, FORM, words, drafts=drafts))


def test_a_case_is_read_as_it_was_written_and_two_writers_cannot_both_win(records: Records) -> None:
    kept = records.save(case("twice", studies=(MRI, CT)))
    assert records.case("vo-a", "neuroblastoma", kept.pseudonym) == kept
    with pytest.raises(RefusedError, match="already"):
        records.save(case("twice"))
    records.save(replace(kept, answers={**ANSWERS, "biology": {"mycn": "gain"}}))
    with pytest.raises(RefusedError, match="meanwhile"):
        records.save(kept)
    assert records.case("vo-a", "neuroblastoma", kept.pseudonym).answers["biology"] == {"mycn": "gain"}  # type: ignore[union-attr]
    assert records.case("vo-b", "neuroblastoma", kept.pseudonym) is None


@pytest.fixture(scope="module")
def some(records: Records) -> dict[str, str]:
    """Pseudonyms of four cases of a VO that nothing else writes to."""
    metastatic = {**ANSWERS, "staging": {"stage": "M", "metastases": ["bone", "liver"]}, "outcome": {"vital_status": "dead"}}
    made = {
        "images": case("1", "vo-s", studies=(MRI, CT)),
        "metastatic": case("2", "vo-s", answers=metastatic, studies=(CT,)),
        "draft": case("3", "vo-s", state=State.DRAFT),
        "withdrawn": case("4", "vo-s").withdrawn(),
    }
    for one in made.values():
        records.save(one)
    return {name: one.pseudonym for name, one in made.items()}


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], {"images", "metastatic"}),
        ([("staging.stage", "M")], {"metastatic"}),
        ([("staging.stage", "M"), ("staging.stage", "L2")], {"images", "metastatic"}),
        ([("staging.metastases", "liver")], {"metastatic"}),
        ([("treatment.kind", "surgery"), ("staging.stage", "L2")], {"images"}),
        ([("outcome.relapse", "yes")], {"images"}),
        ([("diagnosis.age.from", "400"), ("diagnosis.age.to", "400")], {"images", "metastatic"}),
        ([("diagnosis.age.from", "401")], set()),
        ([("treatment.age_start.from", "500")], {"images", "metastatic"}),
        ([("modality", "mr"), ("part", "ABDOMEN"), ("quality", "good")], {"images"}),
        ([("modality", "MR"), ("part", "CHEST")], set()),
        ([("modality", "MR"), ("modality", "CT")], {"images", "metastatic"}),
        ([("studied.from", "2015"), ("studied.to", "2015")], {"images"}),
        ([("studied.to", "2014")], set()),
    ],
)
def test_cases_are_found_by_each_filter(
    records: Records, some: dict[str, str], words: list[tuple[str, str]], expected: set[str]
) -> None:
    page = found(records, "vo-s", *words)
    assert {one.pseudonym for one in page.cases} == {some[name] for name in expected}
    assert page.total == len(expected)


def test_both_ends_are_not_looked_for_among_several_numbers_of_a_case() -> None:
    with pytest.raises(RefusedError, match="not both"):
        search_of("vo-a", FORM, [("treatment.age_start.from", "500"), ("treatment.age_start.to", "800")])


def test_drafts_are_found_by_those_who_enter_cases_only(records: Records, some: dict[str, str]) -> None:
    assert [one.pseudonym for one in found(records, "vo-s", ("state", "draft"), drafts=True).cases] == [some["draft"]]
    with pytest.raises(RefusedError):
        found(records, "vo-s", ("state", "draft"))
    with pytest.raises(RefusedError):
        found(records, "vo-s", ("state", "withdrawn"), drafts=True)


def test_each_answer_is_counted_beside_its_filter(records: Records, some: dict[str, str]) -> None:
    counted = records.counts(search_of("vo-s", FORM, [("staging.stage", "M")]))
    # What another answer to the field that is looked for would find; of all others what is left.
    assert counted["staging.stage"] == {"L2": 1, "M": 1}
    assert counted["outcome.vital_status"] == {"dead": 1}
    assert counted["treatment.kind"] == {"chemotherapy": 1, "surgery": 1}
    assert counted["modality"] == {"CT": 1}
    assert "relapse" not in str(counted.get("outcome.relapse", ""))


def test_pages_follow_each_other_and_hold_each_case_once(records: Records) -> None:
    names = sorted(records.save(case(f"paged {number}", "vo-p")).pseudonym for number in range(7))
    seen: list[str] = []
    after = ""
    while True:
        page = found(records, "vo-p", ("most", "3"), *([("after", after)] if after else []))
        assert page.total == 7
        seen += [one.pseudonym for one in page.cases]
        if not (after := page.after):
            break
    assert seen == names


@given(
    st.lists(
        st.tuples(
            st.sampled_from([*FORM.fields, "modality", "part", "quality", "studied.from", "state", "after", "most", "$where"])
            | st.text(),
            st.text() | st.sampled_from(['{"$gt": ""}', "$ne", "yes", "1"]),
        ),
        max_size=4,
    )
)
@settings(max_examples=100, deadline=None)
def test_a_search_is_typed_or_refused(words: list[tuple[str, str]]) -> None:
    try:
        search = search_of("vo-a", FORM, words)
    except RefusedError:
        return
    assert not any("$" in str(part) for one in search.answers for part in vars(one).values())


@given(values_of(FORM))
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_case_comes_back_and_is_found_by_what_it_says(records: Records, values: dict[str, Any]) -> None:
    pseudonym = NAMES.of_patient("drawn")
    there = records.case("vo-d", "neuroblastoma", pseudonym)
    kept = records.save(
        Case("vo-d", pseudonym, "neuroblastoma", 1, State.COMPLETE, values, revision=there.revision if there else 0)
    )
    assert records.case("vo-d", "neuroblastoma", pseudonym) == kept
    assert found(records, "vo-d", ("patient.sex", values["patient"]["sex"])).total == 1
    assert found(records, "vo-d", ("diagnosis.age.from", str(values["diagnosis"]["age"] + 1))).total == 0


def test_what_was_acknowledged_is_there_after_a_kill(tmp_path: Path) -> None:
    with records_server(tmp_path) as server:
        records = Records(connect(server.url, "primage"), FORMS)
        records.prepare()
        kept = records.save(case("killed"))
        dataset = records.freeze(frozen("vo-a", "first", "A test.", [kept], [], FORMS, None))
        server.kill()
        with pytest.raises(RecordsAwayError):
            records.save(kept)
        server.start()
        assert records.case("vo-a", "neuroblastoma", kept.pseudonym) == kept
        assert records.dataset("vo-a", "first", 1) == dataset


def test_records_of_a_newer_service_are_left_alone(tmp_path: Path) -> None:
    with records_server(tmp_path) as server:
        database = connect(server.url, "primage")
        database["state"].insert_one({"_id": "migrations", "done": 99})
        with pytest.raises(RecordsAwayError, match="start a newer one"):
            Records(database, FORMS).prepare()


def test_a_dataset_is_frozen_once_and_proves_what_it_holds(records: Records) -> None:
    cases = [case("one", studies=(MRI,)), case("two")]
    first = records.freeze(frozen("vo-a", "study", "For a test.", cases, ["staging.stage", "treatment.kind"], FORMS, None))
    assert records.freeze(first) == first
    assert records.dataset("vo-a", "study", 1) == first
    assert first.instances == 2
    assert first.digest in first.identifier
    assert {entry.pseudonym: entry.variables for entry in first.entries}[cases[0].pseudonym]["staging.stage"] == "L2"
    with pytest.raises(RefusedError, match="next version"):
        records.freeze(frozen("vo-a", "study", "Another.", cases, [], FORMS, None))
    changed = replace(cases[0], answers={**ANSWERS, "staging": {"stage": "L1"}})
    second = records.freeze(frozen("vo-a", "study", "More.", [changed, case("three")], ["staging.stage"], FORMS, first))
    assert (second.version, second.before) == (2, first.digest)
    gone = frozenset({cases[1].pseudonym})
    told = difference(first, second, gone)
    assert (told.added, told.removed, told.changed) == ((case("three").pseudonym,), (cases[1].pseudonym,), (cases[0].pseudonym,))
    assert told.withdrawn == withdrawn_from(first, gone) == tuple(gone)
    assert told.variables_removed == ("treatment.kind",)
    assert [(name, version) for name, version, _ in records.datasets("vo-a") if name == "study"] == [("study", 1), ("study", 2)]


def test_a_dataset_that_somebody_has_changed_in_the_database_is_not_handed_out(server: RecordsServer, records: Records) -> None:
    dataset = records.freeze(frozen("vo-a", "forged", "A test.", [case("one")], [], FORMS, None))
    forged = document_of(dataset)["document"].replace("A test.", "A lie.")
    connect(server.url, "primage")["datasets"].update_one({"name": "forged"}, {"$set": {"document": forged}})
    with pytest.raises(RecordsAwayError, match="not what was frozen"):
        records.dataset("vo-a", "forged", 1)


@pytest.mark.parametrize(
    ("cases", "name", "variables"),
    [
        ([], "study", []),
        ([case("a", state=State.DRAFT)], "study", []),
        ([case("a").withdrawn()], "study", []),
        ([case("a", "vo-b")], "study", []),
        ([case("a")], "../study", []),
        ([case("a")], "study", ["$where"]),
        ([case("a")], "study", ["treatment.protocol"]),
    ],
)
def test_a_dataset_of_what_is_not_there_is_refused(cases: list[Case], name: str, variables: list[str]) -> None:
    with pytest.raises(RefusedError):
        frozen("vo-a", name, "A test.", cases, variables, FORMS, None)


@given(st.text(min_size=1, max_size=40), st.dates())
@settings(max_examples=60, deadline=None)
def test_pseudonyms_uids_and_shifts_are_alike_within_a_vo_and_not_between_two(identifier: str, day: date) -> None:
    other = Pseudonyms(b"a key of thirty-two bytes at least", "vo-b")
    try:
        mine = NAMES.of_patient(identifier)
    except ValueError:
        return
    assert mine == NAMES.of_patient(f" {identifier} ") != other.of_patient(identifier)
    assert NAMES.of_patient(identifier, "Hospital A") == NAMES.of_patient(identifier, "hospital a") != mine
    assert NAMES.of_patient(identifier, "Hospital A") != NAMES.of_patient(identifier, "Hospital B")
    assert NAMES.of_uid(identifier) == NAMES.of_uid(identifier) != other.of_uid(identifier)
    assert len(NAMES.of_uid(identifier)) <= 64
    assert NAMES.shifted(mine, day) < day or day == date.min
    assert (NAMES.shift_of(mine).days, NAMES.shift_of(mine).seconds) == (NAMES.shift_of(mine).days, 0)


def test_a_short_key_is_none() -> None:
    with pytest.raises(ValueError, match="32"):
        Pseudonyms(b"short", "vo-a")
