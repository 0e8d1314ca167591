"""The Python API as code outside of this repository sees it: typed, complete, and without asyncio as well."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import testcast
from broker.contract import errors as broker_errors
from broker.contract.errors import BadInput, TestcastError
from testcast import sync
from testcast.client import errors as client_errors

ROOT = Path(__file__).resolve().parents[2]

GOOD = """
import asyncio

from testcast import AlreadyEnded, BrokerUnavailable, Event, Fenced, Reset, Snapshot, TestRun, list_runs, submit, watch
from testcast import BrokerWatch, HttpRun, cancel_run, get_run, sync, tail


async def play() -> str:
    try:
        async with TestRun.create("nats://127.0.0.1:4222", title="Mine") as run:
            await run.progress("one", level=1)
            await run.complete(score=78, metrics={"fps": 60})
            return run.test_id
    except (Fenced, AlreadyEnded) as error:
        return error.message
    except BrokerUnavailable:
        return ""


async def look(edge: str, test_id: str) -> int | None:
    source = watch(edge, test_id)
    async for item in source:
        if isinstance(item, Reset):
            print(item.reason)
        else:
            print(item.seq, item.message, item.field("score"))
    found: list[Snapshot] = await list_runs(edge, status="cancelled", limit=3)
    print(found[0].title, await submit(edge, "https://my-game.example/", seed=3))
    return source.position if source.verdict == "completed" else None


def without_asyncio(edge: str) -> str:
    with sync.TestRun.create("nats://127.0.0.1:4222", title="Mine") as run:
        run.phase(1)
        run.complete(score=1)
    for item in sync.watch(edge, run.test_id):
        if isinstance(item, Event):
            print(item.message)
    found: list[Snapshot] = sync.list_runs(edge)
    return sync.submit(edge, found[0].game_url)


async def over_http(edge: str, broker: str) -> str:
    async with HttpRun.create(edge, title="Mine", labels={"commit": "abc"}) as run:
        await run.phase(1)
        await run.complete(score=3)
    source: BrokerWatch = tail(broker, run.test_id)
    async for item in source:
        print(item.raw)
    with sync.HttpRun.create(edge, title="Mine") as other:
        position: int = other.position
    await cancel_run(edge, run.test_id)
    sync.cancel_run(edge, other.test_id)
    one: Snapshot = sync.get_run(edge, other.test_id)
    return (await get_run(edge, run.test_id)).title + one.title + str(position)


asyncio.run(play())
"""
BAD = """
from testcast import TestRun, nonsense, submit, sync, watch

watch("http://127.0.0.1:8000", 3)
TestRun.create("nats://127.0.0.1:4222", name="Mine")
sync.TestRun.create("nats://127.0.0.1:4222", title="x").progress(3)
number: int = sync.submit("http://127.0.0.1:8000", "https://my-game.example/")
"""


def mypy(source: str, directory: Path) -> subprocess.CompletedProcess[str]:
    """Checks a file that lies elsewhere, against the installed packages."""
    path = directory / "example.py"
    path.write_text(source)
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file=", f"--cache-dir={ROOT / '.mypy_cache'}"]
    paths = {"MYPYPATH": "", "PATH": "/usr/bin:/bin", "HOME": str(directory)}
    return subprocess.run([*command, str(path)], cwd=directory, capture_output=True, text=True, env=paths)


def test_code_that_uses_the_api_is_checked(tmp_path: Path) -> None:
    good = mypy(GOOD, tmp_path)
    assert (good.returncode, good.stderr) == (0, ""), good.stdout
    bad = mypy(BAD, tmp_path)
    found = {int(line.split(":")[1]) for line in bad.stdout.splitlines() if ": error:" in line}
    assert found == {2, 4, 5, 6, 7}, bad.stdout


@pytest.mark.parametrize("module", [broker_errors, client_errors])
def test_every_error_is_exported(module: object) -> None:
    names = {
        name
        for name, each in inspect.getmembers(module, inspect.isclass)
        if issubclass(each, TestcastError) and each.__module__ == getattr(module, "__name__", "")
    }
    assert names
    assert names <= set(testcast.__all__)


def test_types_are_shipped() -> None:
    for package in ("testcast", "broker", "agent_worker"):
        assert (ROOT / package / "py.typed").exists()


@pytest.mark.parametrize("name", ["watch", "tail", "submit", "list_runs", "get_run", "cancel_run"])
def test_both_forms_take_the_same(name: str) -> None:
    forms = [inspect.signature(getattr(module, name)).parameters for module in (testcast, sync)]
    assert list(forms[0]) == list(forms[1])


def test_both_forms_of_a_run_have_the_same_methods() -> None:
    asynchronous = {name for name in vars(testcast.TestRun) if not name.startswith("_")}
    not_for_sync = {"claim", "leave", "wait_over", "statistics"}
    assert asynchronous - not_for_sync <= set(vars(sync.TestRun))
    assert {name for name in vars(testcast.HttpRun) if not name.startswith("_")} <= set(vars(sync.HttpRun))


def test_an_error_is_raised_in_the_thread_that_called() -> None:
    with pytest.raises(BadInput, match="title"):
        sync.TestRun.create("nats://127.0.0.1:1", title=" ")
    with pytest.raises(testcast.ConnectionLost):
        sync.list_runs("http://127.0.0.1:1")
