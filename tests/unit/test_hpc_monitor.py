"""A backend's monitor: who follows a job sees the looks that begin after they asked, or what keeps anybody from looking."""

import asyncio
from contextlib import asynccontextmanager, suppress

import pytest

from hpc_connector.clients.backend_secret import BackendSecret
from hpc_connector.domain.errors import UnavailableError
from hpc_connector.domain.request import Request
from hpc_connector.domain.seen import Seen
from hpc_connector.monitor import BackendMonitor
from hpc_connector.pulse import Pulse
from primage.contract.hpc import Backend

UID = "9b2e8b1c-0000-4000-8000-000000000001"
REQUEST = Request(UID, "job", "hpc", "true")


class Centre:
    """A transport whose looks end when the test says so."""

    def __init__(self):
        self.asked = asyncio.Queue()
        self.closed = 0

    async def look(self, attempts):
        answer = asyncio.get_running_loop().create_future()
        self.asked.put_nowait((list(attempts), answer))
        return await answer

    async def close(self):
        self.closed += 1


class Secret:
    """Credentials that never change, until they are taken away."""

    known = True

    async def refresh(self, *, at_once):
        if not self.known:
            raise UnavailableError("CredentialsMissing", "there is no Secret")
        return False


@asynccontextmanager
async def watching(keep_s):
    centre = Centre()
    pulse = Pulse(30)
    secret = Secret()
    monitor = BackendMonitor(
        Backend("hpc", "host", poll_s=0.2, max_jobs=1),
        centre,
        secret,
        whose="vo",
        wanted=lambda uid: True,
        spawn=asyncio.create_task,
        pulse=pulse,
        looks=asyncio.Semaphore(1),
        idle_s=300,
        keep_s=keep_s,
    )
    loop = asyncio.create_task(monitor.look_forever())
    try:
        yield monitor, centre
    finally:
        loop.cancel()


def run(do, keep_s=0.0):
    async def whole():
        async with watching(keep_s) as (monitor, centre):
            return await asyncio.wait_for(do(monitor, centre), 20)

    return asyncio.run(whole())


def test_a_look_that_had_begun_already_shows_nothing_to_who_asks_now():
    async def do(monitor, centre):
        attempts, first = await centre.asked.get()
        assert attempts == []
        with monitor.following(REQUEST, 1, "1") as look:
            waiting = asyncio.create_task(look())
            await asyncio.sleep(0)
            first.set_result({(UID, 1): Seen("1", "PENDING")})
            attempts, second = await centre.asked.get()
            assert attempts == [(UID, 1)]
            assert not waiting.done()
            second.set_result({(UID, 1): Seen("1", "RUNNING")})
            return await waiting

    assert run(do) == Seen("1", "RUNNING")


def test_an_attempt_that_no_look_shows_is_seen_as_unknown_to_slurm():
    async def do(monitor, centre):
        (await centre.asked.get())[1].set_result({})
        with monitor.following(REQUEST, 1, "1") as look:
            waiting = asyncio.create_task(look())
            (await centre.asked.get())[1].set_result({})
            return await waiting

    assert run(do) == Seen()


def test_everybody_is_told_what_keeps_from_looking_and_can_ask_again():
    async def do(monitor, centre):
        _, first = await centre.asked.get()
        with monitor.following(REQUEST, 1, "1") as look, monitor.following(REQUEST, 2, "") as other:
            waiting = [asyncio.create_task(look()), asyncio.create_task(other())]
            await asyncio.sleep(0)
            first.set_exception(UnavailableError("Unreachable", "no route"))
            for task in waiting:
                with pytest.raises(UnavailableError, match="no route"):
                    await task
            waiting = asyncio.create_task(look())
            monitor.hurry()
            (await centre.asked.get())[1].set_result({(UID, 1): Seen("1", "RUNNING")})
            return await waiting

    assert run(do) == Seen("1", "RUNNING")


def test_who_gives_up_waiting_takes_nothing_from_others():
    async def do(monitor, centre):
        _, first = await centre.asked.get()
        with monitor.following(REQUEST, 1, "1") as look:
            gone, waiting = asyncio.create_task(look()), asyncio.create_task(look())
            await asyncio.sleep(0)
            gone.cancel()
            first.set_result({})
            (await centre.asked.get())[1].set_result({(UID, 1): Seen("1", "RUNNING")})
            return await waiting

    assert run(do) == Seen("1", "RUNNING")


def test_the_connection_is_closed_when_nobody_needs_it():
    async def do(monitor, centre):
        closed = []
        _, answer = await centre.asked.get()
        with monitor.in_use():
            answer.set_result({})
            monitor.hurry()
            _, answer = await centre.asked.get()  # the loop has come round: whatever it closes is closed
            closed.append(centre.closed)
        answer.set_result({})
        monitor.hurry()
        await centre.asked.get()
        return [*closed, centre.closed], monitor.looks, monitor.followed

    assert run(do) == ([0, 1], 2, 0)


@pytest.mark.parametrize(("keep_s", "closed"), [(300.0, 0), (0.2, 1)])
def test_the_connection_stays_for_a_while_after_its_last_use(keep_s, closed):
    async def do(monitor, centre):
        _, answer = await centre.asked.get()
        with monitor.in_use():
            answer.set_result({})
        monitor.hurry()
        (await centre.asked.get())[1].set_result({})
        if closed:
            (await centre.asked.get())[1].set_result({})  # by itself, when it has been kept long enough
        monitor.hurry()
        await centre.asked.get()
        return centre.closed

    assert run(do, keep_s) == closed


def test_no_connection_outlives_its_credentials():
    async def do(monitor, centre):
        _, answer = await centre.asked.get()
        with monitor.in_use():
            answer.set_result({})
        monitor.secret.known = False
        with pytest.raises(UnavailableError, match="no Secret"):
            await monitor.refresh_credentials()
        return centre.closed

    assert run(do, 300.0) == 1


def test_credentials_that_are_taken_away_are_forgotten():
    answers = [
        ("held", "1"),
        None,
        UnavailableError("ApiServer", "away"),
        UnavailableError("CredentialsMissing", "gone"),
        ("new", "1"),
    ]

    class Kube:
        async def credentials(self, backend, known):
            answer = answers.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return answer

    async def do():
        secret, known = BackendSecret(Kube(), "hpc"), []
        while answers:
            with suppress(UnavailableError):
                await secret.refresh(at_once=True)
            known.append(secret.known)
        return known, secret.credentials()

    assert asyncio.run(do()) == ([True, True, True, False, True], "new")
