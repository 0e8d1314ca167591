"""docker-compose.yml for real: brought up in containers, watched through its proxy, broken and scaled.

Two runs are watched. One is of the demo game, which the container's agent plays in its Chromium. The other has ten
numbered events a second, so that a gap shows, and lasts until all faults are over. The figures are told at the end of
the tests, also when they are right.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import docker
import pytest

from testcast import watch
from testcast.client.errors import ConnectionLost
from testcast.client.events import Event, Reset
from testcast.client.rpc import RpcClient, submit
from tests.compose.conftest import FIGURES
from tests.compose.engine import engine
from tests.compose.images import make_images, prepare
from tests.compose.installation import FILES, ROOT, Installation, compose_v2, executed, installed
from tests.harness import until
from tests.tools import debian_tool

pytestmark = pytest.mark.timeout(600)  # images and containers, on a machine that may be busy
GAME = "http://demo_game:8080/"
VIEWERS = 4
_PUBLISHER = (Path(__file__).with_name("publisher.py")).read_text()
_STOP = "/tmp/stop"


@pytest.fixture(scope="module")
def programs() -> dict[str, str]:
    return prepare()


@pytest.fixture(scope="module")
def client(programs: dict[str, str]) -> Iterator[docker.DockerClient]:
    with engine() as found:
        yield found


@pytest.fixture(scope="module")
def installation(
    client: docker.DockerClient, programs: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Installation]:
    begun = time.monotonic()
    settings = make_images(client, programs)
    made = time.monotonic()
    with installed(client, settings, tmp_path_factory.mktemp("compose")) as found:
        found.made_s, found.up_s = made - begun, time.monotonic() - made
        yield found


class Seen(NamedTuple):
    """What one viewer has received of one run."""

    events: list[tuple[float, int, str]]
    """When, sequence, message."""
    resets: list[Reset]


async def follow(url: str, test_id: str, seen: Seen) -> None:
    """Watches a run through the proxy until it ends, whatever happens in between."""
    while True:
        with contextlib.suppress(ConnectionLost):
            last = seen.events[-1][1] if seen.events else None
            async for item in watch(url, test_id, after=last):
                if isinstance(item, Event):
                    seen.events.append((time.monotonic(), item.seq, item.message))
                elif isinstance(item, Reset):
                    seen.resets.append(item)
            return


@contextlib.asynccontextmanager
async def viewers(url: str, test_id: str) -> AsyncIterator[tuple[list[Seen], list[asyncio.Task[None]]]]:
    found = [Seen([], []) for _ in range(VIEWERS)]
    tasks = [asyncio.create_task(follow(url, test_id, each)) for each in found]
    try:
        yield found, tasks
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def stored(url: str, test_id: str) -> list[int]:
    """The sequences of all events of a run, as the edges read them from the stream."""
    found: list[int] = []
    async with RpcClient(url) as rpc:

        async def page() -> dict[str, Any]:
            with contextlib.suppress(ConnectionLost):  # a POST whose edge has gone is not sent again by the proxy
                return await rpc.call("getEvents", testId=test_id, after=found[-1] if found else None)
            return {}

        while True:
            answer = await until(page, within_s=60, what="an edge answers")
            found += [event["seq"] for event in answer["events"]]
            if not answer["more"]:
                return found


async def kill_an_edge(installation: Installation) -> str:
    edge = installation.container("ws_edge")
    await asyncio.to_thread(edge.kill)
    return f"killed the edge {edge.name}"


async def kill_the_leader(installation: Installation) -> str:
    async def led() -> str:
        return await asyncio.to_thread(installation.leader, "EVENTS")

    leader = await until(led, within_s=60, what="a leader of EVENTS")
    killed = installation.container(leader)
    await asyncio.to_thread(killed.kill)

    async def another() -> bool:
        return await led() not in ("", leader)

    await until(another, within_s=60, what="another leader of EVENTS")
    await asyncio.to_thread(killed.start)
    return f"killed the leader {leader}, and started it again"


async def scale_down(installation: Installation) -> str:
    up = ("up", "--detach", "--no-build", "--no-recreate", "--no-deps", "--scale", "ws_edge=2", "ws_edge")
    await asyncio.to_thread(installation.command, *up)
    assert len(installation.containers("ws_edge")) == 2
    return "scaled the edges from four to two"


async def test_every_event_is_seen_once_through_kills_and_scaling(
    installation: Installation, record_property: Callable[[str, object], None]
) -> None:
    record_property(FIGURES, f"compose: images made in {installation.made_s:.0f} s, up in {installation.up_s:.0f} s")
    url = installation.url
    agent = installation.container("agent_worker")

    async def submitted() -> str:
        with contextlib.suppress(ConnectionLost):  # no edge is ready yet
            return await submit(url, GAME, budget_seconds=15, seed=1)
        return ""

    played = await until(submitted, within_s=90, what="an edge takes a run")
    _, output = await asyncio.to_thread(agent.exec_run, ["python", "-c", _PUBLISHER, _STOP], stream=True)
    printed = b"".join([await asyncio.to_thread(next, output)]).decode()
    numbered = printed.split()[0]
    faults: list[str] = []
    async with viewers(url, numbered) as (of_numbers, watching), viewers(url, played) as (of_game, watching_game):
        await until(lambda: all(each.events for each in of_numbers), within_s=60, what="first events")
        for fault in (kill_an_edge, kill_the_leader, scale_down):
            faults.append(await fault(installation))
            so_far = [len(each.events) for each in of_numbers]
            await until(
                lambda: all(len(each.events) > before + 5 for each, before in zip(of_numbers, so_far, strict=True)),  # noqa: B023
                within_s=60,
                what=f"news after: {faults[-1]}",
            )
        await asyncio.to_thread(agent.exec_run, ["touch", _STOP])
        async with asyncio.timeout(120):
            await asyncio.gather(*watching, *watching_game)
    published = int((printed + "".join([part.decode() for part in output])).split()[-1])
    for name, test_id, seen in (("numbered", numbered, of_numbers), ("played", played, of_game)):
        record_property(FIGURES, await judge(name, url, test_id, seen, faults))
    for each in of_numbers:
        numbers = [int(found[1]) for _, _, text in each.events if (found := re.fullmatch(r"number (\d+)", text))]
        assert numbers == list(range(1, published + 1))
    verdict = of_game[0].events[-1][2]
    record_property(FIGURES, f"compose: the agent says of the demo game: {verdict}")
    assert verdict.startswith("Test complete!"), verdict


async def judge(name: str, url: str, test_id: str, viewers_of_it: list[Seen], faults: list[str]) -> str:
    """The figures of one run. Fails unless every viewer has seen every stored event once, in order."""
    wanted = await stored(url, test_id)
    lost = sum(len(set(wanted) - {seq for _, seq, _ in each.events}) for each in viewers_of_it)
    twice = sum(len(each.events) - len({seq for _, seq, _ in each.events}) for each in viewers_of_it)
    resets = sum(len(each.resets) for each in viewers_of_it)
    gaps = [b[0] - a[0] for each in viewers_of_it for a, b in zip(each.events, each.events[1:], strict=False)]
    figures = (
        f"compose: {name} run: faults {len(faults)} ({'; '.join(faults)}), events {len(wanted)}, "
        f"viewers {len(viewers_of_it)}, lost {lost}, twice {twice}, resets {resets}, "
        f"longest time without news {max(gaps):.1f} s"
    )
    assert [[seq for _, seq, _ in each.events] for each in viewers_of_it] == [wanted] * len(viewers_of_it), figures
    assert resets == 0, figures
    return figures


async def test_every_container_is_healthy(installation: Installation) -> None:
    def unhealthy() -> list[str]:
        states = [(each.name, each.attrs["State"]) for each in installation.containers()]
        return [name for name, state in states if state.get("Health", {"Status": "healthy"})["Status"] != "healthy"]

    async def none_is() -> bool:
        return not await asyncio.to_thread(unhealthy)

    await until(none_is, within_s=60, what="health checks")
    ended = {
        each.attrs["Config"]["Labels"]["com.docker.compose.service"]: each.attrs["State"]["ExitCode"]
        for each in installation.containers(ended=True)
        if each.status == "exited"
    }
    assert ended == {"init": 0, "operator": 0}
    # It has nothing to do, since there are runs.
    assert installation.command("run", "--rm", "--no-deps", "first_run") == ""


async def test_no_container_is_root_or_may_write(installation: Installation) -> None:
    for each in installation.containers():
        host = each.attrs["HostConfig"]
        assert host["ReadonlyRootfs"] and host["CapDrop"] == ["ALL"] and not host["Privileged"], each.name
        assert "no-new-privileges:true" in host["SecurityOpt"], each.name
        assert host["Memory"] and host["PidsLimit"] and host["NanoCpus"], each.name
        status, said = executed(each, "sh", "-c", "id -u; touch /usr/written /written")
        assert status != 0 and "10001\n" in said and said.count("Read-only file system") == 2, said


def test_both_versions_of_compose_read_the_files(record_property: Callable[[str, object], None]) -> None:
    commands = {"1": debian_tool("docker-compose"), "2": compose_v2()}
    read = []
    for version, command in commands.items():
        for files in (FILES, [*FILES, "docker-compose.public.yml"]):
            if command is not None:
                arguments = [part for file in files for part in ("-f", file)]
                settings = {"PATH": "/usr/bin:/bin", "TESTCAST_EDGE_PUBLIC_URL": "https://tests.example.org"}
                ran = subprocess.run([command, *arguments, "config", "-q"], cwd=ROOT, env=settings, capture_output=True)
                assert (ran.returncode, ran.stdout, ran.stderr) == (0, b"", b"")
                read.append(version)
    record_property(FIGURES, f"compose: files read by Compose {', '.join(dict.fromkeys(read))}")
