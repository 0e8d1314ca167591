"""Labels and the filters of the list on a running edge, and the command's `--label`."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from broker.identity import new_test_id
from broker.jetstream.api import Streams
from tests.command import run
from tests.conftest import Stack
from tests.harness import publish, until

GAME = "http://127.0.0.1:9/labelled/"
SHA = f"abc{new_test_id()[:8]}"
"""No other test's: the edge is shared."""
COMMIT = {"commit": SHA, "branch": "feature/x"}


async def call(http: httpx.AsyncClient, method: str, **params: Any) -> dict[str, Any]:
    answer = await http.post(f"/rpc/{method}", json=params)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def listed(http: httpx.AsyncClient, **wanted: Any) -> list[str]:
    return [each["testId"] for each in (await call(http, "listTests", **wanted))["tests"]]


async def test_from_submit_to_the_list(stack: Stack, stack_streams: Streams) -> None:
    async with httpx.AsyncClient(base_url=stack.edge_url) as http:
        other = (await call(http, "submitTest", gameUrl=GAME, title="Other", labels={"commit": "def"}))["testId"]
        mine = (await call(http, "submitTest", gameUrl=GAME, title="Mine", labels=COMMIT))["testId"]
        await until(lambda: _listed_are(http, [mine], labels=[f"commit={SHA}"]), within_s=20)  # so that `own` is newer
        own = (await call(http, "createRun", title="Own", labels=COMMIT))["testId"]
        here = {"mine": mine, "own": own}
        await until(lambda: _listed_are(http, [own, mine], labels=[f"commit={SHA}"]), within_s=20)
        assert (await call(http, "getTest", testId=mine))["test"]["labels"] == COMMIT
        assert await listed(http, labels=[f"commit={SHA}", "branch=feature/x"], gameUrl=GAME) == [mine]
        assert await listed(http, labels=[f"commit={SHA}"], gameUrl="http://127.0.0.1:9/labelled") == []
        assert await listed(http, gameUrl="HTTP://127.0.0.1:9/labelled/") == [mine, other], "in its normal form"
        assert await listed(http, query=f"commit={SHA[:-1].upper()}") == [own, mine]
        runs = (await call(http, "listTests", labels=[f"commit={SHA}"], limit=1))["tests"]
        assert [run["testId"] for run in runs] == [here["own"]]
        began = (await call(http, "getTest", testId=mine))["test"]["createdAt"]
        assert mine in await listed(http, since=began) and mine not in await listed(http, until=began)
        await publish(stack_streams, own, "Done", "complete", data={"score": 61})
        await _etags(http, own)
        games = (await call(http, "getGames", limit=200))["games"]
        game = next(each for each in games if each["gameUrl"] == GAME)
        assert (game["title"], game["runs"], game["active"], game["lastTestId"]) == ("Mine", 2, 2, mine)
        assert (game["scores"], game.get("lastScore")) == ([], None)


async def _listed_are(http: httpx.AsyncClient, expected: list[str], **wanted: Any) -> bool:
    return await listed(http, **wanted) == expected


async def _etags(http: httpx.AsyncClient, changing: str) -> None:
    """A GET repeats the parameter, each filter has an answer of its own, and a change of the run is seen."""
    query = f"/rpc/listTests?labels=commit%3D{SHA}&labels=branch%3Dfeature%2Fx"

    async def done() -> httpx.Response | None:
        found = await http.get(query)
        return found if any(run["testId"] == changing and "score" in run for run in found.json()["tests"]) else None

    first: httpx.Response = await until(done, within_s=20)
    assert first.json()["matching"] == 2
    one = await http.get(f"/rpc/listTests?labels=commit%3D{SHA}")
    assert one.headers["etag"] != first.headers["etag"]


@pytest.mark.parametrize(
    ("method", "params", "code"),
    [
        ("submitTest", {"gameUrl": GAME, "labels": {"Commit": "x"}}, "invalid_label"),
        ("submitTest", {"gameUrl": GAME, "labels": {"a": "x\n"}}, "invalid_label"),
        ("submitTest", {"gameUrl": GAME, "labels": {"a": "x" * 10_000}}, "invalid_label"),
        ("submitTest", {"gameUrl": GAME, "labels": {f"a{n}": "x" for n in range(17)}}, "invalid_label"),
        ("submitTest", {"gameUrl": GAME, "labels": {"a": 1}}, "invalid_params"),
        ("submitTest", {"gameUrl": GAME, "labels": ["a=b"]}, "invalid_params"),
        ("createRun", {"labels": {"a": ""}}, "invalid_label"),
        ("listTests", {"labels": ["a"]}, "invalid_label"),
        ("listTests", {"labels": ["a=b"] * 17}, "invalid_label"),
        ("listTests", {"labels": ["a=" + "x" * 10_000]}, "invalid_params"),
        ("listTests", {"labels": "a=b"}, "invalid_params"),
        ("listTests", {"since": -1}, "invalid_params"),
        ("getGames", {"cursor": "x"}, "invalid_cursor"),
    ],
)
async def test_clear_errors(stack: Stack, method: str, params: dict[str, Any], code: str) -> None:
    async with httpx.AsyncClient(base_url=stack.edge_url) as http:
        refused = await http.post(f"/rpc/{method}", json=params)
        assert (refused.status_code, refused.json()["error"]["code"]) == (400, code)
        assert len(refused.text) < 500 and "xxxxxxxxxx" * 9 not in refused.text


async def test_the_command(stack: Stack) -> None:
    edge = ("--edge", stack.edge_url)
    made = await run("submit", GAME, "--label", "commit=cli", "--label", "os=linux", *edge)
    assert made.code == 0, made.err
    test_id = made.out.strip()
    refused = await run("submit", GAME, "--label", "commit", *edge)
    assert refused.code == 2 and "name=value" in refused.err

    async def shown() -> bool:
        return test_id in (await run("list", "--label", "commit=cli", *edge)).out

    await until(shown, within_s=30)
    found = await run("list", "--label", "commit=cli", "--nats", stack.nats_url)
    assert [line for line in found.out.splitlines() if test_id in line and "commit=cli os=linux" in line]
    assert test_id not in (await run("list", "--label", "commit=other", *edge)).out
    assert "commit=cli, os=linux" in (await run("show", test_id, *edge)).out
