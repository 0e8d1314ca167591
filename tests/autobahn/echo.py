"""An echo server made of the edge's socket class. `ViewerSocket` handles frames and closing."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import uvicorn
from starlette.applications import Starlette
from websockets.frames import Frame, Opcode

from broker.contract.errors import BadInput
from ws_edge.access import OpenAccess
from ws_edge.config import EdgeConfig
from ws_edge.encoding.websocket import text_frame
from ws_edge.transport import accept, entrance, websocket
from ws_edge.transport.admission import Admission
from ws_edge.transport.connections import Connections
from ws_edge.transport.hosts import hosts_of
from ws_edge.transport.inbound import Inbound
from ws_edge.transport.quotas import Quotas
from ws_edge.transport.unread import UnreadAnswers
from ws_edge.views.tests_channel import TestsChannel

_MAX_MESSAGE_BYTES = 16 << 20
"""Size of the suite's largest message (case 9.1.6)."""
_BINARY = b"\x82"


class EchoSocket(websocket.ViewerSocket):
    """Removes the edge's own restrictions (JSON, text only) and keeps those of RFC 6455."""

    __slots__ = ("_binary",)

    def _on_frame(self, frame: Frame) -> None:
        if frame.opcode in (Opcode.TEXT, Opcode.BINARY):
            self._binary = frame.opcode is Opcode.BINARY
            frame.opcode = Opcode.TEXT
        super()._on_frame(frame)

    def _on_message(self, data: bytes) -> None:
        echo = text_frame(data)
        if self._binary:
            self.write(_BINARY + echo[1:])
            return
        super()._on_message(data)
        if not self.closing_since:
            self.write(echo)

    def refuse(self, error: BadInput) -> None:
        """Ignores the error: text that is no client message is echoed too."""


@contextlib.asynccontextmanager
async def echo(listening: socket.socket) -> AsyncIterator[None]:
    """Serves the echo with the edge's accept protocol under uvicorn while the block runs.

    Replaces globals of the edge's modules, so it needs a process of its own.
    """
    websocket.MAX_MESSAGE_BYTES = _MAX_MESSAGE_BYTES  # type: ignore[misc]
    entrance.ViewerSocket = EchoSocket  # type: ignore[attr-defined]
    config = EdgeConfig()
    quotas = Quotas(config.limits._replace(messages_per_s=0), config.max_subscriptions)
    node = SimpleNamespace(
        hub=SimpleNamespace(sockets=set(), pending={}),
        access=OpenAccess(),
        config=config,
        admission=Admission(10, 10, 0),
        connections=Connections(10, 10, 100),
        hosts=hosts_of(config),
        quotas=quotas,
        inbound=Inbound(quotas),
        unread=UnreadAnswers(20, 1 << 20),
        tests=TestsChannel(config.high_water_bytes, lambda: False),
        draining=False,
    )

    @contextlib.asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[dict[str, Any]]:
        yield {"node": node}

    server = uvicorn.Server(
        uvicorn.Config(
            Starlette(lifespan=lifespan), http=accept.AcceptProtocol, ws=EchoSocket, lifespan="on", log_config=None
        )
    )
    serving = asyncio.create_task(server.serve([listening]))
    try:
        yield
    finally:
        server.should_exit = True
        await serving
