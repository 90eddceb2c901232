"""The audit log: what an event means, what a line may be, how two logs become one list, and what hostile names do to it."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from primage.cli.root import app
from primage.contract.audit import LONGEST_LINE, Line, Road, Source, Verb, What, Who
from primage.errors import PrimageError
from primage.operations.audit import joined as joining
from primage.operations.audit import reading, texts
from primage.operations.audit.derivation import Event, line_of
from primage.operations.audit.joined import Wanted, joined, time_of

NOW = datetime(2026, 1, 31, 8, tzinfo=UTC)
HOSTILE = st.text(max_size=300) | st.sampled_from(
    ["\n", "\r\n{}", "\x1b[2J", '"},{"', "[red]x[/]", "x" * 100_000, "\u2028", "\u202eabc"]
)
STAGES = ("ResponseStarted", "ResponseComplete", "Panic")


def event(verb="create", resource="jobs", code=201, **more):
    about = {"resource": resource, "namespace": "ada-at-example-dot-org", "name": "hello", **more.pop("ref", {})}
    given = {
        "kind": "Event",
        "level": "Metadata",
        "stage": "ResponseComplete",
        "requestURI": "/apis/batch/v1/namespaces/x/jobs",
        "verb": verb,
        "user": {"username": "primage:ada@example.org", "groups": ["primage:/vo.example.org/researcher", "system:authenticated"]},
        "objectRef": about,
        "responseStatus": {"code": code},
        "stageTimestamp": "2026-01-31T08:00:00.123456Z",
    }
    return {**given, **more}


def derived(given):
    return line_of(Event.model_validate_json(json.dumps(given)))


OPERATOR = {"username": "kubernetes-admin", "groups": ["kubeadm:cluster-admins", "system:authenticated"]}
CONNECTOR = {"username": "system:serviceaccount:vo:hpc-connector", "groups": ["system:serviceaccounts", "system:authenticated"]}
STARTED = {"stage": "ResponseStarted"}


@pytest.mark.parametrize(
    ("given", "verb"),
    [
        (event(), Verb.LAUNCHED),
        (event("patch", code=201), Verb.LAUNCHED),
        (event("patch", code=200), Verb.CHANGED),
        (event("patch", code=201, requestURI="/x?dryRun=All&fieldManager=primage"), None),
        (event("patch", code=403, requestURI="/x?dryRun=All"), Verb.REFUSED),
        (event("patch", code=201, requestURI="/x?dryRun=All;"), Verb.LAUNCHED),
        (event("delete", code=200, requestURI="/x?dryRun=All"), Verb.STOPPED),
        (event("create", code=422), None),
        (event("create", code=504), Verb.LAUNCHED),
        (event("delete", code=200), Verb.STOPPED),
        (event("deletecollection", code=200), Verb.STOPPED),
        (event("patch", code=200, ref={"subresource": "status"}), Verb.CHANGED),
        (event("create", "configmaps"), Verb.CHANGED),
        (event("get", "pods", 101, ref={"subresource": "exec"}, **STARTED), Verb.OPENED),
        (event("get", "pods", 101, ref={"subresource": "exec"}), None),
        (event("create", "pods", 403, ref={"subresource": "exec"}, **STARTED), Verb.REFUSED),
        (event("get", "pods", 200, ref={"subresource": "log"}, **STARTED), None),
        (event("create", "services", 200, ref={"subresource": "proxy"}, **STARTED), Verb.OPENED),
        (event("list", "secrets", 200), Verb.READ_SECRET),
        (event("get", "secrets", 200, requestURI="/x?dryRun=All"), Verb.READ_SECRET),
        (event("create", "serviceaccounts", 201, ref={"subresource": "token"}, requestURI="/x?dryRun=All"), Verb.READ_SECRET),
        (event("get", "pods", 101, ref={"subresource": "exec"}, requestURI="/x?command=sh&dryRun=All", **STARTED), Verb.OPENED),
        (event("create", "services", 200, ref={"subresource": "proxy"}, requestURI="/x?dryRun=All", **STARTED), Verb.OPENED),
        (event("watch", "secrets", 200, **STARTED), Verb.READ_SECRET),
        (event("watch", "secrets", 200), None),
        (event("get", "secrets", 404), None),
        (event("create", "serviceaccounts", ref={"subresource": "token"}), Verb.READ_SECRET),
        (event("list", "pods", 200), None),
        (event("list", "pods", 403), Verb.REFUSED),
        (event("get", code=403, objectRef=None, requestURI="/metrics?x=1"), Verb.REFUSED),
        (event("get", code=200, objectRef=None, requestURI="/metrics"), None),
        (event(stage="RequestReceived"), None),
        (event(stage="Panic", code=500), Verb.LAUNCHED),
        (event(user=OPERATOR, impersonatedUser={"username": "primage:ada@example.org"}), Verb.LAUNCHED),
    ],
)
def test_what_an_event_means(given, verb):
    line = derived(given)
    assert (line and line.verb) == verb


def test_a_line_says_who_did_it_and_not_whom_they_passed_for():
    line = derived(event(user=CONNECTOR, impersonatedUser={"username": "primage:eve@example.org"}))
    assert (line.who.source, line.who.account) == (Source.SERVICE_ACCOUNT, CONNECTOR["username"])
    assert line.why == "create, as primage:eve@example.org"
    assert derived(event()).who == Who(account="ada@example.org", source=Source.IDENTITY_PROVIDER)
    assert derived(event(user=OPERATOR)).who.source is Source.OPERATOR
    server = {"username": "system:apiserver", "groups": ["system:masters"]}
    assert derived(event(user=server)).who.source is Source.KUBERNETES
    refused = derived(event("get", code=403, objectRef=None, requestURI="/metrics?token=abc"))
    assert (refused.object.kind, refused.object.name) == ("path", "/metrics")


@given(
    verb=st.sampled_from(["get", "list", "watch", "create", "patch", "delete"]) | HOSTILE,
    stage=st.sampled_from(STAGES),
    code=st.sampled_from([0, 101, 200, 201, 403, 404, 500]) | st.integers(),
    user=HOSTILE,
    uri=HOSTILE,
    ref=st.dictionaries(st.sampled_from(["resource", "namespace", "name", "subresource"]), HOSTILE),
)
def test_whatever_names_hold_a_line_is_one_line_and_says_the_same_when_it_is_read_again(verb, stage, code, user, uri, ref):
    given = event(verb, code=code, stage=stage, user={"username": user}, objectRef=ref, requestURI=uri)
    line = derived(given)
    if line is None:
        return
    text = line.text()
    assert text.isascii()
    assert text.isprintable()
    assert len(text) <= LONGEST_LINE
    assert Line.model_validate_json(text) == line


@given(
    st.binary(max_size=300) | st.sampled_from([b"{}", b"[" * 5000, b'{"stage": 1}', b"null", b"9" * 5000, b'{"stage":"\\ud800"}'])
)
def test_what_is_no_event_is_counted_and_nothing_else(garbage):
    found = reading.Found()
    good = json.dumps(event()).encode()
    pieces = [good + b"\n" + garbage.replace(b"\n", b" ") + b"\n", good[:20], good[20:], b"\n", good[:-9]]
    lines = list(reading.api_server_lines(pieces, found))
    assert [line.verb for line in lines] == [Verb.LAUNCHED] * 2
    assert found.unreadable[Road.API_SERVER] == (2 if garbage else 1)


@given(st.lists(st.binary(max_size=12)), st.integers(0, 8))
def test_lines_are_the_same_however_they_arrive(pieces, longest):
    whole = b"".join(pieces).split(b"\n")
    if not whole[-1]:
        whole.pop()
    assert list(texts.lines(pieces, longest)) == [None if len(one) > longest else one for one in whole]


def line(second=0, verb=Verb.CHANGED, account="ada@example.org", vo="", namespace="", name=""):
    return Line(
        time=NOW + timedelta(seconds=second),
        who=Who(account=account, source=Source.IDENTITY_PROVIDER),
        verb=verb,
        object=What(vo=vo, namespace=namespace, kind="jobs", name=name),
        road=Road.API_SERVER,
    )


@given(st.lists(st.lists(st.integers(0, 50), max_size=30), max_size=3))
def test_two_logs_become_one_list_in_order_of_time(logs):
    roads = [[line(second) for second in seconds] for seconds in logs]
    found = [entry.time for entry in joined(roads, {})]
    assert found == sorted(entry.time for road in roads for entry in road)


def test_no_more_than_a_window_is_held(monkeypatch):
    monkeypatch.setattr(joining, "WINDOW", 3)
    given = []

    def road():
        for second in range(10):
            given.append(second)
            yield line(second)

    assert next(joined([road()], {})).time == NOW
    assert given == [0, 1, 2, 3]


def test_a_namespace_is_of_the_vo_that_its_last_line_before_says():
    road = [line(0, namespace="x"), line(1, vo="old.org", namespace="x"), line(2, namespace="x"), line(3, namespace="y")]
    assert [entry.object.vo for entry in joined([road], {"x": "new.org"})] == ["new.org", "old.org", "old.org", ""]


def test_what_is_asked_for():
    lines = [
        line(0, Verb.GIVEN, vo="vo.org"),
        line(1, Verb.LAUNCHED, account="kubernetes-admin", namespace="ada-at-example-dot-org"),
        line(2, Verb.OPENED, account="bob@example.org", namespace="vo"),
        line(-9),
    ]
    asked = lambda **more: [entry.time.second for entry in lines if Wanted(since=NOW, **more).has(entry)]  # noqa: E731
    assert asked() == [0, 1, 2]
    assert asked(vo="vo.org") == [0]
    assert asked(member="ada@example.org") == [0, 1]
    assert asked(verbs=frozenset({Verb.OPENED})) == [2]


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("24h", NOW - timedelta(hours=24)),
        ("7d", NOW - timedelta(days=7)),
        ("2026-01-31T09:00:00+01:00", NOW),
        ("2026-01-31T08:00:00Z", NOW),
    ],
)
def test_a_time_is_said_in_two_ways(text, time):
    assert time_of(text, NOW) == time


@pytest.mark.parametrize("text", ["", "yesterday", "2026-01-31T08:00:00", "99999w99", "-1h", "0001-01-01T00:00:00+23:00"])
def test_what_is_no_time_is_refused(text):
    with pytest.raises(PrimageError, match="is no time"):
        time_of(text, NOW)


# -- the command -----------------------------------------------------------------------------------------------------


@pytest.fixture
def logged(monkeypatch):
    """What a site's logs hold, for the command."""
    entries = []

    def read(site, wanted, found):
        found.unreadable[Road.API_SERVER] = 2
        found.begins[Road.AUTHORIZER] = NOW
        return filter(wanted.has, entries)

    monkeypatch.setattr(reading, "read", read)
    return entries


def run(*more):
    return CliRunner().invoke(app, ["audit", "local", "--since", "2026-01-01T00:00:00Z", *more])


def test_a_table_shows_no_name_that_a_terminal_would_obey(logged):
    logged.append(line(namespace="x", name="a\nb\x1b[2J[red]c[/]", account="\u202eeve"))
    done = run()
    assert done.exit_code == 0, done.output
    head, row = done.stdout.rstrip("\n").split("\n")
    assert head.split() == ["time", "who", "source", "verb", "what", "why"]
    assert row.split() == [
        "2026-01-31T08:00:00Z",
        "\\u202eeve",
        "identity-provider",
        "changed",
        "jobs",
        "x/a\\x0ab\\x1b[2J[red]c[/]",
    ]
    assert "2 lines of the api-server's log cannot be read" in done.stderr
    assert "the authorizer's log begins at 2026-01-31T08:00:00Z" in done.stderr


def test_machines_get_a_line_for_each(logged):
    logged.extend([line(0, name="a\nb"), line(1, Verb.GIVEN)])
    done = run("--json", "--verb", "changed")
    (text,) = done.stdout.splitlines()
    assert json.loads(text)["object"]["name"] == "a\nb"


def test_a_table_is_bounded_and_says_so(logged):
    logged.extend(line(second) for second in range(600))
    done = run()
    assert len(done.stdout.splitlines()) == 501
    assert "the latest 500 of 600 lines are shown" in done.stderr


@pytest.mark.parametrize(("option", "says"), [(["--verb", "done"], "is none of given, lost"), (["--since", "soon"], "is no time")])
def test_what_cannot_be_asked_for_is_a_usage_error(logged, option, says):
    done = run(*option)
    assert says in done.stderr or says in str(done.exception)


# -- files on a control plane ----------------------------------------------------------------------------------------


class Node:
    """As much of an API server as hands out a node's log files; one of them is renamed while the first is read."""

    folder = "/api/v1/nodes/front/proxy/logs/kubernetes"

    def __init__(self, renamed=""):
        self.files = {
            "audit-2026-01-29T00-00-00.000.log": b"1\n",
            "audit-2026-01-31T07-00-00.000.log": b"2\n",
            "audit.log": b"3\n",
            "audit-x.log": b"no",
            "other.log": b"no",
        }
        self.renamed, self.read = renamed, []

    def pieces(self, path, *, silence_s):
        name = path.removeprefix(f"{self.folder}/")
        if not name:
            return [f'<a href="{one}">{one}</a>\n'.encode() for one in self.files]
        self.read.append(name)
        found = [self.files[name]]
        if self.renamed:
            self.files[self.renamed], self.files["audit.log"], self.renamed = self.files["audit.log"], b"4\n", ""
        return found


@pytest.mark.parametrize(
    ("days", "renamed", "whole"),
    [(1, "", b"2\n3\n"), (9, "", b"1\n2\n3\n"), (1, "audit-2026-01-31T08-00-00.123.log", b"2\n3\n4\n"), (0, "", b"3\n")],
)
def test_the_files_of_the_time_that_is_asked_for_are_read_each_once_and_in_order(days, renamed, whole):
    node = Node(renamed)
    assert b"".join(reading._files(node, node.folder, NOW - timedelta(days=days), set())) == whole
    assert len(node.read) == len(set(node.read))


def test_a_log_that_begins_too_late_is_told_unless_its_beginning_was_left_out():
    for days, told in ((9, {Road.API_SERVER: NOW.replace(microsecond=123456)}), (1, {})):
        node, found = Node(), reading.Found()
        for name in node.files:
            node.files[name] = json.dumps(event()).encode() + b"\n"
        assert list(reading._events(node, "front", NOW - timedelta(days=days), float("inf"), found))
        assert found.begins == told
