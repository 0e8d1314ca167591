"""Waiting for the broker at the start (agent_worker/main.py)."""

from __future__ import annotations

import asyncio

import pytest

from agent_worker import main
from agent_worker.config import load
from broker.contract.errors import BrokerUnavailable, InvalidSetting


class Attempts:
    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.count = 0

    async def __call__(self) -> str:
        self.count += 1
        if self.errors:
            raise self.errors.pop(0)
        return "connected"


async def test_the_broker_is_waited_for() -> None:
    attempts = Attempts(BrokerUnavailable("away"), BrokerUnavailable("away"))
    assert await main._until_stopped(asyncio.Event(), attempts) == "connected"
    assert attempts.count == 3


async def test_a_stop_ends_the_waiting() -> None:
    stop = asyncio.Event()
    stop.set()
    attempts = Attempts(BrokerUnavailable("away"))
    with pytest.raises(main._Stopped):
        await main._until_stopped(stop, attempts)
    assert attempts.count == 1


async def test_what_waiting_does_not_mend_is_raised() -> None:
    with pytest.raises(InvalidSetting):
        await main._until_stopped(asyncio.Event(), Attempts(InvalidSetting("no address")))


async def test_a_model_is_opened_only_where_one_is_set() -> None:
    async with main._model(load({})) as model:
        assert model is None
    named = {"TESTCAST_AGENT_MODEL_URL": "http://127.0.0.1:1/v1", "TESTCAST_AGENT_MODEL": "see-4b"}
    async with main._model(load(named)) as model:
        assert model is not None and model.settings.name == "see-4b"
