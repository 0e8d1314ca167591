"""What a new connection is handed to first. WebSocket upgrades are answered here; everything else is uvicorn's.

After a node fails, thousands of viewers reconnect per second, and what uvicorn's HTTP protocol prepares for a request
(parser, flow control, addresses, an ASGI scope) costs more than the handshake itself. A request that is whole, asks for
`/ws` and has the plain form that browsers send is read here, and its connection never becomes HTTP. Any other request
(in pieces, malformed, with a body, for another path) goes to uvicorn's protocol. An upgrade that comes in pieces still
becomes a socket there.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, cast

from ws_edge.transport import handshake
from ws_edge.transport.deadlines import HEADER_S, DeadlineHttp
from ws_edge.transport.websocket import ViewerSocket

if TYPE_CHECKING:
    from uvicorn import Config
    from uvicorn.server import ServerState

_SOCKET: Final = b"GET /ws"


class AcceptProtocol(asyncio.Protocol):
    """A connection that has sent nothing yet. Stands under uvicorn's `http=`."""

    __slots__ = ("_app_state", "_config", "_server_state", "_transport")

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self._config = config
        self._server_state = server_state
        self._app_state = app_state
        self._transport: asyncio.Transport

    def __repr__(self) -> str:
        return "<AcceptProtocol>"

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Starts the deadline: a connection that sends nothing is treated as an incomplete request."""
        self._transport = cast(asyncio.Transport, transport)
        self._server_state.connections.add(self)  # type: ignore[arg-type]  # a union of uvicorn's own classes
        self._pending[self] = asyncio.get_running_loop().time() + HEADER_S

    def connection_lost(self, exc: Exception | None) -> None:
        """It left without sending anything."""
        self._leave()

    def data_received(self, data: bytes) -> None:
        """Hands the connection to the protocol that its first bytes ask for."""
        self._leave()
        plain = data if data.startswith(_SOCKET) else self._without_prefix(data)
        request = handshake.read(plain) if plain.startswith(_SOCKET) else None
        if request is not None:
            viewer = ViewerSocket(self._config, self._server_state, self._app_state)
            viewer.connection_made(self._transport)
            self._transport.set_protocol(viewer)
            viewer.upgrade(request, at_once=True)
            return
        http = DeadlineHttp(self._config, self._server_state, self._app_state)
        self._transport.set_protocol(http)
        http.connection_made(self._transport)
        http.data_received(data)

    def too_late(self) -> None:
        """The deadline has passed."""
        self._transport.abort()

    def shutdown(self) -> None:
        """uvicorn stops."""
        self._transport.close()

    def _without_prefix(self, data: bytes) -> bytes:
        """The request with the edge's own target, if it is a GET below the prefix of the public URL."""
        prefix: bytes = self._app_state["node"].config.prefix
        if not prefix or not data.startswith(b"GET " + prefix):
            return data
        return data[:4] + handshake.without_prefix(data[4:], prefix)

    def _leave(self) -> None:
        self._server_state.connections.discard(self)
        self._pending.pop(self, None)

    @property
    def _pending(self) -> dict[Any, float]:
        return self._app_state["node"].hub.pending  # type: ignore[no-any-return]
