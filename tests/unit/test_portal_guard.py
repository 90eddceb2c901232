"""Who keeps the portal waiting, or writes what ends in its log: nobody may hold what others need, nor speak for it."""

import asyncio
import logging
import socket
import threading

import pytest
import uvicorn
from starlette.responses import PlainTextResponse

from portal import guard
from portal.connection import Connection
from portal.guard import Guard
from primage.contract.one_line import FORMAT, OneLine

URL = "https://portal.example.org"
FORM = [(b"host", b"portal.example.org"), (b"origin", URL.encode()), (b"content-type", b"application/x-www-form-urlencoded")]


async def reads(scope, receive, send):
    """An application that says what it is given, and then waits for the browser to go."""
    said = [await receive(), await receive()]
    await PlainTextResponse(str([message.get("body", message["type"]) for message in said]))(scope, receive, send)


def answer(messages):
    """Status and body of what `reads` answers, where nothing comes after these messages."""
    coming, said = iter(messages), []

    async def receive():
        message = next(coming, None)
        if message is None:
            await asyncio.Event().wait()
        return message

    async def send(message):
        said.append(message)

    scope = {"type": "http", "method": "POST", "path": "/x", "query_string": b"", "headers": FORM}
    asyncio.run(asyncio.wait_for(Guard(reads, URL)(scope, receive, send), 30))
    return said[0]["status"], said[1]["body"]


def part(body, *, more):
    return {"type": "http.request", "body": body, "more_body": more}


def test_a_form_that_does_not_arrive_is_waited_for_no_longer(monkeypatch):
    monkeypatch.setattr(guard, "BODY_S", 0.1)
    assert answer([part(b"a", more=True)]) == (408, b"a form arrives within 0 s.\n")


def test_a_form_has_arrived_whole_before_anybody_takes_a_turn_for_it():
    gone = {"type": "http.disconnect"}
    assert answer([part(b"a=", more=True), part(b"b", more=False), gone]) == (200, b"[b'a=b', 'http.disconnect']")
    assert answer([part(b"a=", more=True), gone, gone]) == (200, b"['http.disconnect', 'http.disconnect']")
    assert answer([part(b"a" * guard.MOST_BYTES, more=True), part(b"b", more=True)])[0] == 413


@pytest.fixture
def port():
    """Of a server with connections as the portal has them, which are kept for a second."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        config = uvicorn.Config(PlainTextResponse("there"), http=Connection, ws="none", lifespan="off", timeout_keep_alive=1)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
        thread.start()
        yield listening.getsockname()[1]
        server.should_exit = True
        thread.join(30)


@pytest.mark.parametrize("begun", [b"", b"GET / HTTP/1.1\r\nHost: a\r\n", b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET"])
def test_a_connection_without_a_whole_request_ends(port, begun):
    with socket.create_connection(("127.0.0.1", port), 30) as browser:
        browser.sendall(begun)
        said = b""
        while piece := browser.recv(1000):
            said += piece
    assert said.endswith(b"there") == begun.endswith(b"GET")


def test_who_sends_a_request_byte_by_byte_is_not_waited_for(port):
    with socket.create_connection(("127.0.0.1", port), 30) as browser:
        browser.settimeout(0.05)
        while True:
            try:
                browser.sendall(b"G")
                if not browser.recv(1):
                    break
            except TimeoutError:
                continue
            except OSError:
                break


def test_nothing_that_people_write_looks_like_a_line_of_the_log():
    words = "not valid:\nINFO portal ada@example.org has logged in\x1b[2J\u2028\ud800"
    shown = OneLine(FORMAT).format(logging.LogRecord("portal", logging.WARNING, "x", 1, "%s: %s", ("/apps", words), None))
    assert shown == r"WARNING portal /apps: not valid:\nINFO portal ada@example.org has logged in\x1b[2J\u2028\ud800"
