"""uvicorn's HTTP protocol with deadlines for a request that has begun.

uvicorn waits for ever for the rest of a header or a body, so a few hundred half requests can hold all its files open.
Connections carry no timer: the hub asks four times a second which are late.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from ws_edge.transport.handshake import Refusal, without_prefix

HEADER_S: Final = 5.0
BODY_S: Final = 10.0


class DeadlineHttp(HttpToolsProtocol):
    """One HTTP connection whose first bytes have come already (`accept`).

    A request that comes whole, as nearly all do, costs nothing here.
    """

    _begun = 0
    """Requests whose first byte has come."""
    _allowed_s = 0.0
    """How long the missing part of the newest request may take, seconds; 0 when it is whole."""

    def data_received(self, data: bytes) -> None:
        """Starts the deadline for what is missing, or ends it."""
        before = (self._begun, self._allowed_s)
        super().data_received(data)
        if (self._begun, self._allowed_s) == before:
            return
        if self._allowed_s:
            self._pending[self] = self.loop.time() + self._allowed_s
        elif before[1]:
            self._pending.pop(self, None)

    def on_message_begin(self) -> None:
        """The first byte of a request has come."""
        self._begun += 1
        self._allowed_s = HEADER_S
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """The header is here; what is left is the body. From here on the target is one of the edge's own addresses."""
        self._allowed_s = BODY_S
        prefix: bytes = self.app_state["node"].config.prefix
        if prefix:
            self.url = without_prefix(self.url, prefix)
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """The whole request is here."""
        self._allowed_s = 0.0
        super().on_message_complete()

    def handle_websocket_upgrade(self) -> None:
        """The connection becomes a socket."""
        self._allowed_s = 0.0
        super().handle_websocket_upgrade()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is pending any more."""
        self._pending.pop(self, None)
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """The bytes are no HTTP request. uvicorn's answer would lack the headers that every answer has."""
        refusal = Refusal(HTTPStatus.BAD_REQUEST, "malformed_request", msg)
        self.transport.write(refusal.encode())
        self.transport.close()

    def too_late(self) -> None:
        """The deadline has passed. The client would not read a response to an incomplete request."""
        self.transport.abort()

    @property
    def _pending(self) -> dict[Any, float]:
        return self.app_state["node"].hub.pending  # type: ignore[no-any-return]
