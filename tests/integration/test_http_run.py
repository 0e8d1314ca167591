"""The Python API against a real edge and broker: all of it once, and publishing over HTTP where answers are lost."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest

from testcast import AlreadyEnded, BadInput, ConnectionLost, EdgeRefused, Event, HttpRun, watch
from testcast.client import http_run
from testcast.client.rpc import RpcClient
from tests import client_program
from tests.conftest import Stack

ROOT = Path(__file__).resolve().parents[2]


async def test_everything_once_in_both_forms(stack: Stack) -> None:
    await asyncio.to_thread(client_program.main, stack.edge.url, stack.nats_url)


async def test_an_answer_that_is_lost_stores_nothing_twice(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_run, "_FIRST_PAUSE_S", 0.01)
    call = RpcClient.call
    lost: list[dict[str, Any]] = []

    async def without_its_answer(client: RpcClient, method: str, **params: Any) -> dict[str, Any]:
        answer = await call(client, method, **params)
        if method == "publishEvents" and len(lost) < 3:
            lost.append(answer)
            raise ConnectionLost("the answer was cut off")
        return answer

    async with HttpRun.create(stack.edge.url, title="cut") as run:
        await run.progress("before")
        monkeypatch.setattr(RpcClient, "call", without_its_answer)
        await run.progress("its answer is lost")
        assert len(lost) == 3 and {each["seq"] for each in lost} == {run.position}
        with pytest.raises(BadInput, match="score"):
            await run.complete(score=101)
        await run.complete(score=3)
        with pytest.raises(AlreadyEnded):
            await run.progress("after the end")
    found = [each.message async for each in watch(stack.edge.url, run.test_id) if isinstance(each, Event)]
    assert found[1:] == ["before", "its answer is lost", "Test complete! Score 3/100"]


async def test_a_run_goes_on_in_another_process_and_notices_a_second_writer(stack: Stack) -> None:
    async with HttpRun.create(stack.edge.url, title="two writers") as first:
        await first.progress("one")
        async with HttpRun.resume(stack.edge.url, first.test_id, after=first.position) as second:
            await second.progress("two")
            with pytest.raises(EdgeRefused) as refused:
                await first.progress("not seen")
            assert refused.value.code == "conflict"
            await second.fail("it ends here", "stopped")
        with pytest.raises(EdgeRefused) as late:
            await first.progress("nor this")
        assert late.value.code == "already_ended"
        first.ended = True  # nothing is left to tell
    found = [each.message async for each in watch(stack.edge.url, first.test_id) if isinstance(each, Event)]
    assert found[1:] == ["one", "two", "it ends here"]


async def test_the_examples_of_the_page(stack: Stack) -> None:
    examples = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "python.md").read_text(), re.DOTALL)
    assert len(examples) == 2
    for code in examples:
        here = code.replace("http://127.0.0.1:8000", stack.edge.url).replace("nats://127.0.0.1:4222", stack.nats_url)
        await asyncio.to_thread(exec, compile(here, "docs/python.md", "exec"), {"__name__": "example"})
