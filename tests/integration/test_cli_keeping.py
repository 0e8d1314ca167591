"""`testcast pin`, `unpin` and `delete`, over NATS and through an edge: in this process."""

from __future__ import annotations

from functools import partial

import orjson
import pytest

from broker.contract.errors import BadInput, NotFound
from broker.jetstream.api import Streams
from testcast.cli import commands, keeping
from testcast.cli.listing import Selection
from testcast.cli.options import server
from testcast.cli.server import Server
from testcast.cli.terminal import Terminal
from tests.conftest import Stack
from tests.harness import NO_SUCH_TEST, begin, until
from tests.keeping import ended, left


async def pinned_in(found: Server, capsys: pytest.CaptureFixture[str], test_id: str) -> bool | None:
    """Whether the list shows the run as pinned; None while it does not show it as ended."""
    capsys.readouterr()
    await commands.list_runs(Selection(), found, Terminal(), watch=False, as_json=True)
    runs = {each["testId"]: each for each in map(orjson.loads, capsys.readouterr().out.splitlines())}
    run = runs.get(test_id, {"status": ""})
    return None if run["status"] != "completed" else run.get("pinned", False)


async def shows(pinned: bool, found: Server, capsys: pytest.CaptureFixture[str], test_id: str) -> bool:
    return await pinned_in(found, capsys, test_id) is pinned


@pytest.mark.parametrize("how", ["nats", "edge"])
async def test_a_run_is_pinned_shown_unpinned_and_deleted(
    stack: Stack, stack_streams: Streams, how: str, capsys: pytest.CaptureFixture[str]
) -> None:
    found = server(stack.edge_url, None) if how == "edge" else server(None, stack.nats_url)
    test_id, terminal = await ended(stack_streams, "Star Hopper"), Terminal()
    await until(partial(shows, False, found, capsys, test_id), within_s=30)
    assert await keeping.pin(test_id[:18], found, terminal, as_json=False) == 0
    assert capsys.readouterr().out == f"pinned {test_id}\n"
    await until(partial(shows, True, found, capsys, test_id), within_s=30)
    with pytest.raises(BadInput, match=f"is pinned: unpin it first: `testcast unpin {test_id}`"):
        await keeping.delete(test_id, found, terminal, sure=True, as_json=False)
    assert await keeping.unpin(test_id, found, terminal, as_json=True) == 0
    assert orjson.loads(capsys.readouterr().out) == {"testId": test_id, "pinned": False}
    await until(partial(shows, False, found, capsys, test_id), within_s=30)
    with pytest.raises(BadInput, match="give --yes"):
        await keeping.delete(test_id, found, terminal, sure=False, as_json=False)
    assert await keeping.delete(test_id, found, terminal, sure=True, as_json=False) == 0
    assert await left(stack_streams, test_id) == []
    running = await begin(stack_streams)
    with pytest.raises(BadInput, match=f"testcast cancel {running}"):
        await keeping.delete(running, found, terminal, sure=True, as_json=False)
    for work in (keeping.pin, keeping.unpin, partial(keeping.delete, sure=True)):
        for missing in (NO_SUCH_TEST, test_id):
            with pytest.raises(NotFound):
                await work(missing, found, terminal, as_json=False)
