"""uvicorn's HTTP protocol with deadlines: a request that has begun must be there soon.

uvicorn waits for ever for the rest of a header or a body, so a few hundred half requests can hold all its files open.
Connections carry no timer: the hub asks once a second who is late.
"""

from __future__ import annotations

from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEADER_S: Final = 5.0
BODY_S: Final = 10.0


class DeadlineHttp(HttpToolsProtocol):
    """One HTTP connection."""

    def connection_made(self, transport: Any) -> None:
        """A connection that says nothing is as good as half a request."""
        super().connection_made(transport)
        self._owe(HEADER_S)

    def data_received(self, data: bytes) -> None:
        """The next request on a connection kept alive starts the clock again."""
        if self not in self._owing and (self.cycle is None or self.cycle.response_complete):
            self._owe(HEADER_S)
        super().data_received(data)

    def on_headers_complete(self) -> None:
        """The header is here; what is left is the body."""
        super().on_headers_complete()
        self._owe(BODY_S)

    def on_message_complete(self) -> None:
        """The whole request is here."""
        self._owing.pop(self, None)
        super().on_message_complete()

    def handle_websocket_upgrade(self) -> None:
        """The connection is a socket's from now on."""
        self._owing.pop(self, None)
        super().handle_websocket_upgrade()

    def connection_lost(self, exc: Exception | None) -> None:
        """Owes nothing any more."""
        self._owing.pop(self, None)
        super().connection_lost(exc)

    def too_late(self) -> None:
        """The deadline has passed: nothing that half a request could be answered with would be read."""
        self.transport.abort()

    @property
    def _owing(self) -> dict[Any, float]:
        return self.app_state["node"].hub.owing  # type: ignore[no-any-return]

    def _owe(self, seconds: float) -> None:
        self._owing[self] = self.loop.time() + seconds
