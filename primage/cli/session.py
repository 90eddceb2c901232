"""`primage open`."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from primage.cli.output import Json, console, print_json, progress
from primage.cli.stacks import EngineOption
from primage.engine.api import Options
from primage.engine.choose import EngineKind, choose_engine
from primage.projects.project import parse_stack_name

if TYPE_CHECKING:
    from primage.clients.port_forward import PortForward

LOOK_EVERY_S = 5


def open_session(
    stack: Annotated[str, typer.Argument(metavar="STACK", help="A notebook, desktop or web stack (notebook/vo.primage.eu.local).")],
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port on this machine's loopback where it is forwarded; 0 for any free one.")
    ] = 0,
    browser: Annotated[bool, typer.Option(help="Open it in this machine's browser, where there is one.")] = True,
    engine: EngineOption = EngineKind.AUTO,
    json: Json = False,
) -> None:
    """Open a notebook, a desktop or a web session in a browser; one that has ended is started again.

    Where the site has a gateway, its address stays, and asks for a login. Elsewhere it is forwarded until it ends or Ctrl-C.

    Example: `primage open notebook/vo.primage.eu.local`
    """
    from primage.errors import ExitCode, PrimageError
    from primage.operations.sessions import require_answer, session_of

    with progress(quiet=json) as listener:
        session = session_of(parse_stack_name(stack), choose_engine(engine), Options(listener=listener))
    if session.address:
        _say_address(stack, session.address, browser=browser, json=json)
        return
    forward = session.forward(port)
    try:
        forward.__enter__()
    except OSError as error:
        raise PrimageError(
            f"cannot listen on port {port} of this machine ({error.strerror})",
            todo="leave --port out, or choose a free port",
            code=ExitCode.USAGE,
        ) from error
    with _until_interrupted(forward):
        url = session.url(forward.port)
        require_answer(url)
        if json:
            print_json({"url": url})
        else:
            words = "Anyone who has this address can get in. Press Ctrl-C to stop forwarding it."
            console().print(f"{stack} is open at\n\n  {url}\n\n{words}")
        with _browser(url, wanted=browser and not json):
            while not session.ended():
                time.sleep(LOOK_EVERY_S)
        console(stderr=True).print(f"{stack} has ended (idle for too long, or stopped). `primage open {stack}` starts it again.")


def _say_address(stack: str, address: str, *, browser: bool, json: bool) -> None:
    if json:
        print_json({"url": address})
        return
    console().print(
        f"{stack} is open at\n\n  {address}\n\nIt asks for a login, and lets in whom it is shared with.", soft_wrap=True
    )
    if browser and _has_screen():
        import webbrowser

        webbrowser.open(address)


def _has_screen() -> bool:
    """Whether there is somebody at a screen of this machine."""
    screen = sys.platform == "darwin" or any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"))
    return screen and console().is_terminal


@contextmanager
def _until_interrupted(forward: PortForward) -> Iterator[None]:
    """Ctrl-C ends the command in the ordinary way."""
    try:
        yield
    except KeyboardInterrupt:
        console(stderr=True).print("closed")
    finally:
        forward.__exit__(None, None, None)


@contextmanager
def _browser(url: str, *, wanted: bool) -> Iterator[None]:
    """Open it through a file that only this user can read: everybody can see an address among a program's arguments."""
    if not (wanted and _has_screen()):
        yield
        return
    import tempfile
    import webbrowser

    with tempfile.NamedTemporaryFile("w", prefix="primage-open-", suffix=".html", encoding="utf-8") as page:
        page.write(f'<!doctype html><meta http-equiv="refresh" content="0; url={url}"><a href="{url}">open</a>')
        page.flush()
        webbrowser.open(Path(page.name).as_uri())
        yield
