"""A plain Python server, as in common tutorials: Starlette, a NATS subscription for each client, `send_text`.

`hello` is a minimal ASGI application, with which the edge's polls are compared.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator
from typing import Any

import nats
from nats.aio.msg import Msg
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect


@contextlib.asynccontextmanager
async def _lifespan(_app: Starlette) -> AsyncIterator[dict[str, Any]]:
    client = await nats.connect(os.environ["BENCH_NATS_URL"])
    yield {"nats": client}
    await client.close()


async def _watch(socket: WebSocket) -> None:
    async def on_message(message: Msg) -> None:
        await socket.send_text(message.data.decode())

    await socket.accept()
    subscription = await socket.state.nats.subscribe("bench", cb=on_message)
    try:
        await socket.send_text("hello")
        while True:
            await socket.receive_text()
    except WebSocketDisconnect:
        await subscription.unsubscribe()


app = Starlette(lifespan=_lifespan, routes=[WebSocketRoute("/ws", _watch)])


async def hello(scope: Any, receive: Any, send: Any) -> None:
    """A minimal ASGI application: every answer is two dictionaries."""
    if scope["type"] == "lifespan":
        while (await receive())["type"] == "lifespan.startup":
            await send({"type": "lifespan.startup.complete"})
        await send({"type": "lifespan.shutdown.complete"})
        return
    headers = [(b"content-type", b"text/plain"), (b"content-length", b"5")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"hello"})
