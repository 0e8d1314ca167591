"""The port, or the Unix socket, that serves a process's metrics at `/metrics`, and whether it is well.

It is not the port of the viewers: what passes through a load balancer is not for everybody to read.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import socket
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import uvicorn
from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric

from broker.contract.errors import InvalidSetting
from broker.local.listening import reason, resolved
from broker.metrics.text import text_of

_TYPE: Final = b"text/plain; version=0.0.4; charset=utf-8"
_PLAIN: Final = b"text/plain; charset=utf-8"
_MOST_READERS: Final = 32
_OF_THE_PORT: Final = (errno.EADDRINUSE, errno.EACCES)
_log = logging.getLogger("testcast.metrics")

Collect = Callable[[], Iterable[Metric]]
"""Makes the families of this moment, in the loop's thread."""
Render = Callable[[], Awaitable[bytes]]
"""Makes the whole page, in the text format of Prometheus."""
Check = Callable[[], Sequence[str]]
"""Says what is amiss at this moment, a sentence each; none: all is well."""


def page_of(*collect: Collect) -> Render:
    """The page of this process: its own families, and what the system says about the process."""
    from prometheus_client import ProcessCollector

    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    for each in collect:
        registry.register(_Collector(each))

    async def render() -> bytes:
        return text_of(registry.collect())

    return render


class MetricsEndpoint:
    """Serves one page. `start` and `stop` belong to the process's main task.

    Args:
        render: makes the page, for each request anew.
        checks: further paths, such as `/healthz`: 200 while the check finds nothing amiss, else 503 with its sentences.
    """

    def __init__(self, render: Render, checks: Mapping[str, Check] | None = None) -> None:
        self._render = render
        self._checks = dict(checks or {})
        self._server: _Server | None = None
        self._task: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<MetricsEndpoint {'serving' if self._task is not None else 'stopped'}>"

    async def start(self, where: socket.socket | Path) -> None:
        """Serves on a listening socket, or on a Unix socket at this path.

        Raises:
            OSError: there can be no socket at the path.
        """
        path = str(where) if isinstance(where, Path) else None
        config = uvicorn.Config(
            self._app,
            uds=path,
            interface="asgi3",
            ws="none",
            lifespan="off",
            access_log=False,
            log_config=None,
            server_header=False,
            proxy_headers=False,
            limit_concurrency=_MOST_READERS,
            timeout_graceful_shutdown=1,
        )
        self._server = _Server(config)
        sockets = None if path is not None else [where]
        self._task = asyncio.create_task(self._server.serve(sockets), name="metrics")  # type: ignore[arg-type]
        while not self._server.started and not self._task.done():
            await asyncio.sleep(0.005)  # uvicorn offers nothing to wait for
        if self._task.done():
            await self._task

    async def stop(self) -> None:
        """Stops serving."""
        if self._server is not None and self._task is not None:
            self._server.should_exit = True
            await asyncio.wait([self._task])
            self._task = None

    async def _app(self, scope: Any, _receive: Any, send: Any) -> None:
        asked = scope["path"] if scope["method"] in ("GET", "HEAD") else ""
        status, body, kind = 404, b"the metrics are at /metrics\n", _PLAIN
        try:
            if asked == "/metrics":
                status, body, kind = 200, await self._render(), _TYPE
            elif asked in self._checks:
                amiss = self._checks[asked]()
                status, body = (503, "".join(f"{each}\n" for each in amiss).encode()) if amiss else (200, b"ok\n")
        except Exception:
            _log.exception("%s could not be read", "the metrics" if asked == "/metrics" else asked)
            status, body, kind = 500, b"this could not be read; the log says why\n", _PLAIN
        headers = [(b"content-type", kind), (b"cache-control", b"no-store")]
        headers.append((b"content-length", str(len(body)).encode("ascii")))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})


def listening_socket(host: str, port: int) -> socket.socket:
    """A socket that listens at the address of the settings.

    Raises:
        InvalidSetting: it cannot; the message names the variable.
    """
    try:
        family, address = resolved(host, port)
        listening = socket.socket(family)
    except OSError as error:
        raise InvalidSetting(f"TESTCAST_METRICS_HOST: {reason(host, port, error)}") from None
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen()
    except OSError as error:
        listening.close()
        name = "TESTCAST_METRICS_PORT" if error.errno in _OF_THE_PORT else "TESTCAST_METRICS_HOST"
        raise InvalidSetting(f"{name}: {reason(host, port, error)}") from None
    return listening


class _Server(uvicorn.Server):
    """uvicorn's server, which leaves signals to the process."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class _Collector:
    """A function as prometheus_client registers it."""

    def __init__(self, collect: Collect) -> None:
        self._collect = collect

    def collect(self) -> Iterable[Metric]:
        return self._collect()

    def describe(self) -> Iterable[Metric]:
        """None: the names are known when somebody asks. Without this, registering would ask at once."""
        return ()
