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
    """One HTTP connection. Behind the door (`door.py`): the first bytes have come already.

    A request that comes whole, as nearly all do, costs nothing here.
    """

    _begun = 0
    """Requests whose first byte has come."""
    _owed = 0.0
    """How long what is missing of the newest may take, seconds; 0 when it is whole."""

    def data_received(self, data: bytes) -> None:
        """Starts the clock for what is missing, or stops it."""
        before = (self._begun, self._owed)
        super().data_received(data)
        if (self._begun, self._owed) == before:
            return
        if self._owed:
            self._owing[self] = self.loop.time() + self._owed
        elif before[1]:
            self._owing.pop(self, None)

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        self._begun += 1
        self._owed = HEADER_S
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """The header is here; what is left is the body."""
        self._owed = BODY_S
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """The whole request is here."""
        self._owed = 0.0
        super().on_message_complete()

    def handle_websocket_upgrade(self) -> None:
        """The connection is a socket's from now on."""
        self._owed = 0.0
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
