"""What stands before all pages of the datasets service: an image is read of those alone who may send it, and of few at a time."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from datasets import guard
from datasets.guard import IMAGES_AT_A_TIME, Guard

PATH, ORIGIN = "/api/vos/vo-a/images/dipg", "https://datasets.test"


def scope(vo: str = "vo-a") -> Scope:
    headers = [(b"host", b"datasets.test"), (b"content-type", b"application/dicom")]
    return {
        "type": "http",
        "method": "POST",
        "path": PATH.replace("vo-a", vo),
        "query_string": b"",
        "headers": headers,
        "asgi": {"version": "3.0"},
    }


async def page(scope: Scope, receive: Receive, send: Send) -> None:
    """Says how much has arrived."""
    body = await Request(scope, receive).body()
    await Response(str(len(body)))(scope, receive, send)


async def asked(made: Guard, receive: Receive, vo: str = "vo-a") -> tuple[int, bytes]:
    """What is answered."""
    said: list[Message] = []

    async def send(message: Message) -> None:
        said.append(message)

    await made(scope(vo), receive, send)
    return said[0]["status"], said[1]["body"]


def test_nothing_is_read_of_those_who_may_not_send_images() -> None:
    async def never() -> Any:
        pytest.fail("the body was read")

    made = Guard(page, ORIGIN, lambda _scope, vo: vo == "vo-a")
    assert asyncio.run(asked(made, never, "vo-b")) == (200, b"0")


def test_few_images_are_read_at_a_time_and_a_place_is_free_again_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "MOST_IMAGE", 100)
    made = Guard(page, ORIGIN, lambda _scope, _vo: True)

    async def all_of_it() -> None:
        begun, ends = asyncio.Semaphore(0), asyncio.Event()

        def body(length: int) -> Receive:
            async def receive() -> Message:
                begun.release()
                await ends.wait()
                return {"type": "http.request", "body": b"x" * length, "more_body": False}

            return receive

        sent = [asyncio.create_task(asked(made, body(7 if number else 101))) for number in range(IMAGES_AT_A_TIME)]
        for _ in sent:
            await begun.acquire()
        assert (await asked(made, body(7)))[0] == 503
        ends.set()
        assert sorted([(await one)[0] for one in sent]) == [200, 200, 200, 413]
        assert await asked(made, body(7)) == (200, b"7")

    asyncio.run(all_of_it())
