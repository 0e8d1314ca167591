"""`testcast run`: a command's output as a run, over NATS and through an edge, with its signals, limits and outages."""

from __future__ import annotations

import signal
import sys
from typing import Any

import httpx
import orjson
import pytest

from broker.contract.snapshot import Snapshot
from broker.jetstream.api import Streams
from broker.jetstream.scan import pages
from tests.command import Command, Result, run
from tests.conftest import Stack
from tests.harness import event_log, free_port, until

PYTHON = sys.executable


async def events_of(streams: Streams, test_id: str) -> list[dict[str, Any]]:
    log = event_log(streams)
    last = await log.last(test_id)
    return [orjson.loads(each.data) async for page in pages(log, test_id, 0, last) for each in page.events]


def run_in(told: str) -> str:
    """The test id in what `testcast run` prints."""
    (line,) = [each for each in told.splitlines() if each.startswith("testcast: run ")]
    return line.removeprefix("testcast: run ").split()[0].rpartition("/")[2]


def output_in(events: list[dict[str, Any]]) -> list[str]:
    streamed = [each for each in events if "stream" in (each.get("data") or {})]
    return [line for each in streamed for line in each["message"].split("\n")]


async def recorded(
    stack: Stack, streams: Streams, *argv: str, edge: bool = False
) -> tuple[Result, list[dict[str, Any]]]:
    where = {"DEPLOY_TOKEN": SECRET} | ({} if edge else {"TESTCAST_NATS_URL": stack.nats_url})
    done = await run("run", *(("--edge", stack.edge_url) if edge else ()), *argv, **where)
    return done, await events_of(streams, run_in(done.err))


SECRET = "not-for-viewers"
OUTPUT = r"""
printf 'plain\n\033[31mred\033[0m line\n10%%\r100%%\n'
echo '::phase Test::'
echo 'lost' >&2
printf '3 of 4 passed\n'
printf "$DEPLOY_TOKEN, no line feed"
exit 3
"""


async def test_output_colours_phases_and_the_exit_status(stack: Stack, stack_streams: Streams) -> None:
    how = ("--title", "A build", "--label", "commit=abc", "--phase", "Install", "--", "sh", "-c", OUTPUT)
    done, events = await recorded(stack, stack_streams, *how)
    assert done.code == 3
    assert (
        done.out
        == "plain\n\x1b[31mred\x1b[0m line\n10%\r100%\n::phase Test::\n3 of 4 passed\nnot-for-viewers, no line feed"
    )
    assert "lost\n" in done.err
    assert sorted(output_in(events)) == ["***, no line feed", "100%", "3 of 4 passed", "lost", "plain", "red line"]
    assert any("\x1b[31mred\x1b[m line" in (each.get("data") or {}).get("ansi", "") for each in events)
    assert [each["message"] for each in events if each["type"] == "status" and "phase" in each] == ["Install", "Test"]
    assert events[0]["data"] == {"title": "A build", "gameUrl": "", "labels": {"commit": "abc"}}
    assert events[1]["data"]["phases"] == ["Install"]
    end = events[-1]
    assert (end["type"], end["status"], end["data"]["code"], end["data"]["exitCode"]) == (
        "error",
        "failed",
        "exit_status",
        3,
    )
    assert end["data"]["metrics"]["errorLines"] == 1


async def test_through_an_edge_with_a_score_and_a_page(stack: Stack, stack_streams: Streams) -> None:
    how = ("--score-from", r"(\d+) of (\d+) passed", "--", "sh", "-c", "echo '3 of 4 passed'; echo ouch >&2")
    done, events = await recorded(stack, stack_streams, *how, edge=True)
    assert (done.code, done.out) == (0, "3 of 4 passed\n")
    assert f"testcast: run {stack.edge_url}/tests/" in done.err
    assert (events[-1]["type"], events[-1]["data"]["score"]) == ("complete", 75)
    assert sorted(output_in(events)) == ["3 of 4 passed", "ouch"]

    async def shown() -> Snapshot | None:
        async with httpx.AsyncClient(base_url=stack.edge_url) as client:
            answer = await client.post("/rpc/getTest", json={"testId": run_in(done.err)})
            test = answer.json().get("test")
            return test if test and test["status"] == "completed" else None

    test: Any = await until(shown)
    assert (test["score"], test["message"]) == (75, "sh has ended with status 0")


STUBBORN = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: print("not me", flush=True))
print("ready", flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize("edge", [False, True])
async def test_a_cancel_ends_a_command_that_ignores_sigterm(stack: Stack, stack_streams: Streams, edge: bool) -> None:
    where = {} if edge else {"TESTCAST_NATS_URL": stack.nats_url}
    how = ("--edge", stack.edge_url) if edge else ()
    # In the grace it has to wake up and say so, on a machine that may stand still for a second.
    async with Command("run", "--grace", "3", *how, "--", PYTHON, "-c", STUBBORN, **where) as command:
        test_id = run_in(await command.note("testcast: run"))
        await command.line("ready")
        async with httpx.AsyncClient(base_url=stack.edge_url) as client:

            async def cancelled() -> bool:
                answer = await client.post("/rpc/cancelTest", json={"testId": test_id})
                return answer.status_code == 200

            await until(cancelled)
        await command.line("not me")
        done = await command.finish()
    assert done.code == 128 + signal.SIGKILL
    assert "Cancelled" in done.err
    events = await events_of(stack_streams, test_id)
    assert events[-1]["data"]["code"] == "cancelled"


POLITE = """
import signal, sys, time
def end(*_):
    print("cleaned up", flush=True)
    sys.exit(5)
signal.signal(signal.SIGINT, end)
print("ready", flush=True)
time.sleep(600)
"""


async def test_ctrl_c_reaches_the_command(stack: Stack, stack_streams: Streams) -> None:
    async with Command("run", "--", PYTHON, "-c", POLITE, TESTCAST_NATS_URL=stack.nats_url) as command:
        test_id = run_in(await command.note("testcast: run"))
        await command.line("ready")
        command.signal(signal.SIGINT)
        done = await command.finish()
    assert (done.code, done.out) == (5, "cleaned up\n")
    events = await events_of(stack_streams, test_id)
    assert events[-1]["data"]["code"] == "interrupted"
    assert events[-1]["message"].endswith("was stopped by SIGINT")


async def test_a_hundred_thousand_lines_are_all_there(stack: Stack, stack_streams: Streams) -> None:
    program = "import sys\nsys.stdout.write(''.join(f'line {n}\\n' for n in range(100_000)))"
    done, events = await recorded(stack, stack_streams, "--", PYTHON, "-c", program)
    assert (done.code, "not stored" in done.err) == (0, False)
    assert len(done.out) == sum(len(f"line {n}\n") for n in range(100_000))
    assert output_in(events) == [f"line {n}" for n in range(100_000)]
    assert len(events) < 1_000


async def test_a_broker_that_is_away_changes_nothing_for_the_command() -> None:
    nowhere = f"nats://127.0.0.1:{free_port()}"
    program = "import sys\nfor n in range(300): print(n, flush=True)\nsys.exit(7)"
    async with Command("run", "--nats", nowhere, "--", PYTHON, "-c", program) as command:
        await command.line("299")
        await command.note("waiting until everything is stored")
        command.signal(signal.SIGINT)
        done = await command.finish()
    assert done.code == 7
    assert "the run was not recorded" in done.err and "300 of 300 lines were not stored" in done.err


async def test_a_terminal_of_its_own(stack: Stack, stack_streams: Streams) -> None:
    program = "import sys; print(sys.stdin.isatty(), sys.stdout.isatty(), sys.stderr.isatty())"
    done, events = await recorded(stack, stack_streams, "--pty", "--", PYTHON, "-c", program)
    assert (done.code, done.out.strip()) == (0, "True True True")
    assert output_in(events) == ["True True True"]


@pytest.mark.parametrize(
    ("argv", "code", "said"),
    [
        (("--", "no-such-command-anywhere"), 127, "no such command"),
        (("--", "/etc/passwd"), 126, "cannot be started"),
        (("--phase", "(", "--phase", "x=(", "--", "true"), 2, "--phase"),
        (("--title", " ", "--", "true"), 2, "--title"),
        (("--edge", "http://127.0.0.1:1", "--nats", "nats://127.0.0.1:1", "--", "true"), 2, "--edge and --nats"),
        ((), 2, "COMMAND"),
    ],
)
async def test_what_cannot_be_run_is_said_and_makes_no_run(argv: tuple[str, ...], code: int, said: str) -> None:
    done = await run("run", *argv, TESTCAST_NATS_URL="nats://127.0.0.1:1")
    assert (done.code, done.out) == (code, "")
    assert said in done.err
