"""Whose request goes next: who came first is ready first, and what takes rights away waits for nobody."""

import asyncio
from contextlib import nullcontext

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authorizer.clients.turns import Turns, in_line

REQUESTS = 3


def order(people, at_once=1):
    """Of the requests, by who asks, where `True` stands for somebody in line and `False` for somebody outside of it."""
    done = []

    async def ask(number, turns):
        async with turns:
            done.append(number)
            await asyncio.sleep(0)

    async def person(number, turns, *, waits):
        with in_line() if waits else nullcontext():
            await asyncio.gather(*(ask(number, turns) for _ in range(REQUESTS)))

    async def run():
        turns = Turns(at_once)
        async with turns:  # until all have asked
            tasks = [asyncio.create_task(person(number, turns, waits=waits)) for number, waits in enumerate(people)]
            for _ in range(3):
                await asyncio.sleep(0)
        await asyncio.gather(*tasks)

    asyncio.run(run())
    return done


def test_those_in_line_go_one_person_after_the_other():
    assert order([True] * 4) == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]


def test_who_has_all_of_it_already_goes_after_who_is_new():
    async def run():
        turns, done = Turns(1), []

        async def one(number, *, last):
            with in_line(last=last):
                async with turns:
                    done.append(number)

        async with turns:
            tasks = [asyncio.create_task(one(number, last=number < 2)) for number in range(4)]
            await asyncio.sleep(0)
        await asyncio.gather(*tasks)
        return done

    assert asyncio.run(run()) == [2, 3, 0, 1]


@given(st.lists(st.booleans(), min_size=1, max_size=6))
def test_who_is_in_no_line_goes_before_all_that_are(people):
    done = order(people)
    outside = sum(not waits for waits in people)
    assert all(not people[number] for number in done[: REQUESTS * outside])
    assert sorted(done) == sorted(REQUESTS * list(range(len(people))))


@pytest.mark.parametrize("given_up", [0, 1])
def test_who_gives_up_keeps_nobody_waiting(given_up):
    async def run():
        turns, done = Turns(1), []

        async def one(number):
            async with turns:
                done.append(number)

        await turns.__aenter__()
        tasks = [asyncio.create_task(one(number)) for number in range(3)]
        await asyncio.sleep(0)
        if given_up == 0:  # at the very moment at which it is its turn
            await turns.__aexit__()
            tasks[0].cancel()
        else:
            tasks[1].cancel()
            await turns.__aexit__()
        await asyncio.gather(*tasks, return_exceptions=True)
        async with asyncio.timeout(5), turns:
            return done

    assert asyncio.run(run()) == [number for number in range(3) if number != given_up]
