"""What a new connection is handed to first. WebSocket upgrades are answered here; everything else is uvicorn's.

After a node fails, thousands of viewers reconnect per second, and what uvicorn's HTTP protocol prepares for a request
(parser, flow control, addresses, an ASGI scope) costs more than the handshake itself. A request that is whole, asks for
`/ws` and has the plain form that browsers send is read here, and its connection never becomes HTTP. Any other request
(in pieces, malformed, with a body, for another path) goes to `deadlines`. An upgrade that comes in pieces still becomes
a socket there.
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, cast

from ws_edge.transport import handshake, told
from ws_edge.transport.deadlines import HEADER_S, DeadlineHttp
from ws_edge.transport.entrance import address_of, check_names, check_upgrade, counted_address, open_socket
from ws_edge.transport.handshake import Refusal
from ws_edge.transport.services import Services

if TYPE_CHECKING:
    from uvicorn import Config
    from uvicorn.server import ServerState

_SOCKET: Final = b"GET /ws"


class AcceptProtocol(asyncio.Protocol):
    """A connection that has sent nothing yet. Stands under uvicorn's `http=`."""

    __slots__ = ("_app_state", "_config", "_node", "_server_state", "_transport")

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
        self._node: Services
        self._transport: asyncio.Transport

    def __repr__(self) -> str:
        return "<AcceptProtocol>"

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Counts the connection, and starts its deadline: one that sends nothing is an incomplete request."""
        self._transport = cast(asyncio.Transport, transport)
        self._node = self._app_state["node"]
        connections = self._server_state.connections
        refused = self._node.connections.enter(self, counted_address(self._node, self._transport), len(connections))
        connections.add(self)  # type: ignore[arg-type]  # a union of uvicorn's own classes
        if refused is not None:
            after = str(refused.retry_after_s)
            self._refuse(Refusal(HTTPStatus.SERVICE_UNAVAILABLE, refused.code, refused.message, retry_after=after))
            return
        self._node.hub.pending[self] = self._node.hub.time() + HEADER_S

    def connection_lost(self, exc: Exception | None) -> None:
        """It left without sending anything."""
        self._node.connections.leave(self)
        self._leave()

    def data_received(self, data: bytes) -> None:
        """Hands the connection to the protocol that its first bytes ask for."""
        if self._transport.is_closing():
            return
        plain = data if data.startswith(_SOCKET) else self._without_prefix(data)
        request = handshake.read(plain) if plain.startswith(_SOCKET) else None
        if request is None:
            self._become_http(data)
            return
        header = request.headers.get
        try:
            check_names(self._node, header("host"), header, self._transport)
            check_upgrade(self._node, request)
        except Refusal as refusal:
            self._node.hub.socket_figures.refused(refusal.code)
            self._refuse(refusal, told.id_of(self._node.config, header, address_of(self._transport, "peername")))
            return
        self._node.connections.leave(self)
        self._leave()
        open_socket(self._config, self._server_state, self._app_state, self._transport, request)

    def too_late(self) -> None:
        """The deadline has passed."""
        self._transport.abort()

    def make_room(self) -> None:
        """The node is full, and another connection has come."""
        told.dropped("it has rested longest, and the node is full", address=address_of(self._transport, "peername"))
        self._transport.abort()

    def shutdown(self) -> None:
        """uvicorn stops."""
        self._transport.close()

    def _become_http(self, data: bytes) -> None:
        self._leave()
        http = DeadlineHttp(self._config, self._server_state, self._app_state)
        self._node.connections.hand_over(self, http)
        self._transport.set_protocol(http)
        http.connection_made(self._transport)
        http.data_received(data)

    def _refuse(self, refusal: Refusal, request_id: str = "") -> None:
        request_id, peer = request_id or told.new_id(), address_of(self._transport, "peername")
        told.refused(refusal.status.value, refusal.code, refusal.message, request=request_id, address=peer)
        self._transport.write(refusal.encode(request_id))
        self._transport.close()

    def _without_prefix(self, data: bytes) -> bytes:
        """The request with the edge's own target, if it is a GET below the prefix of the public URL."""
        prefix = self._node.config.prefix
        if not prefix or not data.startswith(b"GET " + prefix):
            return data
        return data[:4] + handshake.without_prefix(data[4:], prefix)

    def _leave(self) -> None:
        self._server_state.connections.discard(self)
        self._node.hub.pending.pop(self, None)
