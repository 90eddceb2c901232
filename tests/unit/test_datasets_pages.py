"""The datasets service as people and programs use it: who may do what, forms without scripts, and what is written down of it."""

from __future__ import annotations

import copy
import hashlib
import json
import logging
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urlencode

import pytest
from datasets_site import URL, Site, datasets_site, signing_key
from joserfc import jwt
from joserfc.jwk import OctKey

from datasets.clients.eforms import read_forms
from datasets.domain.answers import written
from datasets.domain.people import RIGHTS, Act
from datasets.domain.pseudonyms import Pseudonyms
from datasets.guard import MOST_BYTES
from primage.contract.roles import Role

FORM = read_forms().newest("neuroblastoma")
ANSWERS: dict[str, Any] = {
    "patient": {"sex": "female"},
    "diagnosis": {"age": 400, "histology": "neuroblastoma", "primary_site": ["adrenal"]},
    "staging": {"stage": "L2", "idrf": ["dumbbell"]},
    "outcome": {"vital_status": "alive"},
}
CASES, PAGES = "/api/vos/vo-a/cases/neuroblastoma", "/vos/vo-a/neuroblastoma"
CLINICIAN, RESEARCHER = "/vo-a/clinician", "/vo-a/researcher"
PLAIN = {"Content-Type": "application/x-www-form-urlencoded", "Origin": URL}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with datasets_site(tmp_path_factory.mktemp("datasets")) as one:
        yield one


def enter(site: Site, who: str, *, complete: bool = True, answers: dict[str, Any] | None = None) -> dict[str, Any]:
    body = {"identifier": who, "answers": ANSWERS if answers is None else answers, "complete": complete}
    answer = site.client.post(CASES, json=body, headers=site.headers(CLINICIAN))
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


@pytest.fixture(scope="module")
def kept(site: Site) -> dict[str, Any]:
    return enter(site, "HOSP-1")


@pytest.fixture(scope="module")
def dataset(site: Site, kept: dict[str, Any]) -> dict[str, Any]:
    body = {"disease": "neuroblastoma", "says": "A test.", "pseudonyms": [kept["pseudonym"]], "variables": ["staging.stage"]}
    answer = site.client.post("/api/vos/vo-a/datasets/table", json=body, headers=site.headers(RESEARCHER))
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


ASKED: dict[Act, tuple[str, str, dict[str, Any] | None]] = {
    Act.READ_CASES: ("GET", CASES, None),
    Act.WRITE_CASES: ("POST", CASES, {"identifier": "HOSP-table", "answers": {"staging": {"stage": "V"}}, "complete": False}),
    Act.WITHDRAW: ("POST", f"{CASES}/paaaaaaaaaaaaaaaa/withdrawal", None),
    Act.SEND_IMAGES: ("GET", "/api/vos/vo-a/held", None),
    Act.LIST_DATASETS: ("GET", "/api/vos/vo-a/datasets", None),
    Act.READ_DATASETS: ("GET", "/api/vos/vo-a/datasets/table/1", None),
    Act.FREEZE: (
        "POST",
        "/api/vos/vo-a/datasets/other",
        {"disease": "neuroblastoma", "says": "No.", "variables": ["none"], "search": {}},
    ),
}


@pytest.mark.parametrize("act", Act)
@pytest.mark.parametrize("role", [*Role, None])
def test_each_cell_of_the_table_of_rights_holds(site: Site, dataset: dict[str, Any], role: Role | None, act: Act) -> None:
    method, path, body = ASKED[act]
    groups = [f"/vo-a/{role.value}"] if role else ["/vo-a"]
    answer = site.client.request(method, path, json=body, headers=site.headers(*groups, "/vo-b/clinician", "/vo-b/researcher"))
    allowed = role is not None and act in RIGHTS[role]
    assert (answer.status_code == 403) is not allowed, answer.text
    # What is asked for is wrong where it would write, so that who may write is told so and nothing is written.
    assert answer.status_code in ({200, 404, 422} if allowed else {403})


@pytest.mark.parametrize("asked", ["withdrawn", "difference?since=1"])
def test_who_may_only_list_datasets_gets_no_pseudonym(site: Site, dataset: dict[str, Any], asked: str) -> None:
    path = f"/api/vos/vo-a/datasets/table/{dataset['version']}/{asked}"
    answers = [site.client.get(path, headers=site.headers(f"/vo-a/{role.value}")) for role in (Role.GUEST, Role.DEVELOPER)]
    assert [answer.status_code for answer in answers] == [403, 200]


def test_every_role_of_the_contract_has_rights_here() -> None:
    assert set(RIGHTS) == set(Role)


@pytest.mark.parametrize("path", ["/", PAGES, CASES, f"{PAGES}/new", "/api/forms", "/api/vos/vo-a/datasets"])
def test_nobody_sees_anything_without_a_token_that_holds(site: Site, path: str) -> None:
    def status(token: str) -> int:
        return site.client.get(path, headers={"Authorization": f"Bearer {token}"} if token else {}).status_code

    good = site.token(CLINICIAN)
    assert status(good) == 200
    forged = site.token(CLINICIAN, key=signing_key())
    shared = jwt.encode({"alg": "HS256"}, {"iss": site.issuer}, OctKey.import_key("k" * 32))
    unsigned = f"{good.split('.')[0]}.{good.split('.')[1]}."
    other = [site.token(CLINICIAN, aud="another"), site.token(CLINICIAN, iss="https://other"), site.token(CLINICIAN, exp=1)]
    for token in ["", "x", "a.b.c", forged, shared, unsigned, *other, site.token(CLINICIAN, preferred_username="")]:
        assert status(token) == 401


def test_a_case_is_entered_found_counted_and_changed_by_one_at_a_time(site: Site, kept: dict[str, Any]) -> None:
    clinician, researcher = site.headers(CLINICIAN), site.headers(RESEARCHER)
    assert "HOSP-1" not in json.dumps(kept)
    found = site.client.get(f"{CASES}?staging.stage=L2&diagnosis.age.to=400", headers=researcher).json()
    assert kept["pseudonym"] in [case["pseudonym"] for case in found["cases"]]
    counted = site.client.get("/api/vos/vo-a/counts/neuroblastoma", headers=researcher).json()
    assert counted["staging.stage"]["L2"] >= 1
    other = {"identifier": "hosp-1 ", "issuer": "Hospital B", "answers": ANSWERS, "complete": True}
    assert site.client.post(CASES, json=other, headers=clinician).json()["pseudonym"] != kept["pseudonym"]
    again = site.client.post(CASES, json={"identifier": "hosp-1 ", "answers": ANSWERS, "complete": True}, headers=clinician)
    assert (again.status_code, "already" in again.json()["what"]) == (409, True)
    body = {"answers": {**ANSWERS, "biology": {"mycn": "amplified"}}, "complete": True, "revision": kept["revision"]}
    assert site.client.put(f"{CASES}/{kept['pseudonym']}", json=body, headers=clinician).json()["revision"] == kept["revision"] + 1
    assert site.client.put(f"{CASES}/{kept['pseudonym']}", json=body, headers=clinician).status_code == 409


def test_another_vo_sees_nothing_of_it(site: Site, kept: dict[str, Any]) -> None:
    other = site.headers("/vo-b/clinician", "/vo-b/admin")
    assert site.client.get(f"{CASES}/{kept['pseudonym']}", headers=other).status_code == 403
    assert site.client.get(f"/api/vos/vo-b/cases/neuroblastoma/{kept['pseudonym']}", headers=other).status_code == 404
    assert site.client.get("/api/vos/vo-c/datasets", headers=site.headers("/vo-c/admin")).status_code == 403


def test_drafts_are_for_those_who_enter_cases(site: Site) -> None:
    draft = enter(site, "HOSP-draft", complete=False, answers={"staging": {"stage": "M"}})
    path = f"{CASES}/{draft['pseudonym']}"
    assert site.client.get(path, headers=site.headers(CLINICIAN)).json()["state"] == "draft"
    assert site.client.get(path, headers=site.headers(RESEARCHER)).status_code == 404
    assert site.client.get(f"{CASES}?state=draft", headers=site.headers(RESEARCHER)).status_code == 422


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("staging.stage", {"$gt": ""}),
        ("staging.$where", "sleep(1000)"),
        ("diagnosis.age", float("nan")),
        ("diagnosis.age", float("inf")),
        ("diagnosis.age", 2**70),
        ("outcome.vital_status", "alive\ud800"),
        ("$set", {"state": "complete"}),
    ],
)
def test_what_a_database_would_take_for_more_than_an_answer_is_refused(site: Site, path: str, value: Any) -> None:
    answers = copy.deepcopy(ANSWERS)
    section, _, name = path.partition(".")
    if name:
        answers[section][name] = value
    else:
        answers[section] = value
    body = json.dumps({"identifier": "HOSP-bad", "answers": answers, "complete": False})
    headers = {**site.headers(CLINICIAN), "Content-Type": "application/json"}
    assert site.client.post(CASES, content=body, headers=headers).status_code in {400, 422}
    assert site.client.get(f"{CASES}?{urlencode({path: '$ne'})}", headers=headers).status_code == 422


@pytest.mark.parametrize(
    "body", ["", "[" * 200_000, "{", "null", '{"identifier": {"$ne": ""}, "answers": {}, "complete": true}', '"x"']
)
def test_what_is_no_case_is_refused(site: Site, body: str) -> None:
    headers = {**site.headers(CLINICIAN), "Content-Type": "application/json"}
    assert site.client.post(CASES, content=body, headers=headers).status_code in {400, 422}


def test_what_is_too_long_or_not_from_here_is_refused(site: Site) -> None:
    headers = site.headers(CLINICIAN)
    assert site.client.post(CASES, content="x" * (MOST_BYTES + 1), headers=headers).status_code == 413
    assert site.client.get(f"{CASES}?x={'x' * 20_000}", headers=headers).status_code == 414
    assert site.client.delete(CASES, headers=headers).status_code == 405
    assert site.client.get(CASES, headers={**headers, "Host": "evil.test"}).status_code == 421
    for lie in ({"Origin": "https://evil.test"}, {"Sec-Fetch-Site": "cross-site"}, {"Origin": "null"}):
        assert site.client.post(f"{PAGES}/new", content="", headers={**headers, **PLAIN, **lie}).status_code == 403


class Fields(HTMLParser):
    """What a page's form would send, and whether each field has a label and each error is one of a field's."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.labelled: set[str] = set()
        self.described: set[str] = set()
        self.controls: dict[str, str] = {}
        self.sent: list[tuple[str, str]] = []
        self._select = ""
        self._inside_label = 0
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if "id" in given:
            assert given["id"] not in self.ids, given["id"]
            self.ids.add(str(given["id"]))
        self.described |= set((given.get("aria-describedby") or "").split())
        if tag == "label":
            self._inside_label += 1
            self.labelled.add(given.get("for") or "")
        if tag == "select":
            self._select = str(given["name"])
        if tag == "option" and "selected" in given:
            self.sent.append((self._select, given["value"] or ""))
        if tag == "input":
            name, kind = str(given.get("name")), given.get("type") or "text"
            if kind != "hidden":
                assert self._inside_label or given.get("id"), name
                self.controls[name] = str(given.get("id") or "")
            if kind != "checkbox" or "checked" in given:
                self.sent.append((name, given.get("value") or ""))

    def handle_endtag(self, tag: str) -> None:
        if tag == "label":
            self._inside_label -= 1


def test_a_case_is_entered_in_a_browser_as_a_draft_resumed_and_completed(site: Site) -> None:
    headers = {**site.headers(CLINICIAN), **PLAIN}
    page = site.client.get(f"{PAGES}/new", headers=headers)
    assert page.status_code == 200
    assert "script" not in page.text
    fields = Fields(page.text)
    assert {one.partition(".")[0] for one in fields.controls if "." in one} <= {section.name for section in FORM.sections}
    assert all(id_ in fields.labelled for id_ in fields.controls.values() if id_)
    started = [
        ("identifier", "HOSP-browser"),
        ("issuer", "Hospital A"),
        ("then", "draft"),
        ("staging.stage", "L2"),
        ("treatment.0.phase", "induction"),
    ]
    answer = site.client.post(f"{PAGES}/new", content=urlencode(started), headers=headers)
    assert answer.status_code == 303, answer.text
    pseudonym = Pseudonyms(bytes(range(64)), "vo-a").of_patient("HOSP-browser", "Hospital A")
    assert answer.headers["location"] == f"{PAGES}/{pseudonym}"
    draft = site.client.get(answer.headers["location"], headers=headers)
    resumed = Fields(draft.text)
    assert ("staging.stage", "L2") in resumed.sent
    assert ("treatment.0.phase", "induction") in resumed.sent
    # What is still to come is said at its field, and the page's summary leads there.
    assert "say which" in draft.text
    assert '<a href="#staging.idrf">' in draft.text
    assert resumed.described <= resumed.ids
    whole = [("revision", "1"), ("then", "complete"), *written(FORM, ANSWERS)]
    done = site.client.post(answer.headers["location"], content=urlencode(whole), headers=headers)
    assert done.status_code == 303, done.text
    case = site.client.get(f"/api{answer.headers['location'].replace('/vo-a/', '/vo-a/cases/')}", headers=headers).json()
    assert (case["state"], case["answers"]) == ("complete", ANSWERS)
    read = site.client.get(answer.headers["location"], headers=site.headers(RESEARCHER)).text
    assert "<form" not in read
    assert "Adrenal gland" in read
    late = site.client.post(answer.headers["location"], content=urlencode(whole), headers=headers)
    assert (late.status_code, "meanwhile" in late.text) == (409, True)


def test_a_wrong_answer_is_said_at_its_field_and_the_others_stay(site: Site) -> None:
    headers = {**site.headers(CLINICIAN), **PLAIN}
    given = [
        ("identifier", ""),
        ("then", "complete"),
        ("diagnosis.age", "<b>old</b>"),
        ("staging.stage", "L1"),
        ("staging.idrf", "dumbbell"),
    ]
    page = site.client.post(f"{PAGES}/new", content=urlencode(given), headers=headers)
    assert page.status_code == 422
    assert "<b>old" not in page.text
    fields = Fields(page.text)
    assert {("diagnosis.age", "<b>old</b>"), ("staging.stage", "L1"), ("staging.idrf", "dumbbell")} <= set(fields.sent)
    assert {"diagnosis.age-error1", "staging.idrf-error1", "identifier-error1"} <= fields.described <= fields.ids
    assert site.client.post(f"{PAGES}/new", content=urlencode([("x.y", "1")]), headers=headers).status_code == 422


def test_the_list_of_cases_counts_beside_each_filter_and_keeps_what_was_chosen(site: Site, kept: dict[str, Any]) -> None:
    page = site.client.get(f"{PAGES}?staging.stage=L2&diagnosis.age.from=1", headers=site.headers(RESEARCHER))
    assert page.status_code == 200
    assert kept["pseudonym"] in page.text
    assert {("staging.stage", "L2"), ("diagnosis.age.from", "1")} <= set(Fields(page.text).sent)
    assert "Enter a case" not in page.text


def test_a_dataset_is_frozen_handed_out_as_it_was_and_says_who_has_withdrawn(site: Site) -> None:
    researcher = site.headers(RESEARCHER)
    names = [enter(site, f"HOSP-frozen-{number}")["pseudonym"] for number in range(2)]
    body = {"disease": "neuroblastoma", "says": "Two.", "pseudonyms": names, "variables": ["staging.stage", "diagnosis.age"]}
    first = site.client.post("/api/vos/vo-a/datasets/two", json=body, headers=researcher).json()
    document = site.client.get("/api/vos/vo-a/datasets/two/1", headers=researcher)
    assert hashlib.sha256(document.content).hexdigest() == first["digest"]
    packed = site.client.get("/api/vos/vo-a/datasets/two/1/variables", headers=researcher)
    assert packed.headers["content-encoding"] == "gzip"
    assert packed.json()[names[0]] == {"staging.stage": "L2", "diagnosis.age": 400}
    gone = site.client.post(f"{CASES}/{names[0]}/withdrawal", headers=site.headers(CLINICIAN)).json()
    assert (gone["state"], gone["answers"]) == ("withdrawn", {})
    assert site.client.get(f"{CASES}/{names[0]}", headers=site.headers(CLINICIAN)).status_code == 404
    assert site.client.post("/api/vos/vo-a/datasets/two", json=body, headers=researcher).status_code == 404
    second = {**body, "pseudonyms": [names[1]]}
    assert site.client.post("/api/vos/vo-a/datasets/two", json=second, headers=researcher).json()["version"] == 2
    told = site.client.get("/api/vos/vo-a/datasets/two/2/difference?since=1", headers=researcher).json()
    assert (told["removed"], told["withdrawn"]) == ([names[0]], [names[0]])
    assert site.client.get("/api/vos/vo-a/datasets/two/1/withdrawn", headers=researcher).json() == [names[0]]


def test_a_dataset_of_a_search_has_all_that_it_finds_and_no_draft(site: Site, kept: dict[str, Any]) -> None:
    body = {"disease": "neuroblastoma", "says": "All.", "search": {"staging.stage": ["L2"], "state": ["draft"]}}
    assert site.client.post("/api/vos/vo-a/datasets/all", json=body, headers=site.headers(RESEARCHER)).status_code == 201
    entries = site.client.get("/api/vos/vo-a/datasets/all/1", headers=site.headers(RESEARCHER)).json()["entries"]
    total = site.client.get(f"{CASES}?staging.stage=L2", headers=site.headers(RESEARCHER)).json()["total"]
    assert len(entries) == total
    assert kept["pseudonym"] in [entry["pseudonym"] for entry in entries]


def test_each_read_and_write_is_written_down_without_what_it_says(
    site: Site, kept: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="audit"):
        site.client.get(f"{CASES}/{kept['pseudonym']}", headers=site.headers(RESEARCHER))
        site.client.get(f"{CASES}/{kept['pseudonym']}", headers=site.headers("/vo-b/admin"))
        enter(site, "HOSP-audited")
    lines = [json.loads(record.getMessage()) for record in caplog.records if record.name == "audit"]
    assert [(line["act"], line.get("allowed"), line.get("done")) for line in lines] == [
        ("read cases", True, None),
        ("read cases", False, None),
        ("enter cases", True, None),
        ("enter cases", None, True),
    ]
    assert lines[0]["what"] == f"neuroblastoma/{kept['pseudonym']}"
    assert all(line["identity"] == "ana@example.org" for line in lines)
    assert "HOSP" not in caplog.text


def test_the_interface_describes_itself(site: Site) -> None:
    described = site.client.get("/api/openapi.json").json()
    assert set(described["paths"]) >= {"/api/vos/{vo}/cases/{disease}", "/api/vos/{vo}/datasets/{name}/{version}"}
    assert site.client.get("/health", headers={"Host": "10.0.0.1"}).text == "ok\n"
