"""`pytest --testcast URL`: real sessions of pytest, recorded over NATS and through an edge."""

from __future__ import annotations

import asyncio
import re
import signal
import sys
from contextlib import AbstractAsyncContextManager
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import orjson
import pytest

from broker.jetstream.api import Streams
from broker.jetstream.scan import pages
from tests.command import inherited, started
from tests.conftest import Stack
from tests.harness import event_log, free_port, until

SUITE = """
import pytest

@pytest.mark.parametrize("n", range(20))
def test_good(n): pass

def test_bad(): assert [1, 2] == [1, 3], "they differ"

@pytest.mark.skip(reason="not today")
def test_skipped(): pass

@pytest.mark.xfail(reason="known")
def test_expected(): assert False

@pytest.fixture
def broken(): raise ValueError("no such thing")

def test_error(broken): pass
"""


class Session(NamedTuple):
    code: int
    out: str

    @property
    def test_id(self) -> str:
        found = re.findall(r"testcast: \S*?([0-9a-f]{8}-[0-9a-f-]{27})\n", self.out)
        assert len(found) == 1, self.out
        return str(found[0])


def begun(directory: Path, *argv: str, xdist: bool = False) -> AbstractAsyncContextManager[asyncio.subprocess.Process]:
    """pytest with this plugin alone, or with xdist: others of this environment take seconds to import."""
    clean = {name: value for name, value in inherited().items() if not name.startswith("PYTEST_")}
    plugins = ("-p", "pytest_testcast", "-p", "no:cacheprovider", *(("-p", "xdist.plugin") if xdist else ()))
    return started(
        *(sys.executable, "-m", "pytest", "-q", *plugins, *argv),
        cwd=directory,
        env=clean | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )


async def session(directory: Path, *argv: str, xdist: bool = False) -> Session:
    async with begun(directory, *argv, xdist=xdist) as process:
        out, _ = await process.communicate()
    assert process.returncode is not None
    return Session(process.returncode, out.decode())


async def events_of(streams: Streams, test_id: str) -> list[dict[str, Any]]:
    log = event_log(streams)
    last = await log.last(test_id)
    return [orjson.loads(each.data) async for page in pages(log, test_id, 0, last) for each in page.events]


def suite(directory: Path, text: str) -> Path:
    (directory / "pytest.ini").write_text("[pytest]\n")
    (directory / "test_suite.py").write_text(text)
    return directory


async def test_a_session_of_two_workers_with_a_score(stack: Stack, stack_streams: Streams, tmp_path: Path) -> None:
    options = ("-n", "2", "--testcast-score", "--testcast-title", "Ours", "--testcast-label", "commit=abc")
    done = await session(suite(tmp_path, SUITE), "--testcast", stack.nats_url, *options, xdist=True)
    assert done.code == 1 and "1 failed, 20 passed, 1 skipped, 1 xfailed, 1 error" in done.out
    events = await events_of(stack_streams, done.test_id)
    assert events[0]["data"] == {"title": "Ours", "gameUrl": "", "labels": {"commit": "abc"}}
    phases = [each["message"] for each in events if each["type"] == "status" and "phase" in each]
    assert phases == ["Collecting", "Testing", "Finishing"]
    tests = [test for each in events for test in (each.get("data") or {}).get("tests") or [] if isinstance(test, list)]
    assert sorted(outcome for _, outcome, _ in tests) == [*["passed"] * 20, "skipped", "xfailed"]
    assert {name for name, outcome, _ in tests if outcome == "passed"} == {
        f"test_suite.py::test_good[{n}]" for n in range(20)
    }
    failures = {each["message"]: each["data"] for each in events if (each.get("data") or {}).get("kind") == "test"}
    assert set(failures) == {"FAILED test_suite.py::test_bad", "ERROR test_suite.py::test_error"}
    assert "AssertionError: they differ" in failures["FAILED test_suite.py::test_bad"]["detail"]
    assert "no such thing" in failures["ERROR test_suite.py::test_error"]["detail"]
    end = events[-1]
    assert (end["type"], end["data"]["score"]) == ("complete", round(100 * 21 / 23, 2))
    assert end["data"]["metrics"]["passed"] == 20


async def test_a_file_that_cannot_be_collected_through_an_edge(
    stack: Stack, stack_streams: Streams, tmp_path: Path
) -> None:
    done = await session(suite(tmp_path, "import nothing_like_this\n"), "--testcast", stack.edge_url)
    assert done.code == 2
    events = await events_of(stack_streams, done.test_id)
    (problem,) = [each for each in events if (each.get("data") or {}).get("kind") == "test"]
    assert "nothing_like_this" in problem["data"]["detail"]
    assert (events[-1]["status"], events[-1]["data"]["code"]) == ("failed", "interrupted")


SLOW = """
import pathlib, pytest, time

@pytest.mark.parametrize("n", range(2_000))
def test_slow(n):
    pathlib.Path("began").touch()
    time.sleep(0.05)
"""


async def test_a_cancelled_run_ends_the_session_after_its_test(
    stack: Stack, stack_streams: Streams, tmp_path: Path
) -> None:
    asked = ("--testcast", stack.edge_url, "--testcast-title", tmp_path.name)
    async with (
        begun(suite(tmp_path, SLOW), *asked) as process,
        httpx.AsyncClient(base_url=stack.edge_url) as client,
    ):

        async def run_id() -> str | None:
            answer = (await client.post("/rpc/listTests", json={"limit": 200})).json()
            return next((each["testId"] for each in answer["tests"] if each["title"] == tmp_path.name), None)

        test_id = await until(run_id)
        await until((tmp_path / "began").exists)

        async def ended() -> bool:
            await client.post("/rpc/cancelTest", json={"testId": test_id})
            answer = (await client.post("/rpc/getTest", json={"testId": test_id})).json()
            return bool(answer["test"]["status"] == "failed")

        await until(ended)
        out, _ = await process.communicate()
    assert process.returncode == 2
    assert "Cancelled" in out.decode()
    assert (await events_of(stack_streams, test_id))[-1]["data"]["code"] == "cancelled"


async def test_ctrl_c_is_the_end_of_the_run(stack: Stack, stack_streams: Streams, tmp_path: Path) -> None:
    async with begun(suite(tmp_path, SLOW), "--testcast", stack.nats_url) as process:
        await until((tmp_path / "began").exists)
        process.send_signal(signal.SIGINT)
        out, _ = await process.communicate()
    assert process.returncode == 2
    events = await events_of(stack_streams, Session(2, out.decode()).test_id)
    assert (events[-1]["data"]["code"], events[-1]["status"]) == ("interrupted", "failed")
    assert "KeyboardInterrupt" in events[-1]["message"]


IMPATIENT = """
from functools import partialmethod
from testcast.recording.recorder import Recorder

Recorder.finish = partialmethod(Recorder.finish, patience_s=1.0)
"""
"""The end of a session waits for 10 s for an address that does not answer: the test would do nothing else."""


async def test_nothing_there_changes_nothing_for_the_suite(tmp_path: Path) -> None:
    (suite(tmp_path, "def test_good(): pass\n") / "conftest.py").write_text(IMPATIENT)
    addresses = (f"http://127.0.0.1:{free_port()}", f"nats://127.0.0.1:{free_port()}")
    for done in await asyncio.gather(*(session(tmp_path, "--testcast", each) for each in addresses)):
        assert done.code == 0
        assert done.out.count("testcast: the session was not recorded") == 1
        assert "1 passed" in done.out


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--testcast", "ftp://host"), "ftp://host"),
        (("--testcast", "http://127.0.0.1:1", "--testcast-label", "no value"), "label"),
    ],
)
async def test_a_wrong_option_is_refused(tmp_path: Path, options: tuple[str, ...], said: str) -> None:
    done = await session(suite(tmp_path, "def test_good(): pass\n"), *options)
    assert done.code == 4
    assert "--testcast: " in done.out and said in done.out


async def test_a_suite_with_packages_of_our_names_is_refused_and_told_why(tmp_path: Path) -> None:
    (suite(tmp_path, "def test_good(): pass\n") / "broker").mkdir()
    done = await session(tmp_path, "--testcast", "http://127.0.0.1:1")
    assert done.code == 4 and "testcast run -- pytest" in done.out
    without = await session(tmp_path)
    assert without.code == 0 and "testcast" not in without.out


def test_pytest_finds_the_plugin_by_itself() -> None:
    (found,) = [each for each in metadata.entry_points(group="pytest11") if each.name == "testcast"]
    assert found.value == "pytest_testcast"
