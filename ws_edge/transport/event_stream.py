"""A viewer's stream of server-sent events. Like a socket it is an asyncio protocol of its own on the raw transport.

`deadlines` makes it of a request that asks for a stream, once the head is judged. The head of the answer waits for the
first message, so that a run that does not exist is a 404, and leaves with it in one write. The answer has no length: it
ends with the connection. Frames go the way that a socket's go (`SocketWriter`), and a client that reads slowly costs a
cursor.

A client says nothing after its request. What it sends all the same is dropped, and too much of it ends the connection.
"""

from __future__ import annotations

import asyncio
import logging
import random
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, cast

from broker.clock import now_ms
from broker.contract.errors import TestcastError
from broker.log import about
from ws_edge.access import ANONYMOUS, Action, Principal, Undecided
from ws_edge.encoding import ENCODINGS, Encoding
from ws_edge.encoding.event_stream import MEDIA_TYPE
from ws_edge.fanout.proofs import NOT_AUTHENTICATED
from ws_edge.fanout.session import Session
from ws_edge.response_headers import LINES
from ws_edge.transport import handshake, told, verbs
from ws_edge.transport.client import NO_SUCH_TEST, NOT_ALLOWED
from ws_edge.transport.client_socket import MALFORMED, ClientSocket
from ws_edge.transport.handshake import Refusal
from ws_edge.transport.renewal import TRY_AGAIN
from ws_edge.transport.requests import ClientRequest
from ws_edge.transport.stream_request import StreamRequest
from ws_edge.transport.upgrade import Entered, enter, identify, identify_later, peer_address

if TYPE_CHECKING:
    from uvicorn import Config
    from uvicorn.server import ServerState

ENDED: Final = "ended"
_MAX_SAID_BYTES: Final = 64 * 1024
_NORMAL: Final = 1000
_RESTARTING: Final = 1012
_COME_BACK_MS: Final = (1_000, 5_000)
"""When a viewer of a run that has ended is told to come back: `EventSource` does, is told that nothing follows, and
stops. Drawn for each, so that they do not arrive together."""
_STATUS: Final = {
    MALFORMED: (HTTPStatus.BAD_REQUEST, "invalid_params"),
    NOT_AUTHENTICATED: (HTTPStatus.UNAUTHORIZED, "unauthenticated"),
    NOT_ALLOWED: (HTTPStatus.FORBIDDEN, "forbidden"),
    NO_SUCH_TEST: (HTTPStatus.NOT_FOUND, "not_found"),
}
"""What a socket's close code is as the answer to a request."""
_CODES: Final = {code: status for status, code in _STATUS.values()} | {
    "broker_unavailable": HTTPStatus.SERVICE_UNAVAILABLE,
    "too_many_subscriptions": HTTPStatus.BAD_REQUEST,
}
_AWAY: Final = (HTTPStatus.SERVICE_UNAVAILABLE, "restarting")
_log = logging.getLogger("testcast.edge")


class EventStream(ClientSocket, asyncio.Protocol):
    """One stream. All calls from the loop."""

    __slots__ = (
        "__weakref__",
        "_encoding",
        "_is_counted",
        "_said",
        "_server_state",
        "asked",
        "close_code",
        "idle_beats",
        "partial_since",
    )

    def __init__(
        self, _config: Config, server_state: ServerState, app_state: dict[str, Any], asked: StreamRequest
    ) -> None:
        super().__init__()
        self._server_state = server_state
        self.node = app_state["node"]
        self.asked = asked
        self._encoding = ENCODINGS[asked.encoding]
        self.named_in_url = len(asked.watched) + asked.tests
        self.partial_since = 0.0
        """See `hub.Socket`: a client sends no frames."""
        self.idle_beats = 0
        self.close_code = 0
        """What a socket's close frame would have said; 0: the client has left."""
        self._is_counted = False
        self._said = 0
        """Bytes that the client has sent after its request."""

    def __repr__(self) -> str:
        return f"<EventStream sessions={len(self.sessions)} {'closing' if self.closing_since else 'open'}>"

    @property
    def encoding(self) -> Encoding:
        """Server-sent events."""
        return self._encoding

    # -- asyncio and uvicorn -------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called with the transport that HTTP had."""
        self.transport = cast(asyncio.Transport, transport)
        self._server_state.connections.add(self)  # type: ignore[arg-type]  # a union of uvicorn's own classes

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is closed, by either side."""
        self.close_direct()
        self.closing_since = self.closing_since or asyncio.get_running_loop().time()
        self._server_state.connections.discard(self)
        self._leave()
        if self in self.node.hub.sockets:
            self.node.hub.sockets.discard(self)
            self.node.hub.socket_figures.closed(self.close_code)
        if self.principal is not ANONYMOUS:
            self.node.hub.proofs.release(self)
        self._uncount()

    def data_received(self, data: bytes) -> None:
        """A client has nothing more to say: its answer ends with the connection."""
        self._said += len(data)
        if self._said > _MAX_SAID_BYTES and not self.transport.is_closing():
            self.node.hub.socket_figures.dropped("early_flood")
            told.dropped("it goes on talking on a stream", **self.ids())
            self.transport.abort()

    def eof_received(self) -> bool:
        """A half-closed connection is closed, as for any request."""
        return False

    def resume_writing(self) -> None:
        """The transport has drained: sessions that are behind continue."""
        for session in tuple(self.sessions.values()):
            session.topic.pump(session)

    def shutdown(self) -> None:
        """uvicorn stops, after the drain: a stream that is still open is closed."""
        self.close(_RESTARTING, "restarting")

    # -- opening -------------------------------------------------------------------------------------------------

    def begin(self, request: handshake.Request) -> None:
        """Answers the request, now or when a look elsewhere has told who sends it."""
        peername = self.transport.get_extra_info("peername")
        self.request_id = told.id_of(self.node.config, request.headers.get, peer_address(peername))
        self.origin = request.headers.get("origin")
        try:
            entered = enter(self.node, request, peername, self.request_id)
            self.address, self._is_counted = entered.address, True
            principal = identify(self.node, request, entered)
        except Refusal as refusal:
            self._turn_away(refusal)
        except Undecided:
            self.node.hub.spawn(self._begin_later(request, entered))
        else:
            self._open(request, principal)

    async def _begin_later(self, request: handshake.Request, entered: Entered) -> None:
        try:
            principal = await identify_later(self.node, request, entered)
        except Refusal as refusal:
            self._turn_away(refusal)
            return
        if not self.transport.is_closing() and not self.closing_since:
            self._open(request, principal)

    def _open(self, request: handshake.Request, principal: Principal) -> None:
        self.principal = principal
        half = self.node.config.high_water_bytes // 2
        self.transport.set_write_buffer_limits(high=half, low=half // 4)
        if self._is_at_the_end():
            self._end_at_once(_head(HTTPStatus.NO_CONTENT, self.request_id, self._allowed_origin))
            return
        self.unsent = _head(HTTPStatus.OK, self.request_id, self._allowed_origin)
        self.open_direct()
        self.node.hub.sockets.add(self)
        self.node.hub.socket_figures.accepted += 1
        if _log.isEnabledFor(logging.DEBUG):
            _log.debug("a stream has opened", extra=about(subject=self.principal.subject, **self.ids()))
        if self.principal is not ANONYMOUS:
            self.hold_proof()
        if self.asked.alone is not None:
            self.node.hub.leaves_at_end(self, self.asked.alone[0])
        for test_id, position in self.asked.watched:
            verbs.take(self, ClientRequest("subscribe", test_id, position, in_url=self.asked.alone is not None))
        if self.asked.tests:
            verbs.take(self, ClientRequest("subscribe tests", None, None, in_url=self.named_in_url == 1))

    @property
    def _allowed_origin(self) -> str | None:
        """The page's, where the operator allows it to read answers."""
        return self.origin if self.origin in self.node.config.allowed_origins else None

    def _is_at_the_end(self) -> bool:
        """The client has the last event of a run that has ended, as far as this node knows without asking."""
        if self.asked.alone is None or (asked := self.asked.alone[1]) is None or not asked.seq:
            return False
        test_id, hub = self.asked.alone[0], self.node.hub
        snapshot = hub.snapshot(test_id)
        if snapshot is None or not snapshot.ended or snapshot.seq != asked.seq or asked.epoch not in (None, hub.epoch):
            return False
        try:
            self.node.access.authorize(self.principal, Action.WATCH, test_id)
        except (TestcastError, Undecided):
            return False
        return True

    def _end_at_once(self, answer: bytes) -> None:
        self.closing_since = asyncio.get_running_loop().time()
        self._uncount()
        self.transport.write(answer)
        self.transport.close()

    def _uncount(self) -> None:
        if self._is_counted:
            self._is_counted = False
            self.node.admission.leave(self.address)

    def _turn_away(self, refusal: Refusal) -> None:
        """Answers with an error in place of the stream."""
        self.node.hub.socket_figures.refused(refusal.code)
        self.unsent = b""
        self._leave()
        peer = self.address or peer_address(self.transport.get_extra_info("peername"))
        of = {"request": self.request_id, "address": peer}
        told.refused(refusal.status.value, refusal.code, refusal.message, what="stream", **of)
        if (allowed := self._allowed_origin) is not None:
            refusal.headers |= {"access_control_allow_origin": allowed, "vary": "origin"}
        if not self.transport.is_closing():
            self._end_at_once(refusal.encode(self.request_id))

    # -- what it is told -----------------------------------------------------------------------------------------

    def send_error(self, code: str, message: str, test_id: str | None = None) -> None:
        """Tells the client what is wrong: with a status, where the stream is for this alone and has not begun."""
        if self.unsent and self.named_in_url == 1 and not self.closing_since:
            status = _CODES.get(code, HTTPStatus.BAD_REQUEST)
            headers = {"retry_after": "2"} if status is HTTPStatus.SERVICE_UNAVAILABLE else {}
            self._turn_away(Refusal(status, code, message, **headers))
        else:
            super().send_error(code, message, test_id)

    def session_missing(self, session: Session) -> None:
        """The test does not exist, or was deleted. A stream for which nothing is left ends."""
        super().session_missing(session)
        if not self.sessions and self.backlog is None and not self.asked.tests:
            self.close(NO_SUCH_TEST, "there is no such test any more")

    def proof_ended(self, code: str, grace_ms: int) -> None:
        """Its proof has ended. A stream cannot be given another one: the client opens another stream."""
        if not self.closing_since and not self.transport.is_closing():
            message = "the proof of who this is has ended: open another stream with a new one, from your position"
            self.send_control("error", message=message, timestamp=now_ms(), data={"code": code})
            self.close(NOT_AUTHENTICATED, message)

    def backlog_ended(self) -> None:
        """See `Client`: nothing is read from it in any case."""

    def run_ended(self, test_id: str) -> None:
        """The run has ended, and whoever is live has its last event: there is nothing more to come."""
        session = self.sessions.get(test_id)
        if session is not None and session.live is not None and not self.closing_since:
            retry_after_ms = random.randrange(*_COME_BACK_MS)
            self.write(self._encoding.control("goodbye", retryAfterMs=retry_after_ms, reason=ENDED))
            self.close(_NORMAL, ENDED)

    # -- closing -------------------------------------------------------------------------------------------------

    def goodbye(self, retry_after_ms: int, reason: str) -> None:
        """Sends the viewer to another node: when to come back, then the end."""
        if not self.closing_since:
            if not self.unsent:
                self.write(self._encoding.control("goodbye", retryAfterMs=retry_after_ms, reason=reason))
            self.close(_RESTARTING, reason)

    def close(self, code: int, reason: str) -> None:
        """Ends the stream behind what it was sent; before its first message, with a status.

        Args:
            code: what a socket would be closed with.
        """
        if self.closing_since:
            return
        self.close_code = self.close_code or code
        if self.unsent:
            status, name = _STATUS.get(code, _AWAY)
            headers = {"retry_after": "1"} if status is HTTPStatus.SERVICE_UNAVAILABLE else {}
            self._turn_away(Refusal(status, "broker_unavailable" if code == TRY_AGAIN else name, reason, **headers))
            return
        told.closed(code, reason, **self.ids())
        self._leave()
        self.closing_since = asyncio.get_running_loop().time()
        self.transport.close()

    def abort(self) -> None:
        """Ends the connection at once: its client does not take the rest."""
        self.transport.abort()

    def _leave(self) -> None:
        """Gives up every interest."""
        sessions, self.sessions = self.sessions, {}
        for session in sessions.values():
            session.close()
        self.node.tests.remove(self)
        if self.asked.alone is not None:
            self.node.hub.stays(self, self.asked.alone[0])


def _head(status: HTTPStatus, request_id: str, allowed_origin: str | None) -> bytes:
    """The head of the answer. A proxy is told to pass each message on as it comes."""
    lines = [
        f"HTTP/1.1 {status.value} {status.phrase}",
        *([f"content-type: {MEDIA_TYPE}"] if status is HTTPStatus.OK else []),
        "cache-control: no-store",
        "x-accel-buffering: no",
        "connection: close",
        "vary: accept, origin",
        *LINES,
        f"x-request-id: {request_id}",
        *([] if allowed_origin is None else [f"access-control-allow-origin: {allowed_origin}"]),
    ]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"
