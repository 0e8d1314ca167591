"""An echo server made of the edge's own socket. Frames and closing are those of `ViewerSocket`."""

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
from ws_edge.transport import accept, websocket
from ws_edge.transport.admission import Admission
from ws_edge.transport.requests import ClientRequest
from ws_edge.views.tests_channel import TestsChannel

_MAX_MESSAGE_BYTES = 16 << 20
"""The suite's largest message (9.1.6)."""
_BINARY = b"\x82"


class EchoSocket(websocket.ViewerSocket):
    """Lifts the edge's own restrictions (JSON, text only), and none of RFC 6455's."""

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

    def _execute(self, request: ClientRequest) -> None:
        """A client message is text like any other."""

    def _refuse(self, error: BadInput) -> None:
        """So is text that is no client message."""


@contextlib.asynccontextmanager
async def echo(listening: socket.socket) -> AsyncIterator[None]:
    """Serves the echo behind the edge's accept protocol, under uvicorn, while the block runs. Needs its own process."""
    websocket.MAX_MESSAGE_BYTES = _MAX_MESSAGE_BYTES  # type: ignore[misc]
    accept.ViewerSocket = EchoSocket  # type: ignore[attr-defined]
    config = EdgeConfig()
    node = SimpleNamespace(
        hub=SimpleNamespace(sockets=set(), pending={}),
        access=OpenAccess(),
        config=config,
        admission=Admission(10, 10, 0),
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
