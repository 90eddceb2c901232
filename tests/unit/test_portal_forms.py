"""Forms of applications' settings: made from their schemas, read back, and refused in the words of `primage validate`."""

import html
import json
import re
import shlex
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st
from portal_pages import ACCOUNT, VO, fields, pages

from portal.clients.catalogue import applications
from portal.domain.forms import Kind, by_field, groups_of, read, settings_of, texts_of, written
from primage.paths import repository_root
from primage.projects.overrides import parse_override
from primage.projects.project import StackName, parse_stack_name

APPS = {app.name: app for app in applications(repository_root())}
FORM = f"/apps/{VO}/batch"


@pytest.fixture
def site(tmp_path):
    with pages(tmp_path) as running:
        running.log_in()
        yield running


def filled(site, path=FORM, **changed):
    """A form's fields as its page has them, with some changed."""
    page = site.browser.get(path).text
    found = dict(fields(page))
    for name, text in re.findall(r'<textarea[^>]*name="([^"]+)"[^>]*>\n(.*?)</textarea>', page, re.DOTALL):
        found[name] = html.unescape(text)
    for name, options in re.findall(r'<select[^>]*name="([^"]+)"[^>]*>(.*?)</select>', page, re.DOTALL):
        found[name] = html.unescape(next(iter(re.findall(r"<option selected>([^<]*)", options)), ""))
    return {**found, **{f"setting.{name}": text for name, text in changed.items()}}


def test_every_application_of_the_repository_has_a_form_with_all_of_its_settings():
    assert set(APPS) == {"batch", "desktop", "hpc", "htc", "notebook", "study-histology", "web"}
    paths = {field.path: field for app in ("batch", "htc") for group in APPS[app].groups for field in group.fields}
    assert {"args", "producer.arguments", "consumer.command", "scaling.maximum", "consumer.timeout_seconds"} <= set(paths)
    assert paths["args"].kind is Kind.LINES
    assert paths["env"].kind is Kind.PAIRS
    assert paths["gpu"].kind is Kind.NUMBER
    assert paths["consumer.bring_queue"].choices == ("true", "false")
    assert paths["cpu"].default == "1"
    stage = next(field for group in APPS["study-histology"].groups for field in group.fields if field.name == "stage")
    assert "train" in stage.choices
    script = next(field for group in APPS["hpc"].groups for field in group.fields if field.name == "script")
    assert script.kind is Kind.PROGRAM


@pytest.mark.parametrize("name", APPS)
def test_what_a_vos_file_says_comes_back_from_its_form(name):
    app = APPS[name]
    settings = app.settings(VO, "local")
    again, problems = settings_of(app.groups, texts_of(app.groups, settings))
    assert problems == {}
    assert app.problems(StackName("local", name, VO), again) == []
    model = app.problems(StackName("local", name, VO), settings)
    assert model == []
    assert again == json.loads(json.dumps(settings))


TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=30)


@given(st.lists(TEXT, min_size=1))
def test_a_list_comes_back_as_it_was(items):
    assert read(written(items, Kind.LINES), Kind.LINES) == items


@given(st.dictionaries(TEXT, TEXT, min_size=1))
def test_pairs_come_back_as_they_were(pairs):
    assert read(written(pairs, Kind.PAIRS), Kind.PAIRS) == pairs


JSON = st.recursive(st.none() | st.booleans() | st.integers() | TEXT, lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner))
SCHEMAS = st.deferred(
    lambda: st.fixed_dictionaries({"type": st.just("object"), "properties": st.dictionaries(TEXT, PART, max_size=4)})
)
PART = st.one_of(
    st.sampled_from(
        [
            {"type": "string"},
            {"type": "integer", "default": 3},
            {"type": "boolean", "default": True},
            {"enum": ["a", "b"]},
            {"type": "array", "items": {"type": "string"}},
            {"type": "object", "additionalProperties": {"type": "string"}},
            {"anyOf": [{"type": "number"}, {"type": "null"}], "default": None},
            {"anyOf": [{"type": "string"}, {"type": "integer"}]},
            {"type": "array", "items": {"type": "integer"}},
            {},
        ]
    ),
    SCHEMAS,
)


@given(SCHEMAS, st.dictionaries(TEXT, TEXT))
def test_any_schema_has_a_form_and_any_text_is_read_or_said_to_be_wrong(schema, texts):
    groups = groups_of(schema)
    named = {field.path: text for field, text in zip([f for g in groups for f in g.fields], texts.values(), strict=False)}
    settings, problems = settings_of(groups, named)
    assert isinstance(settings, dict)
    assert set(problems) <= set(named)


@given(JSON)
def test_any_value_that_a_file_may_hold_can_be_shown(value):
    for kind in Kind:
        assert isinstance(written(value, kind), str)


def test_complaints_stand_at_the_field_that_they_are_about():
    app = APPS["htc"]
    settings = {"name": "Capital", "producer": {"arguments": ["a", 1]}, "consumer": {"image": "x", "batch": 0}}
    at, others = by_field(app.groups, app.root, app.problems(StackName("local", "htc", VO), settings))
    assert "lowercase letters" in at["name"][0]
    assert "producer.arguments" in at
    assert at["consumer.batch"] == ["must be at least 1 (given: 0)"]
    assert not [other for other in others if "batch" in other]


# -- pages -----------------------------------------------------------------------------------------------------------


def test_a_member_sees_their_vos_applications(site):
    text = site.browser.get("/apps").text
    for name in APPS:
        assert f'href="/apps/{VO}/{name}"' in text
    site.log_in(groups=["/training.primage.eu/researcher"])
    assert "no applications on this site yet" in site.browser.get("/apps").text
    assert site.browser.get(FORM).status_code == 404, "of a VO that they are not in"


def test_the_form_starts_the_run_in_the_members_own_namespace_with_their_own_token(site):
    given = {**filled(site), "run": "mine", "do": "start"}
    answer = site.browser.post(FORM, data=given, follow_redirects=False)
    assert answer.status_code == 303, re.findall(r'class="wrong"[^>]*>([^<]*)', answer.text)
    launch = site.portal.launches.all_of(ACCOUNT)[0]
    assert launch.work.stack == "batch/ada-at-example-dot-org_vo.primage.eu.local--mine"
    assert launch.work.setting == "job"
    assert launch.work.settings == APPS["batch"].settings(VO, "local")
    token = site.portal.sessions.find(site.browser.cookies["__Host-primage-session"]).tokens.id_token
    assert site.portal.launches.kubeconfigs == [f"a kubeconfig with {token}"]


def test_the_line_for_a_terminal_does_the_same(site):
    answer = site.browser.post(FORM, data={**filled(site, cpu="2", args="it's\n$(x)"), "run": "mine", "do": "check"})
    assert "Nothing is wrong" in answer.text
    line = html.unescape(re.search(r"<pre[^>]*><code>(.*?)</code>", answer.text, re.DOTALL)[1])
    up, stack, *options = shlex.split(line)[1:]
    assert up == "up"
    assert parse_stack_name(stack).run == "mine"
    assert dict(parse_override(text) for text in options[1::2]) == {"job.cpu": "2", "job.args": ["it's", "$(x)"]}
    assert site.portal.launches.all_of(ACCOUNT) == [], "it was only to be checked"


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"name": "Not Good"}, "lowercase letters, digits and hyphens"),
        ({"name": ""}, "is missing"),
        ({"cpu": "many"}, "many"),
        ({"gpu": "-1"}, "must be at least 0 (given: -1)"),
        ({"gpu": "one"}, "must be a whole number (given: 'one')"),
        ({"env": "novalue"}, "must be NAME=value in each line"),
        ({"env": "HOME=/x"}, "set by the platform"),
        ({"args": "[1"}, "must be JSON"),
        ({"priority": "emperor"}, "is not a priority class on site local"),
        ({"image": "<your-image>"}, "placeholder"),
    ],
)
def test_what_is_wrong_is_said_and_nothing_is_started(site, changed, words):
    answer = site.browser.post(FORM, data={**filled(site, **changed), "run": "mine", "do": "start"})
    assert answer.status_code == 422
    assert words in html.unescape(answer.text)
    assert site.portal.launches.all_of(ACCOUNT) == []
    for text in changed.values():
        assert html.escape(text, quote=False).replace("'", "&#39;") in answer.text, "what was written is still there"


def test_a_complaint_belongs_to_its_field_for_who_cannot_see_it(site):
    answer = site.browser.post(FORM, data={**filled(site, gpu="-1"), "run": "mine", "do": "start"}).text
    (field,) = re.findall(r'<input[^>]*id="setting-gpu"[^>]*>', answer)
    assert 'aria-invalid="true"' in field
    described = re.search(r'aria-describedby="([^"]+)"', field)[1].split()
    assert all(f'id="{one}"' in answer for one in described)


@pytest.mark.parametrize("run", ["a" * 21, "UPPER", "../x", "a b", "--x", "x_y"])
def test_a_run_is_called_as_stacks_are(site, run):
    answer = site.browser.post(FORM, data={**filled(site), "run": run, "do": "start"})
    assert answer.status_code == 422
    assert 'id="wrong-run-1"' in answer.text
    assert site.portal.launches.all_of(ACCOUNT) == []


@pytest.mark.parametrize("vo", ["training.primage.eu", "x", "..", "vo.primage.eu%2F..%2Fx"])
def test_nobody_starts_anything_for_a_vo_that_they_are_not_in(site, vo):
    given = {**filled(site), "run": "mine", "do": "start"}
    assert site.browser.post(f"/apps/{vo}/batch", data=given).status_code == 404
    assert site.portal.launches.all_of(ACCOUNT) == []


def test_who_may_only_look_starts_nothing(site):
    site.log_in(groups=[f"/{VO}/guest"])
    answer = site.browser.post(FORM, data={**filled(site), "run": "mine", "do": "start"})
    assert answer.status_code == 403
    assert site.portal.launches.all_of(ACCOUNT) == []


HOSTILE = [
    '"><script>alert(1)</script>',
    "</textarea><script>alert(1)</script>",
    "{{ 7*7 }}",
    "' onfocus='alert(1)",
    "\x00",
    "é\u202e",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_values_are_shown_as_text(site, text):
    names = [field.path for group in APPS["batch"].groups for field in group.fields]
    answer = site.browser.post(FORM, data={**filled(site, **dict.fromkeys(names, text)), "run": text, "do": "start"})
    assert answer.status_code == 422
    tags = Tags()
    tags.feed(answer.text)
    assert "49" not in re.findall(r'value="([^"]*)"', answer.text)
    assert [attributes for tag, attributes in tags.seen if tag == "script"] == [{"src": "/static/portal.js", "defer": None}]
    assert not [name for _, attributes in tags.seen for name in attributes if name.startswith("on")]


class Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.seen = []

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))


@pytest.mark.parametrize("name", APPS)
def test_every_field_has_a_label_and_every_id_is_one_things(site, name):
    tags = Tags()
    tags.feed(site.browser.get(f"/apps/{VO}/{name}").text)
    ids = [attributes["id"] for _, attributes in tags.seen if "id" in attributes]
    assert len(ids) == len(set(ids))
    labels = {attributes["for"] for tag, attributes in tags.seen if tag == "label"}
    for tag, attributes in tags.seen:
        if tag in {"select", "textarea"} or (tag == "input" and attributes.get("type") != "hidden"):
            assert attributes["id"] in labels
            assert set(attributes["aria-describedby"].split()) <= set(ids)
