"""`testcast demo`, `up` and `broker`: parts of a testcast on this machine, for as long as one looks at them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable
from pathlib import Path
from typing import Final, NamedTuple, TypeVar

from rich.text import Text

from broker.config import BrokerConfig, redacted
from broker.contract.errors import BadInput, TestcastError
from broker.jetstream import runs
from broker.jetstream.connection import Connection
from broker.jetstream.event_log import JetStreamLog
from broker.local.embedded_server import port_is_free
from testcast.cli.follow import Follow
from testcast.cli.terminal import Terminal
from testcast.client.edge import Edge
from testcast.client.errors import EXIT_FAILED
from testcast.client.feed import Tail
from testcast.local.stack import HOST, PartFailed, Stack, ended, run

_CANCEL_S: Final = 3.0
_T = TypeVar("_T")


class Demo(NamedTuple):
    """What `demo` was asked for."""

    once: bool
    game_url: str | None
    """None: the bundled demo game."""
    port: int
    seed: int | None
    budget_s: float | None


async def demo(asked: Demo, settings: BrokerConfig, terminal: Terminal) -> int:
    """Starts everything, has one game tested and shows it, here and on the page; without `once`, stays until stopped.

    Returns:
        By the verdict: 0 completed, 1 failed; 128 + the signal's number when stopped before there was one.

    Raises:
        BadInput: the port is taken, or the game's address is refused.
        PartFailed, ServerNotStarted: a part does not come up, or ended by itself.
    """
    _check_ports(asked.port, 1)
    stack = Stack(settings.state_dir, settings.server_binary)

    async def body() -> int:
        _came_up(terminal, "broker", await stack.start_broker())
        demo_game_url = await stack.start_game()
        _came_up(terminal, "game", asked.game_url or demo_game_url)
        edge_url = await stack.start_edge(asked.port, demo_game_url)
        _came_up(terminal, "edge", edge_url)
        stack.start_agent(allow_private=True)
        _came_up(terminal, "agent", "started")
        _address(terminal, f"{edge_url}/")
        verdict = await _play(stack, edge_url, asked, demo_game_url, terminal)
        if not asked.once:
            terminal.say()
            terminal.say(
                Text.assemble("The page stays at ", (f"{edge_url}/", "bold underline cyan"), ". Ctrl-C stops it all.")
            )
            with contextlib.suppress(asyncio.CancelledError):  # the usual end: the verdict stands
                await _beside(stack, asyncio.Event().wait())
        return verdict

    return await run(stack, body, terminal.note)


async def _play(stack: Stack, edge_url: str, asked: Demo, demo_game_url: str, terminal: Terminal) -> int:
    """Submits the run through the edge and follows it over NATS; takes it back when told to stop."""
    nats = await Connection.connect(stack.nats_url, name="testcast-demo")
    try:
        async with Edge(edge_url) as edge:
            answer = await edge.call(
                "submitTest",
                gameUrl=asked.game_url or demo_game_url,
                title=None if asked.game_url else "Demo game",
                seed=asked.seed,
                budgetSeconds=asked.budget_s,
            )
            test_id = str(answer["testId"])
            follow = Follow(terminal, test_id)
            try:
                return await _beside(stack, follow.run(Tail(nats, test_id, on_state=follow.on_state)))
            except (asyncio.CancelledError, TestcastError):
                # Not left in the queue for the agent of the next demo, whose game has another address.
                with contextlib.suppress(TestcastError, TimeoutError):
                    async with asyncio.timeout(_CANCEL_S):
                        await runs.cancel(JetStreamLog(nats), test_id)
                raise
    finally:
        await nats.close()


class Up(NamedTuple):
    """What `up` was asked for."""

    edges: int
    agents: int
    port: int
    """Of the first edge; the others follow it."""
    nats_url: str | None
    """A broker that runs already; None: one of our own."""


async def up(asked: Up, settings: BrokerConfig, terminal: Terminal) -> int:
    """Starts a broker, edges and agents and stays until stopped. A part that ends is told of, and the rest goes on.

    Returns:
        0 when stopped, 1 when nothing was left.

    Raises:
        BadInput: a port is taken.
        PartFailed, ServerNotStarted: a part does not come up.
    """
    _check_ports(asked.port, asked.edges)
    stack = Stack(settings.state_dir, settings.server_binary)

    async def body() -> int:
        if asked.nats_url is None:
            await stack.start_broker()
        else:
            stack.use_broker(asked.nats_url)
        _came_up(terminal, "broker", redacted(stack.nats_url))
        for number in range(asked.edges):
            _came_up(terminal, "edge", await stack.start_edge(asked.port + number) + "/")
        for number in range(1, asked.agents + 1):
            stack.start_agent(number)
        if asked.agents:
            _came_up(terminal, "agents", f"{asked.agents} started")
        terminal.say()
        terminal.note(f"logs: {stack.dir / 'logs'}    Ctrl-C stops it all")
        with contextlib.suppress(asyncio.CancelledError):  # how it usually ends
            while stack.parts:
                part = await stack.first_end()
                terminal.error(ended(part))
                if part.kind == "broker":
                    break
            return EXIT_FAILED
        return 0

    return await run(stack, body, terminal.note)


async def broker(host: str, port: int, data: Path | None, settings: BrokerConfig, terminal: Terminal) -> int:
    """Runs a broker until stopped.

    Raises:
        ServerNotStarted: the port or the data directory is taken, or there is no nats-server.
    """
    stack = Stack(settings.state_dir, settings.server_binary)

    async def body() -> int:
        _came_up(terminal, "broker", await stack.start_broker(port, data, host))
        _came_up(terminal, "data", str(stack.dir))
        with contextlib.suppress(asyncio.CancelledError):
            terminal.error(ended(await stack.first_end()))
            return EXIT_FAILED
        return 0

    return await run(stack, body, terminal.note)


async def _beside(stack: Stack, work: Awaitable[_T]) -> _T:
    """Does `work` as long as every process of the stack is there.

    Raises:
        PartFailed: one ended.
    """
    working, watching = asyncio.ensure_future(work), asyncio.ensure_future(stack.first_end())
    try:
        await asyncio.wait({working, watching}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise PartFailed(ended(watching.result()))
    finally:
        for task in (working, watching):
            task.cancel()
        await asyncio.gather(working, watching, return_exceptions=True)


def _check_ports(first: int, count: int) -> None:
    """Refuses taken ports before anything is started.

    Raises:
        BadInput: naming the option.
    """
    for port in range(first, first + count):
        if port > 65535:
            raise BadInput(f"port {port}: there are none above 65535")
        if not port_is_free(HOST, port):
            raise BadInput(
                f"port {port} is taken by another program: choose another one with --port, say {port + 1000}"
            )


def _came_up(terminal: Terminal, name: str, where: str) -> None:
    terminal.say(Text.assemble(("  ● ", "green"), (f"{name:8}", "bold"), (where, "bright_black")))


def _address(terminal: Terminal, url: str) -> None:
    terminal.say()
    terminal.say(Text.assemble(("  Watch it live  ", "bold"), ("→  ", "blue"), (url, "bold underline cyan")))
    terminal.say()
