"""Retries (broker/retry.py), on a virtual clock."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.contract.errors import BrokerRefused, BrokerUnavailable
from broker.retry import FIRST_S, LONGEST_S, Backoff, pause, retry
from tests.model import VirtualLoop


class Source:
    """Something that reconnects."""

    def __init__(self) -> None:
        self.on_reconnect: list[Callable[[], None]] = []

    def reconnect(self) -> None:
        for callback in tuple(self.on_reconnect):
            callback()


class Failing:
    """Work that fails so many times; remembers when it was tried."""

    def __init__(self, loop: VirtualLoop, times: int, error: Exception | None = None) -> None:
        self.loop = loop
        self.times = times
        self.error = error or BrokerUnavailable("away")
        self.tried_at: list[float] = []

    async def __call__(self) -> str:
        self.tried_at.append(round(self.loop.now - 1000.0, 6))
        if len(self.tried_at) <= self.times:
            raise self.error
        return "done"


def run(loop: VirtualLoop, work: Coroutine[Any, Any, Any]) -> Any:
    result = loop.run_until_complete(work)
    loop.check()
    return result


def test_pauses_double_up_to_the_longest_and_start_over() -> None:
    pauses = Backoff(0.1, 1.0)
    assert [pauses.next() for _ in range(6)] == [0.1, 0.2, 0.4, 0.8, 1.0, 1.0]
    assert pauses.tries == 6
    pauses.reset()
    assert (pauses.next(), repr(pauses)) == (0.1, "<Backoff tries=1>")


@given(st.floats(0.001, 10), st.floats(0.001, 100), st.integers(0, 2**32), st.integers(1, 80))
def test_a_pause_with_jitter_is_in_the_upper_half(first_s: float, longest_s: float, seed: int, tries: int) -> None:
    plain, jittered = Backoff(first_s, longest_s), Backoff(first_s, longest_s, random.Random(seed))
    for _ in range(tries):
        whole, drawn = plain.next(), jittered.next()
        assert whole <= longest_s
        assert whole / 2 <= drawn <= whole


def test_tries_until_it_succeeds(loop: VirtualLoop) -> None:
    work = Failing(loop, 3)
    failures: list[Exception] = []
    assert run(loop, retry(work, backoff=Backoff(1.0, 2.0), on_failure=failures.append)) == "done"
    assert work.tried_at == [0.0, 1.0, 3.0, 5.0]
    assert failures == [work.error] * 3


def test_other_errors_are_raised_immediately(loop: VirtualLoop) -> None:
    work = Failing(loop, 1, BrokerRefused("no", 1))
    with pytest.raises(BrokerRefused):
        run(loop, retry(work))
    assert work.tried_at == [0.0]


def test_no_try_begins_after_the_time_is_up_and_the_last_error_is_raised(loop: VirtualLoop) -> None:
    work = Failing(loop, 100)
    with pytest.raises(BrokerUnavailable):
        run(loop, retry(work, within_s=2.5, backoff=Backoff(1.0, 1.0)))
    assert work.tried_at == [0.0, 1.0, 2.0]


def test_on_failure_may_give_up(loop: VirtualLoop) -> None:
    work = Failing(loop, 100)

    def on_failure(error: Exception) -> None:
        if len(work.tried_at) == 2:
            raise KeyError("enough")

    with pytest.raises(KeyError):
        run(loop, retry(work, on_failure=on_failure))
    assert len(work.tried_at) == 2


def test_a_reconnect_ends_the_pause_and_starts_the_pauses_over(loop: VirtualLoop) -> None:
    source, work = Source(), Failing(loop, 6)
    loop.call_later(2.0, source.reconnect)
    assert run(loop, retry(work, backoff=Backoff(0.5, 8.0), source=source)) == "done"
    assert work.tried_at == [0.0, 0.5, 1.5, 2.0, 2.5, 3.5, 5.5]
    assert source.on_reconnect == []


def test_the_default_pauses(loop: VirtualLoop) -> None:
    work = Failing(loop, 10)
    run(loop, retry(work))
    steps = [round(later - before, 6) for before, later in zip(work.tried_at, work.tried_at[1:], strict=False)]
    assert (steps[0], steps[-1]) == (FIRST_S, LONGEST_S)


def test_a_pause_says_whether_the_source_has_reconnected(loop: VirtualLoop) -> None:
    source = Source()
    assert run(loop, pause(1.0)) is False
    assert run(loop, pause(1.0, source)) is False
    loop.call_later(0.5, source.reconnect)
    before = loop.now
    assert run(loop, pause(1.0, source)) is True
    assert (round(loop.now - before, 6), source.on_reconnect) == (0.5, [])


def test_a_cancelled_pause_leaves_nothing_behind(loop: VirtualLoop) -> None:
    source = Source()
    task = loop.create_task(retry(Failing(loop, 100), source=source))
    loop.run_for(0.25)
    assert len(source.on_reconnect) == 1
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        loop.run_until_complete(task)
    assert source.on_reconnect == []


@pytest.mark.parametrize("within_s", [0.05, 0.5, 1.0, 3.0])
def test_no_try_begins_after_the_time_is_up(loop: VirtualLoop, within_s: float) -> None:
    failing = Failing(loop, 100)
    with pytest.raises(BrokerUnavailable):
        run(loop, retry(failing, within_s=within_s))
    assert failing.tried_at[-1] <= within_s and loop.now - 1000.0 <= within_s
