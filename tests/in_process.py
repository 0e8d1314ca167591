"""An edge in the process of the test, asked without a socket."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import httpx
from starlette.types import Receive, Scope, Send

from tests.harness import until
from ws_edge.access import Action, Header, NotAuthenticated, Principal
from ws_edge.access.projects import ProjectAccess
from ws_edge.api.app import make_app
from ws_edge.api.response_cache import ResponseCache
from ws_edge.config import EdgeConfig
from ws_edge.node import Node


class Edge:
    """An edge in this process, without a socket under it.

    Args:
        settings: fields of its `EdgeConfig`.
    """

    def __init__(self, nats_url: str, **settings: Any) -> None:
        self.node: Node
        config = EdgeConfig(allow_private=True, canary_s=0)._replace(**settings)
        self._app = make_app(nats_url, 1, config, self._on_ready)
        self._state: dict[str, Any] = {}
        self._stop = asyncio.Event()
        self._started = asyncio.Event()
        self._life = asyncio.create_task(self._live())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app({**scope, "state": dict(self._state)}, receive, send)

    def _on_ready(self, node: Node) -> None:
        self.node = node

    async def _live(self) -> None:
        messages = [{"type": "lifespan.shutdown"}, {"type": "lifespan.startup"}]

        async def receive() -> dict[str, str]:
            if len(messages) == 1:
                await self._stop.wait()
            return messages.pop()

        async def send(_message: Any) -> None:
            self._started.set()

        await self._app({"type": "lifespan", "state": self._state}, receive, send)

    @property
    def cache(self) -> ResponseCache:
        return self._app.cache

    async def start(self) -> Edge:
        await self._started.wait()
        await until(lambda: self.node.ready and self.node.hub.epoch)
        return self

    async def stop(self) -> None:
        self._stop.set()
        await self._life


def a_client(edge: Edge, name: str) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        transport=httpx.ASGITransport(edge), base_url="http://edge.example", headers={"x-name": name}
    )


ALL: Final = frozenset(Action)
PEOPLE: Final = {
    "ann": Principal("ann", frozenset({"a"}), ALL),
    "bob": Principal("bob", frozenset({"b"}), ALL),
    "amy": Principal("amy", frozenset({"a"}), frozenset({Action.LIST, Action.WATCH})),
    "eve": Principal("eve", frozenset(), ALL),
    "root": Principal("root", None, ALL),
    "both": Principal("both", frozenset({"a", "b"}), ALL),
}


class ByProject:
    """The header names the caller; what they may do is by project."""

    def __init__(self, node: Node) -> None:
        self._projects = ProjectAccess(node.catalogue.snapshot, node.project_of)
        self.authorize = self._projects.authorize
        self.authorize_later = self._projects.authorize_later

    def identify(self, header: Header) -> Principal:
        found = PEOPLE.get(header("x-name") or "")
        if found is None:
            raise NotAuthenticated("who are you?")
        return found

    async def identify_later(self, header: Header) -> Principal:
        return self.identify(header)


def has_ended(edge: Edge, test_id: str) -> bool:
    found = edge.node.snapshot(test_id)
    return found is not None and found.ended


def an_event(message: str, **fields: Any) -> dict[str, Any]:
    return {"type": "progress", "message": message, "timestamp": 1} | fields
