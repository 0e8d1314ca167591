"""A real HTTP server in the place of a model's endpoint: it answers as a test wants, also wrongly and slowly."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import uvicorn
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

Answers = Callable[[Request], Awaitable[Response] | Response]


class ModelServer:
    """The endpoint. `say` answers every request; what was asked is kept, the newest last."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}/v1"
        self.say: Answers = lambda request: Response(status_code=500)
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.paths: list[str] = []
        self.closing = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The server as an application of ASGI."""
        request = Request(scope, receive)
        body = await request.body()
        self.paths.append(request.url.path)
        self.headers.append(dict(request.headers))
        self.bodies.append(msgspec.json.decode(body) if body else {})
        said = self.say(request)
        response = said if isinstance(said, Response) else await said
        await response(scope, receive, send)

    async def never(self, request: Request) -> Response:
        """Answers when the test is over."""
        await self.closing.wait()
        return Response(status_code=500)

    @property
    def offered(self) -> dict[str, dict[str, Any]]:
        """What the newest question allows, by id."""
        text: str = self.bodies[-1]["messages"][1]["content"][0]["text"]
        facts = msgspec.json.decode(text.partition("\n")[0])
        return {each["id"]: each for each in facts["allowed"]}


def completion(content: object, usage: object = None) -> Response:
    """A chat completion that says `content`."""
    told: dict[str, object] = {"choices": [{"index": 0, "message": {"role": "assistant", "content": content}}]}
    if usage is not None:
        told["usage"] = usage
    return Response(msgspec.json.encode(told), media_type="application/json")


def chooses(action: str, frames: object = 12, reason: object = "it moves") -> Answers:
    """Answers every question with one choice, and counts 1000 tokens in and 20 out."""
    chosen = msgspec.json.encode({"action": action, "frames": frames, "reason": reason}).decode()
    return lambda request: completion(chosen, {"prompt_tokens": 1000, "completion_tokens": 20, "total_tokens": 1020})


@asynccontextmanager
async def model_server() -> AsyncIterator[ModelServer]:
    """A running server."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()  # who comes before the server has started waits
        app = ModelServer(listening.getsockname()[1])
        config = uvicorn.Config(app, log_level="critical", lifespan="off", timeout_graceful_shutdown=1)
        server = uvicorn.Server(config)
        serving = asyncio.create_task(server.serve([listening]))
        try:
            yield app
        finally:
            app.closing.set()
            server.should_exit = True
            await serving
