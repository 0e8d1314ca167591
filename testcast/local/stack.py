"""The processes of testcast on this machine: a broker, edges, agents and the demo game."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NamedTuple

import httpx

from broker.config import DEFAULT_NATS_URL, redacted
from broker.contract.errors import BadInput, ServerNotStarted, TestcastError
from broker.contract.roles import Role
from broker.jetstream import topology
from broker.jetstream.connection import Connection
from broker.known_settings import LOGIN
from broker.local.child_process import Child, python_module
from broker.local.embedded_server import EmbeddedServer
from broker.local.listening import host_port, reachable, refusal
from broker.local.secure_access import SecureAccess
from broker.login import NatsSettings
from broker.retry import Backoff, retry
from testcast import config
from testcast.local import data_directory
from testcast.local.data_directory import DataDirectory
from testcast.local.secure import Running, announce, names_of

HOST: Final = "127.0.0.1"
_DEFAULT_BROKER_PORT: Final = int(DEFAULT_NATS_URL.rsplit(":", 1)[1])
_READY_TIMEOUT_S: Final = 30.0
_READY_PAUSE_S: Final = 0.05
_WATCH_EVERY_S: Final = 0.1
_REQUEST_TIMEOUT_S: Final = 2.0
_STOP_TIMEOUT_S: Final = 15.0
"""Longer than an edge takes to drain (10 s)."""


class PartFailed(TestcastError):
    """A process did not start, or exited unexpectedly. The message contains the end of its log."""

    code = "part_failed"


class Part(NamedTuple):
    """One process of the stack."""

    name: str
    kind: str
    """"broker", "game", "edge" or "agent"."""
    child: Child


class StackStatistics(NamedTuple):
    """The number of running processes of each kind."""

    brokers: int
    games: int
    edges: int
    agents: int


class Stack:
    """Starts the processes in the order in which the methods are called, and stops all of them.

    Not safe to use from two tasks. `stop` may be called at any time and repeatedly, `kill` from a signal handler.

    Args:
        state_dir: the directory for data and logs.
        binary: the nats-server to run; None for the one that is found.
    """

    def __init__(self, state_dir: Path, binary: str | None = None) -> None:
        self.nats_url = ""
        self.login: NatsSettings | None = None
        """How to log in to the broker; None: as the environment says. A broker of this stack wants no login."""
        self.dir = state_dir
        """Where the logs of this stack are, in `logs`."""
        self.parts: list[Part] = []
        """Every process but the broker."""
        self._state_dir = state_dir
        self._binary = binary
        self._server: EmbeddedServer | None = None
        self._data: DataDirectory | None = None
        self._access: SecureAccess | None = None
        """The keys of its secure broker; None: another, or one without users."""
        self._announced: Running | None = None

    def __repr__(self) -> str:
        running = [each.name for each in self._all_parts() if each.child.exit_code is None]
        return f"<Stack {redacted(self.nats_url)} running={running}>"

    def statistics(self) -> StackStatistics:
        """The number of running processes of each kind."""
        running = [each.kind for each in self._all_parts() if each.child.exit_code is None]
        return StackStatistics(*(running.count(kind) for kind in ("broker", "game", "edge", "agent")))

    async def start_broker(
        self,
        port: int | None = None,
        data: Path | None = None,
        host: str = HOST,
        *,
        access: SecureAccess | None = None,
        names: Sequence[str] = (),
    ) -> str:
        """Starts a nats-server on the data of earlier starts, and declares the streams. Returns its URL.

        Args:
            port: None: 4222 if it is free, else any.
            data: None: a directory below the state directory that no other testcast is using.
            access: the keys of a secure broker, which are made where they are missing. None: one without users.
            names: further names in the secure broker's certificate; the first is the one that settings name.

        Raises:
            ServerNotStarted: it does not start, or another testcast is using `data`.
        """
        self._data = data_directory.first_free(self._state_dir) if data is None else data_directory.named(data)
        self.dir = self._data.path
        chosen = port if port is not None else _DEFAULT_BROKER_PORT if not refusal(HOST, _DEFAULT_BROKER_PORT) else 0
        if access is not None:
            access.prepare(names_of(host, names), datetime.now(UTC))
        config_file = None if access is None else access.config
        self._server = EmbeddedServer(self.dir, chosen, host, self._binary, secure_config=config_file)
        try:
            await self._server.start()
        except OSError as error:
            raise _cannot_write(self.dir, error) from None
        self.nats_url = self._server.url
        self.login = NatsSettings()
        if access is not None:
            self._access, self.login = access, access.login(Role.OPERATOR)
            access.write_settings(names[0] if names else reachable(host), self._server.port)
            self._announced = announce(access, self.nats_url)
        nats = await Connection.connect(self.nats_url, name="testcast-setup", settings=self.login)
        try:
            await topology.apply(nats, replicas=1)  # it is one node
        finally:
            await nats.close()
        return self.nats_url

    def use_broker(self, nats_url: str) -> None:
        """Uses a broker that is running already."""
        self.nats_url = nats_url
        self.dir = self._state_dir

    async def start_game(self) -> str:
        """Serves the demo game. Returns its address.

        Raises:
            PartFailed: it exited, or does not answer within 30 s.
        """
        port = free_port()
        part = self._start("game", "demo-game", python_module("testcast", "demo-game", "--port", str(port)), {})
        url = f"http://{HOST}:{port}/"
        await until_it_answers(part, url)
        return url

    async def start_edge(
        self,
        port: int,
        demo_game_url: str | None = None,
        host: str = HOST,
        *,
        allow_private: bool = False,
        further: Mapping[str, str] | None = None,
        allowed_hosts: Collection[str] = (),
    ) -> str:
        """Starts an edge and waits until it is ready. Returns its address.

        Args:
            demo_game_url: offered on the dashboard.
            allow_private: games at private addresses may be submitted, whatever the environment says.
            further: more settings.
            allowed_hosts: games at these hosts may be submitted too, besides those that the environment names.

        Raises:
            BadInput: the port is taken.
            PartFailed: it exited, or is not ready within 30 s.
        """
        if why := refusal(host, port):
            raise BadInput(f"{why}: choose another one with --port")
        settings = {
            **(further or {}),
            "TESTCAST_NATS_URL": self.nats_url,
            "TESTCAST_EDGE_HOST": host,
            "TESTCAST_EDGE_PORT": port,
            "TESTCAST_EDGE_DEMO_GAME_URL": demo_game_url,
            "TESTCAST_ALLOW_PRIVATE": 1 if allow_private else None,
            "TESTCAST_ALLOW_HOSTS": ",".join({*allowed_hosts, *config.allowed_hosts()}) if allowed_hosts else None,
        }
        part = self._start("edge", f"edge-{port}", python_module("ws_edge"), settings)
        url = f"http://{host_port(reachable(host), port)}"
        await until_it_answers(part, f"{url}/readyz")
        return url

    def start_agent(self, number: int = 1, *, allow_private: bool = False) -> None:
        """Starts an agent and does not wait for it.

        Args:
            allow_private: it may open games at private addresses.
        """
        settings = {
            "TESTCAST_NATS_URL": self.nats_url,
            "TESTCAST_ALLOW_PRIVATE": 1 if allow_private else None,
        }
        self._start("agent", f"agent-{number}", python_module("agent_worker"), settings)

    def _start(self, kind: str, name: str, argv: Sequence[str], settings: Mapping[str, object]) -> Part:
        log = self.dir / "logs" / f"{name}.log"
        try:
            log.unlink(missing_ok=True)
            part = Part(name, kind, Child(argv, log, config.for_child({**settings, **self._login_of(kind)})))
        except OSError as error:
            raise _cannot_write(log.parent, error) from None
        self.parts.append(part)
        return part

    def _login_of(self, kind: str) -> dict[str, str]:
        """The settings with which a part logs in."""
        if self.login is None:
            return {}
        own = {} if self._access is None or kind == "game" else self._access.settings(Role(kind), self.nats_url)
        return dict.fromkeys(LOGIN, "") | own

    def _all_parts(self) -> list[Part]:
        """Every process, the broker last."""
        if self._server is None or self._server.restarting:
            return self.parts
        with contextlib.suppress(ServerNotStarted):
            return [*self.parts, Part("broker", "broker", self._server.child)]
        return self.parts

    async def first_exit(self) -> Part:
        """Waits until one of the processes exits, and removes it from `parts`."""
        while True:
            for part in self._all_parts():
                if part.child.exit_code is not None:
                    if part in self.parts:
                        self.parts.remove(part)
                    return part
            await asyncio.sleep(_WATCH_EVERY_S)

    async def stop(self) -> None:
        """Stops the agents, the game, the edges and the broker, in this order, each kind before the next."""
        for kind in ("agent", "game", "edge"):
            await asyncio.gather(*(each.child.stop(_STOP_TIMEOUT_S) for each in self.parts if each.kind == kind))
        if self._announced is not None:
            self._announced.close()
        if self._server is not None:
            await self._server.stop()
        if self._data is not None:
            self._data.close()

    def kill(self) -> None:
        """Kills every process and the processes that those have started."""
        for part in self._all_parts():
            if part.child.exit_code is None:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(part.child.pid, signal.SIGKILL)


def _cannot_write(path: Path, error: OSError) -> ServerNotStarted:
    return ServerNotStarted(f"cannot write to {path}: {error.strerror} (TESTCAST_STATE_DIR)")


async def until_it_answers(part: Part, url: str, timeout_s: float = _READY_TIMEOUT_S) -> None:
    """Waits until `url` answers with a 2xx status.

    Raises:
        PartFailed: the process exited, or does not answer so within `timeout_s`.
    """
    # No proxy is used between two processes of one machine.
    async with httpx.AsyncClient(timeout=_REQUEST_TIMEOUT_S, trust_env=False) as http:

        async def ask() -> None:
            if part.child.exit_code is not None:
                raise PartFailed(exit_message(part))
            (await http.get(url)).raise_for_status()

        try:
            backoff = Backoff(_READY_PAUSE_S, _READY_PAUSE_S)
            await retry(ask, on=(httpx.HTTPError,), within_s=timeout_s, backoff=backoff)
        except httpx.HTTPError:
            raise PartFailed(f"{part.name} is not ready after {timeout_s:g} s; see {part.child.log}") from None


def exit_message(part: Part) -> str:
    """Says that a process exited unexpectedly, with the end of its log."""
    code = part.child.exit_code
    message = f"the {part.name} process exited unexpectedly (status {code}); see {part.child.log}"
    if code is not None and code < 0:  # a signal killed it, which the log does not mention
        return message
    return f"{message}:\n{part.child.last_lines()}"


def free_port(host: str = HOST) -> int:
    """A port that nothing listened on a moment ago."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])
