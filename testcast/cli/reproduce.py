"""The command `reproduce`: plays a finding of a run again, on this machine, and says whether it happened."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import orjson

from broker import extras
from broker.config import allow_private
from broker.contract.errors import BadInput
from broker.export.findings import FRAMES_PER_S
from broker.local.child_process import python_module
from broker.local.name_resolution import check_for_submit
from testcast import config
from testcast.cli.details import Details, details_of
from testcast.cli.names import resolve
from testcast.cli.server import Server
from testcast.cli.targets import complete_game_url
from testcast.cli.terminal import Terminal
from testcast.cli.text import printable
from testcast.client.address import is_local
from testcast.client.errors import ConnectionLost
from testcast.exit_codes import EXIT_COMPLETED, EXIT_NOT_SHOWN

MAX_EVENTS: Final = 20_000
"""Of a run's newest events, among which findings are looked for."""
MAX_REQUEST_BYTES: Final = 1 << 20
"""A finding is part of an event, of at most 60 KiB."""
_MAX_STACK_LINES: Final = 12
_PLAYER: Final = "agent_worker.games.reproduce"
_REAL: Final = "it was found in real time, and is played in real time: it may not happen each time"


class ReproduceRequest(NamedTuple):
    """The options of `reproduce`."""

    finding: str
    """Its id, such as `f1`."""
    url: str | None = None
    """The game's address; None: that of the run."""
    times: int = 1
    headed: bool = False
    speed: float | None = None
    """Seconds of the game in a second; None: as fast as it goes."""


class GameNotOpened(ConnectionLost):
    """The game could not be opened, so that nothing can be said."""


async def reproduce(run: str, request: ReproduceRequest, server: Server, terminal: Terminal, *, as_json: bool) -> int:
    """Plays a finding again. Returns 0 if it happened, 1 if it did not, 3 if the game could not be opened.

    Raises:
        BadInput: there is no such finding, it cannot be played, its address may not be opened, or a package is missing.
    """
    extras.require("agent", "testcast reproduce")
    test_id = await resolve(run, server)
    details = await details_of(test_id, server, MAX_EVENTS)
    finding = finding_of(details, request.finding)
    url = complete_game_url(request.url or details.snapshot.game_url)
    if not url:
        raise BadInput(f"test {test_id} names no game: give its address with --url")
    private, hosts = may_be_private(request.url, url, server), config.allowed_hosts()
    url = await check_for_submit(url, allow_private=private, allowed_hosts=hosts, setting_of="this command")
    asked = {"url": url, "finding": finding, "times": request.times, "headed": request.headed, "speed": request.speed}
    asked |= {"allowPrivate": private, "allowedHosts": sorted(hosts)}
    if finding.get("real") is True:
        terminal.note(_REAL)
    outcome = await _played(asked, request.times, terminal)
    return _tell(outcome, finding, terminal, as_json=as_json)


def finding_of(details: Details, wanted: str) -> Mapping[str, Any]:
    """The finding with this id: as its newest event has it, else as the verdict's metrics do.

    Raises:
        BadInput: there is none; the message names those that there are.
    """
    found: dict[str, Mapping[str, Any]] = {}
    metrics = details.snapshot.metrics
    if isinstance(metrics, Mapping):
        for name in ("findings", "seenOnce"):
            listed = metrics.get(name)
            for each in listed if isinstance(listed, list) else ():
                _keep(each, found)
    for event in details.last:
        _keep(event.field("finding"), found)
    if wanted in found:
        return found[wanted]
    known = ", ".join(printable(each)[:40] for each in list(found)[:20])
    said = f"it has {known}" if known else "it has none"
    raise BadInput(f"test {details.snapshot.test_id} has no finding {printable(wanted)[:40]}: {said}")


def _keep(given: object, found: dict[str, Mapping[str, Any]]) -> None:
    if isinstance(given, Mapping) and isinstance(given.get("id"), str) and given["id"]:
        found[given["id"]] = given


def may_be_private(named: str | None, url: str, server: Server) -> bool:
    """Whether the game may be at a private address: as `TESTCAST_ALLOW_PRIVATE` says. Where it is not set, a game on
    this machine may, if whoever types the command has named it, or the run is of a server of this machine."""
    given = allow_private()
    if given is not None:
        return given
    if named is not None:
        return is_local(url)
    of_server = [server.edge] if server.broker is None else server.broker.nats_url.split(",")
    return all(each is not None and is_local(each) for each in (*of_server, url))


async def _played(asked: Mapping[str, Any], times: int, terminal: Terminal) -> Mapping[str, Any]:
    """What the player, a process of its own, says at the end.

    Raises:
        BadInput: It cannot be played. GameNotOpened: The game cannot be opened.
    """
    request = orjson.dumps(asked)
    if len(request) > MAX_REQUEST_BYTES:
        raise BadInput(f"the finding has {len(request)} bytes, which no agent of testcast publishes")
    player = await asyncio.create_subprocess_exec(
        *python_module(_PLAYER),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env=config.for_child({}),
        limit=MAX_REQUEST_BYTES,
    )
    assert player.stdin is not None and player.stdout is not None
    last: Mapping[str, Any] = {}
    try:
        player.stdin.write(request)
        player.stdin.close()
        while line := await player.stdout.readline():
            last = orjson.loads(line)
            if "playing" in last:
                terminal.transient(f"playing it, {last['playing']} of {times}")
        status = await player.wait()
    finally:
        if player.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                player.terminate()
            await player.wait()
    if "shown" in last:
        return last
    if last.get("lost"):
        raise GameNotOpened(str(last["error"]))
    raise BadInput(str(last.get("error") or f"the player has ended with status {status}"))


def _tell(outcome: Mapping[str, Any], finding: Mapping[str, Any], terminal: Terminal, *, as_json: bool) -> int:
    shown, tried = outcome["shown"], outcome["tried"]
    if as_json:
        terminal.raw(orjson.dumps({"finding": finding["id"], "happened": shown > 0, **outcome}))
        return EXIT_COMPLETED if shown else EXIT_NOT_SHOWN
    title = printable(str(finding.get("title") or finding.get("kind")))
    times = "" if tried == 1 else f" ({shown} of {tried} times)"
    if not shown:
        terminal.say(f"it did not happen{times}: {title}")
        return EXIT_NOT_SHOWN
    frame = outcome["frame"]
    terminal.say(f"it happened{times} at frame {frame}, {frame / FRAMES_PER_S:.2f} s of the game's time: {title}")
    said = str(outcome.get("stack") or outcome.get("detail") or "")
    for line in said.splitlines()[:_MAX_STACK_LINES]:
        terminal.say(f"  {printable(line.strip())}", "bright_black")
    return EXIT_COMPLETED


def speed_of(given: float | None, *, headed: bool) -> float | None:
    """The speed to play at: with a window, that of the game, unless another one is asked for."""
    if given is not None and not math.isfinite(given):
        raise BadInput("--speed: expected a number")
    return given if given is not None else 1.0 if headed else None
