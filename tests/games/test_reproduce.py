"""`testcast reproduce` from the outside: a run that is stored, a game that breaks, the exit status."""

from __future__ import annotations

from collections.abc import Iterator

import orjson
import pytest

from agent_worker.games.actions import key
from agent_worker.games.inputs import Inputs, Step
from broker import identity
from broker.jetstream.api import Streams
from tests.command import run
from tests.conftest import Stack
from tests.games.broken_game import PAGE
from tests.games.playing import Answer, GameServer, game_server
from tests.harness import publish

pytestmark = pytest.mark.alone

INPUTS = Inputs((Step(0, key("ArrowLeft"), 1), Step(1, key("ArrowRight"), 1))).as_json()
SIGNATURE = "TypeError: Cannot read properties of null (reading 'score')"
FINDING = {"id": "f1", "kind": "error", "signature": SIGNATURE, "title": "Uncaught TypeError", "inputs": INPUTS}


@pytest.fixture
def server() -> Iterator[GameServer]:
    with game_server() as running:
        running.answers["/game"] = Answer(PAGE.encode())
        yield running


async def test_a_finding_of_a_run_is_played_again(stack: Stack, stack_streams: Streams, server: GameServer) -> None:
    test_id, game = identity.new_test_id(), {"title": "Catch", "gameUrl": f"{server.url}/game?with=error"}
    await publish(stack_streams, test_id, "Queued", "status", status="queued", data=game)
    found = FINDING | {"until": 4, "seed": 7}
    await publish(stack_streams, test_id, "It breaks", data={"kind": "finding", "finding": found})
    hostile = found | {"id": "f2", "inputs": [{"at": 0, "kind": "keys", "keys": ["\u001b[2J"]}]}
    await publish(stack_streams, test_id, "Nonsense", data={"kind": "finding", "finding": hostile})

    happened = await run("reproduce", test_id, "f1", "--edge", stack.edge_url)
    assert happened.code == 0, happened.err
    assert happened.out.startswith("it happened at frame 2, 0.03 s of the game's time: Uncaught TypeError")
    assert "at frame (" in happened.out
    repaired = f"{server.url}/game?with="
    not_here = await run("reproduce", test_id, "f1", "--nats", stack.nats_url, "--url", repaired, "--json")
    assert not_here.code == 1, not_here.err
    assert orjson.loads(not_here.out) == {"finding": "f1", "happened": False, "shown": 0, "tried": 1}

    refused = await run("reproduce", test_id, "f2", "--nats", stack.nats_url)
    assert (refused.code, refused.out) == (2, "") and "is no key" in refused.err
    unknown = await run("reproduce", test_id, "f9", "--nats", stack.nats_url)
    assert unknown.code == 2 and "has no finding f9: it has f1, f2" in unknown.err
    policy = {"TESTCAST_ALLOW_PRIVATE": "0"}
    private = await run("reproduce", test_id, "f1", "--nats", stack.nats_url, **policy)
    assert private.code == 2 and "Only games at public addresses" in private.err
    gone = await run("reproduce", test_id, "f1", "--nats", stack.nats_url, "--url", f"{server.url}/not-here")
    assert gone.code == 3 and "404" in gone.err
    no_screen = await run(
        "reproduce", test_id, "f1", "--nats", stack.nats_url, "--headed", DISPLAY="", WAYLAND_DISPLAY=""
    )
    assert no_screen.code == 2 and "--headed needs a screen" in no_screen.err
