"""The commands `demo`, `up` and `broker`: processes of testcast on this machine, until they are stopped."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NamedTuple, TypeVar

from rich.text import Text

from broker import log_setup
from broker.config import BrokerConfig, login_given, redacted
from broker.contract.errors import BadInput, TestcastError
from broker.contract.roles import Role
from broker.contract.url_policy import host_and_port
from broker.jetstream import runs
from broker.jetstream.connection import Connection
from broker.jetstream.event_log import JetStreamLog
from broker.local.listening import host_port, is_loopback, reachable, refusal
from broker.local.secure_access import ENV, SecureAccess
from testcast import config
from testcast.cli.follow import Follow
from testcast.cli.terminal import Terminal
from testcast.client.rpc import submit
from testcast.client.tail import Tail
from testcast.exit_codes import EXIT_COMPLETED, EXIT_FAILED
from testcast.local.foreground import run
from testcast.local.metrics import serving as metrics_of_stack
from testcast.local.secure import access_below, access_in, names_of, settings_of_edges
from testcast.local.stack import HOST, PartFailed, Stack, exit_message

_CANCEL_TIMEOUT_S: Final = 3.0
_MAX_PORT: Final = 65535
_REPLICAS: Final = 3
"""Of streams in a cluster of at least as many servers: one may be lost, and more of them make every write slower."""
_T = TypeVar("_T")


class DemoRequest(NamedTuple):
    """The options of `demo`."""

    once: bool
    game_url: str | None
    """None: the bundled demo game."""
    port: int
    seed: int | None
    budget_s: float | None
    host: str = HOST
    """Where the edge listens."""


async def demo(request: DemoRequest, settings: BrokerConfig, terminal: Terminal) -> int:
    """Starts everything, has one game tested and shows the run. Without `once` the dashboard then stays until a signal.

    Returns:
        The verdict of the run: 0 completed, 1 failed; 128 + the signal's number when it was stopped before that.

    Raises:
        BadInput: the port is taken, or the game's address is refused.
        PartFailed, ServerNotStarted: a process does not start, or exited.
    """
    config.refuse_exposed_edge(request.host, "testcast up --secure")
    _check_ports(request.port, 1, request.host)
    stack = Stack(config.state_directory(settings), settings.server_binary)

    async def body(metrics: str) -> int:
        _started(terminal, "broker", await _own_broker(stack, terminal))
        _keep_log(stack, "demo")
        demo_game_url = await stack.start_game()
        _started(terminal, "game", request.game_url or demo_game_url)
        private, hosts = _may_be_tested(request, demo_game_url)
        edge_url = await stack.start_edge(
            request.port, demo_game_url, request.host, allow_private=private, allowed_hosts=hosts
        )
        _started(terminal, "edge", edge_url)
        stack.start_agent(allow_private=private)
        _started(terminal, "agent", "started")
        _tell_metrics(metrics, terminal)
        terminal.say(Text.assemble(("  Watch it live  ", "bold"), ("→  ", "blue"), _link(edge_url)))
        terminal.say()
        status = await _play(stack, edge_url, request, demo_game_url, terminal)
        if not request.once:
            terminal.say()
            terminal.say(
                Text.assemble("The dashboard stays at ", _link(edge_url), ". Press Ctrl-C to stop everything.")
            )
            with contextlib.suppress(asyncio.CancelledError):  # the usual end: the status is the verdict
                await _while_running(stack, asyncio.Event().wait())
        return status

    return await run(stack, _with_metrics(stack, "demo", body), lambda: _stopping(terminal))


def _may_be_tested(request: DemoRequest, demo_game_url: str) -> tuple[bool, list[str]]:
    """Which games at private addresses: all while only this machine can submit one, else those of this demo by name."""
    if is_loopback(request.host):
        return True, []
    return False, [host_and_port(url) for url in (demo_game_url, request.game_url) if url is not None]


async def _play(stack: Stack, edge_url: str, request: DemoRequest, demo_game_url: str, terminal: Terminal) -> int:
    """Submits the run through the edge and follows it over NATS. Cancels the run when the demo is stopped."""
    nats = await Connection.connect(stack.nats_url, name="testcast-demo", settings=stack.login)
    log = JetStreamLog(nats)
    try:
        test_id = await submit(
            edge_url,
            request.game_url or demo_game_url,
            title=None if request.game_url else "Demo game",
            seed=request.seed,
            budget_seconds=request.budget_s,
        )
        follow = Follow(terminal, test_id)
        try:
            source = Tail(log, test_id, on_state=follow.on_state, address=nats.address)
            return await _while_running(stack, follow.run(source))
        except (asyncio.CancelledError, TestcastError):
            # A job left in the queue would go to the agent of the next demo, whose game has another address.
            with contextlib.suppress(TestcastError, TimeoutError):
                async with asyncio.timeout(_CANCEL_TIMEOUT_S):
                    await runs.cancel(log, test_id)
            raise
    finally:
        await nats.close()


class UpRequest(NamedTuple):
    """The options of `up`."""

    edges: int
    agents: int
    port: int
    """Of the first edge; the others have the ports after it."""
    nats_url: str | None
    """A broker that is running already; None: start one."""
    host: str = HOST
    """Where the edges listen."""
    secure: bool = False
    """The broker that is started has a user per role, and TLS."""


async def up(request: UpRequest, settings: BrokerConfig, terminal: Terminal) -> int:
    """Starts a broker, edges and agents. When a process exits, that is reported and the others keep running.

    Returns:
        0 when stopped by a signal, 1 when the broker or every other process has exited.

    Raises:
        BadInput: a port is taken.
        PartFailed, ServerNotStarted: a process does not start.
    """
    state_dir = config.state_directory(settings)
    access = access_below(state_dir) if request.secure else None
    of_edges = settings_of_edges(state_dir) if request.secure else {}
    config.refuse_exposed_edge(request.host, "testcast up --secure", of_edges)
    _check_ports(request.port, request.edges, request.host)
    stack = Stack(state_dir, settings.server_binary)

    async def body(metrics: str) -> int:
        await _broker_of_up(request, stack, terminal, access)
        own = f"http://{host_port(request.host, request.port)}" if is_loopback(request.host) else None
        private = config.allow_private(stack.nats_url, own)
        for number in range(request.edges):
            url = await stack.start_edge(
                request.port + number, host=request.host, allow_private=private, further=of_edges
            )
            _started(terminal, "edge", f"{url}/" if request.host in url else f"{url}/ (listens on {request.host})")
        for number in range(1, request.agents + 1):
            stack.start_agent(number)
        if request.agents:
            _started(terminal, "agents", f"{request.agents} started")
        _tell_metrics(metrics, terminal)
        allowed = "may be tested; 0 forbids it" if private else "may not be tested; 1 allows it"
        terminal.note(f"Games at private addresses, such as http://localhost:3000, {allowed} (TESTCAST_ALLOW_PRIVATE).")
        if of_edges and not is_loopback(request.host):
            terminal.note("From other machines people sign in over https only: put TLS in front of the edges.")
        terminal.note(f"The logs are in {stack.dir / 'logs'}. Press Ctrl-C to stop everything.")
        with contextlib.suppress(asyncio.CancelledError):  # the usual end
            while stack.parts:
                part = await stack.first_exit()
                terminal.error(exit_message(part))
                if part.kind == "broker":
                    break
            return EXIT_FAILED
        return EXIT_COMPLETED

    return await run(stack, _with_metrics(stack, "up", body), lambda: _stopping(terminal))


async def _broker_of_up(request: UpRequest, stack: Stack, terminal: Terminal, access: SecureAccess | None) -> None:
    if request.nats_url is None:
        await _own_broker(stack, terminal, access=access)
    else:
        stack.use_broker(request.nats_url)
    _keep_log(stack, "up")
    _started(terminal, "broker", redacted(stack.nats_url))


class BrokerRequest(NamedTuple):
    """The options of `broker`."""

    host: str = HOST
    port: int = 4222
    data: Path | None = None
    secure: bool = False
    keys: Path | None = None
    """The directory of a secure broker's keys; None: one below the state directory."""
    names: tuple[str, ...] = ()
    """Further names in its certificate; the first is the one that settings name, and with `routes` all of them."""
    routes: tuple[str, ...] = ()
    """Names at which the servers of a cluster reach each other."""


async def broker(request: BrokerRequest, settings: BrokerConfig, terminal: Terminal) -> int:
    """Runs a broker.

    Returns:
        0 when stopped by a signal, 1 when it exited.

    Raises:
        ServerNotStarted: the port or the data directory is taken, or there is no nats-server.
        InvalidSetting: other machines reach it, and it has no users.
    """
    access = _access_of(request, settings) if request.secure else None
    if access is None:
        config.refuse_exposed_broker(request.host)
    stack = Stack(config.state_directory(settings), settings.server_binary)

    async def body() -> int:
        port, data, host = request.port, request.data, request.host
        url = await _own_broker(stack, terminal, port, data, host, access=access, names=request.names)
        _keep_log(stack, "broker-command")
        _started(terminal, "broker", url)
        _started(terminal, "data", str(stack.dir))
        if access is not None:
            _started(terminal, "keys", str(access.directory))
            _tell_settings(access, terminal)
        with contextlib.suppress(asyncio.CancelledError):
            terminal.error(exit_message(await stack.first_exit()))
            return EXIT_FAILED
        return EXIT_COMPLETED

    return await run(stack, body, lambda: _stopping(terminal))


def prepare_broker(request: BrokerRequest, settings: BrokerConfig, terminal: Terminal, role: str | None) -> int:
    """Makes the keys, certificates and configuration of a secure broker, and starts nothing.

    Args:
        role: print the settings of a part of this role, one a line; None: say where the files are.

    Raises:
        ServerNotStarted: a file cannot be read, used or written.
    """
    access = _access_of(request, settings)
    names = names_of(request.host, (*request.names, *request.routes))
    access.prepare(names, datetime.now(UTC), routes=request.routes)
    if request.routes:
        first, *others = request.names
        access.write_settings(first, request.port, others=others, replicas=min(len(request.routes), _REPLICAS))
    else:
        access.write_settings(request.names[0] if request.names else reachable(request.host), request.port)
    if role is not None:
        for line in (access.directory / role / ENV).read_bytes().splitlines():
            terminal.raw(line)
        return EXIT_COMPLETED
    _started(terminal, "keys", str(access.directory))
    _tell_settings(access, terminal)
    return EXIT_COMPLETED


def _access_of(request: BrokerRequest, settings: BrokerConfig) -> SecureAccess:
    if request.keys is not None:
        return access_in(request.keys.absolute())
    return access_below(config.state_directory(settings))


def _tell_settings(access: SecureAccess, terminal: Terminal) -> None:
    terminal.say()
    terminal.note("The settings of each part, with its key and the CA beside them:")
    for role in Role:
        terminal.note(f"  {role.value:9}{access.directory / role.value / ENV}")


async def _own_broker(
    stack: Stack,
    terminal: Terminal,
    port: int | None = None,
    data: Path | None = None,
    host: str = HOST,
    *,
    access: SecureAccess | None = None,
    names: Sequence[str] = (),
) -> str:
    """Starts a broker, and says which settings are not for it. Returns its URL."""
    if unused := login_given():
        terminal.note(f"{', '.join(unused)}: not for the broker that is started here; TESTCAST_NATS_URL names another")
    return await stack.start_broker(port, data, host, access=access, names=names)


async def _while_running(stack: Stack, work: Awaitable[_T]) -> _T:
    """Returns the result of `work`, which is cancelled when a process of the stack exits.

    Raises:
        PartFailed: a process exited.
    """
    working, watching = asyncio.ensure_future(work), asyncio.ensure_future(stack.first_exit())
    try:
        await asyncio.wait({working, watching}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise PartFailed(exit_message(watching.result()))
    finally:
        for task in (working, watching):
            task.cancel()
        await asyncio.gather(working, watching, return_exceptions=True)


def _keep_log(stack: Stack, command: str) -> None:
    """What the packages below this command log goes to a file beside the logs of its processes.

    Raises:
        InvalidSetting: `TESTCAST_LOG_FORMAT` or `TESTCAST_LOG_LEVEL` makes no sense.
    """
    with contextlib.suppress(OSError):
        log_setup.configure(command, file=stack.dir / "logs" / f"{command}.log")


def _check_ports(first: int, count: int, host: str) -> None:
    """Checks that the ports of `host` are free, before anything is started.

    Raises:
        BadInput: one is not; the message names the option.
    """
    for port in range(first, first + count):
        if port > _MAX_PORT:
            raise BadInput(f"port {port} does not exist: choose a lower one with --port")
        if why := refusal(host, port):
            raise BadInput(f"{why}: choose another one with --port, say {port + 1000}")


def _started(terminal: Terminal, name: str, where: str) -> None:
    terminal.say(Text.assemble(("  ● ", "green"), (f"{name:8}", "bold"), (where, "bright_black")))


def _with_metrics(stack: Stack, part: str, body: Callable[[str], Awaitable[int]]) -> Callable[[], Awaitable[int]]:
    """`body` while the metrics of the stack are served; it is told where, or why they are not."""

    async def measured() -> int:
        async with metrics_of_stack(stack, part) as metrics:
            return await body(metrics)

    return measured


def _tell_metrics(where: str, terminal: Terminal) -> None:
    if where.startswith("http"):
        _started(terminal, "metrics", f"{where}  (watch them: testcast top)")
    else:
        terminal.note(f"  ○ metrics {where}")
    terminal.say()


def _stopping(terminal: Terminal) -> None:
    terminal.note("stopping … (press Ctrl-C again to kill everything at once)")


def _link(edge_url: str) -> tuple[str, str]:
    return f"{edge_url}/", "bold underline cyan"
