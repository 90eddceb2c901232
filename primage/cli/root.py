"""The command line: one command a noun or verb, modules imported only by the command that needs them."""

from __future__ import annotations

import gc
import sys

import typer

from primage.cli import audit, check, cp, hpc, login, logs, members, move, queue, session, site, stacks, study, validate, why
from primage.cli.output import report_error
from primage.errors import ExitCode, PrimageError

app = typer.Typer(
    name="primage",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help="""
A federated cloud for medical imaging research, site by site.

A STACK is a site (`local`), an app for a virtual organisation (VO) on a site (`batch/vo.primage.eu.local`), or one of several
runs of it (`batch/vo.primage.eu.local--trial`).
""",
    epilog=(
        "Exit codes: 0 done, 1 failed, 2 usage, 3 invalid settings, 4 unreachable, 5 a check failed, 6 not possible here. "
        "With --debug an error shows where in the code it happened."
    ),
)
app.command("validate")(validate.validate)
app.command("preview")(stacks.preview)
app.command("up")(stacks.up)
app.command("destroy")(stacks.destroy)
app.command("move")(move.move)
app.command("render")(stacks.render)
app.command("outputs")(stacks.outputs)
app.command("status")(stacks.status)
app.command("logs")(logs.logs)
app.command("cp")(cp.cp)
app.command("open")(session.open_session)
app.command("scale")(queue.scale)
app.command("check")(check.check)
app.command("study")(study.study)
app.command("why")(why.why)
app.command("audit")(audit.audit)
app.command("login")(login.login)
app.command("logout")(login.logout)
app.command("credential", hidden=True)(login.credential)
app.command("join")(members.join)
app.command("leave")(members.leave)
app.add_typer(members.app, name="members")
app.add_typer(hpc.app, name="hpc")
app.add_typer(queue.app, name="queue")
app.add_typer(site.app, name="site")


SELDOM = 100_000
"""New objects between two looks for garbage. Libraries make many that stay: at Python's 700, looking is a tenth of a command."""

INTERRUPTED = 130
"""The exit code of a command that Ctrl-C ended, as in shells."""


def main() -> None:
    """Run the command line; every error ends as one paragraph and a documented exit code."""
    gc.set_threshold(SELDOM)
    debug = "--debug" in sys.argv
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    try:
        app(args=arguments, standalone_mode=True)
    except PrimageError as error:
        if debug:
            raise
        report_error(error, as_json="--json" in arguments)
        sys.exit(int(error.code))
    except (KeyboardInterrupt, SystemExit) as ended:
        # Typer ends with this status when it is interrupted, and says nothing.
        if isinstance(ended, SystemExit) and ended.code != INTERRUPTED:
            raise
        report_error(PrimageError("interrupted", todo="run the same command again: it continues where it stopped"), as_json=False)
        sys.exit(INTERRUPTED)
    except Exception as error:
        if debug:
            raise
        defect = PrimageError(
            f"this is a defect in primage: {type(error).__name__}: {error}",
            todo="run again with --debug and report what it prints",
            code=ExitCode.DEFECT,
        )
        report_error(defect, as_json="--json" in arguments)
        sys.exit(int(ExitCode.DEFECT))
