"""What settings protect, through either engine, on plain data."""

import io
import json

import pytest

from primage.engine import protection
from primage.engine.api import Action, Change, Options, Result
from primage.engine.pulumi_cli.command import Workspace
from primage.engine.pulumi_cli.engine import PulumiEngine
from primage.errors import PrimageError
from primage.projects.project import StackName, project_of

URN = "urn:pulumi:local::primage::primage:site:VirtualOrganisation$kubernetes:core/v1:{}::{}"
APP = StackName(site="local", app="batch", vo="vo.primage.eu")


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A site's file that says what is given."""
    (tmp_path / "infra").mkdir()
    (tmp_path / "Pulumi.yaml").write_text("name: primage\nmain: infra/\n")
    monkeypatch.setenv("PRIMAGE_REPOSITORY", str(tmp_path))

    def write(text):
        (tmp_path / "Pulumi.local.yaml").write_text(text)
        return project_of(StackName("local"))

    return write


@pytest.mark.parametrize(
    ("text", "overrides", "protects"),
    [
        ("config: {}", {}, True),
        ("config: {'primage:site': {}}", {}, True),
        ("config: {'primage:site': {protect: true}}", {}, True),
        ("config: {'primage:site': {protect: 'false'}}", {}, True),
        ("config: {'primage:site': [protect]}", {}, True),
        ("config: {'primage:site': {protect: false}}", {}, False),
        ("config: {'primage:site': {protect: false}}", {"site.protect": True}, True),
        ("config: {'primage:site': {protect: true}}", {"site.protect": False}, False),
        ("config: {'primage:site': {protect: false}}", {"site": {"kind": "local"}}, True),
    ],
)
def test_only_a_plain_false_lets_namespaces_and_volumes_go(site, text, overrides, protects):
    kinds = protection.protected_kinds(site(text), StackName("local"), overrides)
    assert kinds == (protection.KINDS if protects else frozenset())


def test_an_app_has_nothing_that_a_site_protects(site):
    assert protection.protected_kinds(site("config: {}"), APP, {}) == frozenset()


@pytest.mark.parametrize(
    ("kind", "action", "refused"),
    [
        ("Namespace", Action.DELETE, True),
        ("Namespace", Action.REPLACE, True),
        ("PersistentVolume", Action.DELETE, True),
        ("PersistentVolumeClaim", Action.DELETE, True),
        ("Namespace", Action.UPDATE, False),
        ("Namespace", Action.KEEP, False),
        ("ConfigMap", Action.DELETE, False),
    ],
)
def test_loss_is_refused_and_nothing_else(kind, action, refused):
    (change,) = protection.mark([Change(URN.format(kind, "x"), f"{kind} x", action)], protection.KINDS)
    assert bool(change.refused) is refused


def test_every_object_in_the_way_is_named_up_to_ten():
    changes = [Change(URN.format("Namespace", f"n{i}"), f"Namespace n{i:02}", Action.DELETE) for i in range(28)]
    with pytest.raises(PrimageError, match="Namespace n09 is protected") as caught:
        protection.require_allowed(protection.mark(changes, protection.KINDS), where="the state")
    assert "and 18 more" in caught.value.what
    assert caught.value.where == "the state"


def pulumi(monkeypatch, *steps):
    """Pulumi's engine, each of whose commands goes through the same steps; and the commands that were given."""
    done = []

    def follow(_self, *arguments, on_event, on_tick):
        done.append(" ".join(part for part in arguments[:2] if part in {"preview", "up", "destroy"}))
        for op, kind, name in steps:
            state = {"inputs": {"apiVersion": "v1", "kind": kind, "metadata": {"name": name}}}
            step = {"op": op, "urn": URN.format(kind, name), "type": f"kubernetes:core/v1:{kind}", "old": state, "new": None}
            on_event({"resourcePreEvent": {"metadata": step}})

    noted = [
        {
            "urn": URN.format(kind, name),
            "type": f"kubernetes:core/v1:{kind}",
            "inputs": {"apiVersion": "v1", "kind": kind, "metadata": {"name": name}},
        }
        for _, kind, name in steps
    ]
    monkeypatch.setattr(Workspace, "follow", follow)
    monkeypatch.setattr(Workspace, "run", lambda *_, **__: json.dumps({"deployment": {"resources": noted}}))
    return PulumiEngine(), done


@pytest.mark.parametrize(("verb", "looked"), [("up", ["preview"]), ("destroy", [])])
@pytest.mark.parametrize(
    "steps",
    [
        [("same", "ConfigMap", "c"), ("delete", "Namespace", "vo")],
        [("create-replacement", "Namespace", "vo"), ("replace", "Namespace", "vo"), ("delete-replaced", "Namespace", "vo")],
        [("delete", "PersistentVolume", "v"), ("create", "ConfigMap", "c")],
    ],
)
def test_pulumis_engine_is_not_started_where_it_would_delete_what_is_protected(site, monkeypatch, verb, looked, steps):
    site("config: {'primage:site': {}}")
    engine, done = pulumi(monkeypatch, *steps)
    assert engine.preview(StackName("local"), Options()).refused()
    done.clear()
    with pytest.raises(PrimageError, match="is protected"):
        getattr(engine, verb)(StackName("local"), Options())
    assert done == looked


@pytest.mark.parametrize(("verb", "looked"), [("up", ["preview"]), ("destroy", [])])
def test_pulumis_engine_does_what_is_not_protected(site, monkeypatch, verb, looked):
    site("config: {'primage:site': {protect: false}}")
    engine, done = pulumi(monkeypatch, ("delete", "Namespace", "vo"))
    (change,) = getattr(engine, verb)(StackName("local"), Options()).changes
    assert (change.label, change.action, change.refused) == ("Namespace vo", Action.DELETE, "")
    assert done == [*looked, verb]


def test_pulumis_engine_destroys_nothing_that_its_own_state_protects(site, monkeypatch):
    site("config: {'primage:site': {protect: false}}")
    engine, done = pulumi(monkeypatch)
    resource = {"urn": URN.format("ConfigMap", "c"), "type": "kubernetes:core/v1:ConfigMap", "protect": True}
    monkeypatch.setattr(Workspace, "run", lambda *_, **__: json.dumps({"deployment": {"resources": [resource]}}))
    with pytest.raises(PrimageError, match="ConfigMap c is protected"):
        engine.destroy(StackName("local"), Options())
    assert done == []


def test_a_preview_says_per_object_what_up_will_refuse(monkeypatch):
    from primage.cli import output

    changes = [Change(URN.format(kind, "x"), f"{kind} x", Action.DELETE) for kind in ("Namespace", "ConfigMap")]
    text = io.StringIO()
    monkeypatch.setattr("sys.stdout", text)
    output.print_result(Result("local", tuple(protection.mark(changes, protection.KINDS))), done="Preview of", preview=True)
    lines = text.getvalue().splitlines()
    assert lines[0] == "- Namespace x"
    assert lines[1].strip().startswith("`up` will refuse all of this: it is protected")
    assert lines[2] == "- ConfigMap x"
    assert "because of 1 of these" in lines[-2]
    assert "set `protect: false` (for a site, in its settings), run `primage up` without the change" in lines[-1]


def test_a_preview_says_what_goes_with_a_virtual_organisation(capsys):
    from primage.cli import output

    gone = Change(URN.format("VirtualOrganisation", "x"), "VirtualOrganisation x", Action.DELETE)
    output.print_result(Result("local", (gone,)), done="Preview of", preview=True)
    first, last = capsys.readouterr().out.splitlines()
    assert first.startswith("- VirtualOrganisation x  (with its namespace, the namespaces of its members, their jobs and volumes")
    assert "refuse" not in last
    assert protection.goes_with(Change(URN.format("ConfigMap", "x"), "ConfigMap x", Action.DELETE)) == ""
    assert protection.goes_with(Change(URN.format("Member", "x"), "Member x", Action.UPDATE)) == ""


HOSTILE = "a\x1b]0;owned\x07b\x1b[2Jc\x9b31md\u202ee\rf\udc80g"


def test_nothing_that_is_printed_is_obeyed_by_a_terminal(monkeypatch):
    from primage.cli import output

    out, err = io.StringIO(), io.StringIO()
    monkeypatch.setattr("sys.stdout", out)
    monkeypatch.setattr("sys.stderr", err)
    change = Change("u", HOSTILE, Action.REPLACE, reason=HOSTILE, refused=HOSTILE)
    output.print_result(Result("s", (change,)), done="Up")
    output.console().print(HOSTILE, markup=False)
    output.report_error(PrimageError(HOSTILE, where=HOSTILE, todo=HOSTILE), as_json=False)
    output.report_error(PrimageError(HOSTILE), as_json=True)
    with output.progress(quiet=False) as listener:
        listener(output.Event(HOSTILE, HOSTILE, f"{HOSTILE} [/red] [link=x]"))
    text = out.getvalue() + err.getvalue()
    assert "[/red] [link=x]" in text
    assert not set(text) & set("\x1b\x07\x9b\u202e\r\udc80")
    assert text.count(r"a\x1b]0;owned\x07b\x1b[2Jc\x9b31md\u202ee") >= 7
