"""A viewer's WebSocket: frames in and out. It is an asyncio protocol of its own, not an ASGI application.

`accept` makes it for an upgrade request that comes whole, uvicorn (under `ws=`) for one that comes in pieces: then
uvicorn's HTTP protocol hands its bytes to `data_received` and makes this the transport's protocol. The reasons for a
protocol of our own (figures in BENCHMARKS.md):

* an ASGI socket costs a task, two queues and about 25 KB; ten thousand idle viewers must not;
* frames are built once per event by the topic and written here as they are;
* a frame parser (from the `websockets` package) exists only while the client is saying something, since most clients
  speak once;
* there is no timer, task or queue per socket: the hub sweeps all of them periodically.

Where uvicorn hands the upgrade on, only the 101 is written at once: the transport's protocol is set after that call,
and a write before it never reports `pause_writing`.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Final, cast

from websockets.frames import CloseCode, Frame, Opcode
from websockets.protocol import OPEN, SERVER
from websockets.protocol import Protocol as FrameParser

from broker.clock import now_ms
from broker.contract.errors import BadInput
from ws_edge.access import ANONYMOUS
from ws_edge.encoding import ENCODINGS, Encoding
from ws_edge.encoding.websocket import close_frame, wire_size
from ws_edge.fanout.session import Session
from ws_edge.transport import handshake, verbs
from ws_edge.transport.handshake import Refusal
from ws_edge.transport.requests import parse_query
from ws_edge.transport.services import Services
from ws_edge.transport.socket_writer import SocketWriter
from ws_edge.transport.upgrade import admit

if TYPE_CHECKING:
    from uvicorn import Config
    from uvicorn.server import ServerState

MAX_MESSAGE_BYTES: Final = 16 * 1024
"""What a client says is short: a subscribe is about 150 bytes."""

UNSUPPORTED: Final = 1003
NOT_UTF8: Final = 1007
RESTARTING: Final = 1012
MALFORMED: Final = 4400

_ENCODING: Final = ENCODINGS["websocket"]
_quiet_parser = logging.getLogger("testcast.frames")
_quiet_parser.addHandler(logging.NullHandler())
_quiet_parser.propagate = False  # a client's errors are answered to the client


class ViewerSocket(SocketWriter, asyncio.Protocol):
    """One connection. All calls from the loop."""

    __slots__ = (
        "__weakref__",
        "_address",
        "_parser",
        "_paused",
        "_pieces",
        "_request",
        "_server_state",
        "_unfinished",
        "closing_since",
        "idle_beats",
        "named_in_url",
        "node",
        "partial_since",
        "principal",
    )

    node: Services

    @property
    def encoding(self) -> Encoding:
        """WebSocket frames."""
        return _ENCODING

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__()
        self._server_state = server_state
        self.node = app_state["node"]
        self._request: handshake.Request | None = None
        self._parser: FrameParser | None = None
        self._pieces: list[bytes] | None = None
        self.named_in_url = 0
        self._unfinished = 0
        """Bytes that came and belong to no whole frame yet."""
        self.closing_since = 0.0
        self.partial_since = 0.0
        self.idle_beats = 0
        self._paused = False
        """Nothing is read from it, because it does not take its answers."""
        self.principal = ANONYMOUS
        self._address: str | None = None
        """Where the viewer comes from; None until it was let in."""

    def __repr__(self) -> str:
        return f"<ViewerSocket sessions={len(self.sessions)} {'closing' if self.closing_since else 'open'}>"

    # -- asyncio and uvicorn -------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by uvicorn's HTTP protocol with the transport it had."""
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but its bases
        self._server_state.connections.add(self)  # type: ignore[arg-type]  # a union of uvicorn's own classes

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is closed, by either side."""
        self.close_direct()
        self.node.inbound.forget(self)
        self.closing_since = self.closing_since or asyncio.get_running_loop().time()
        self._server_state.connections.discard(self)
        self._leave()
        self.node.hub.sockets.discard(self)
        if self._address is not None:
            self.node.admission.leave(self._address)
            self._address = None

    def data_received(self, data: bytes) -> None:
        """The upgrade request first, as uvicorn's HTTP protocol hands it on; then frames."""
        if self._request is None:
            self.upgrade(handshake.parse(data), at_once=False)
        else:
            self.node.inbound.take(self, data, self._read)

    def eof_received(self) -> bool:
        """A half-closed connection is closed: the client could not answer a close frame either."""
        return False

    def resume_writing(self) -> None:
        """The transport has drained: sessions that are behind continue."""
        if self._paused and not self.transport.is_closing():
            self._paused = False
            self._track_partial_frame()
            self.transport.resume_reading()
        for session in tuple(self.sessions.values()):
            session.topic.pump(session)

    def shutdown(self) -> None:
        """uvicorn stops, after the drain: a socket that is still open is closed."""
        self.close(RESTARTING, "restarting")

    # -- opening -------------------------------------------------------------------------------------------------

    def upgrade(self, request: handshake.Request, *, at_once: bool) -> None:
        """Answers the request.

        Args:
            at_once: what the viewer asked for goes out with the answer, in one write. Otherwise it begins in the loop's
                next turn, since the transport does not call this protocol yet.
        """
        self._request = request
        try:
            admitted = admit(self.node, request, self.transport.get_extra_info("peername"))
        except Refusal as refusal:
            self._request = _NO_REQUEST
            self.closing_since = 1.0
            self.transport.write(refusal.encode())
            self.transport.close()
            return
        self._address, self.principal = admitted.address, admitted.principal
        if at_once:
            self.unsent = admitted.answer
            self._opened()
            if self.unsent:
                self.write(b"")
        else:
            self.transport.write(admitted.answer)
            asyncio.get_running_loop().call_soon(self._opened)

    def _opened(self) -> None:
        if self.transport.is_closing() or self.closing_since:
            return
        request = self._request
        assert request is not None
        self._request = _NO_REQUEST  # its headers are of no more use
        half = self.node.config.high_water_bytes // 2
        self.transport.set_write_buffer_limits(high=half, low=half // 4)
        self.open_direct()
        self.node.hub.sockets.add(self)
        try:
            opening = parse_query(request.query)
            self.named_in_url = len(opening.test_ids)
        except BadInput as error:
            self.refuse(error)
            return
        verbs.open_with(self, opening)

    # -- frames in -----------------------------------------------------------------------------------------------

    def _read(self, data: bytes) -> None:
        if self.closing_since and self._parser is None and len(data) > MAX_MESSAGE_BYTES:
            return
        parser = self._parser
        if parser is None:
            parser = self._parser = FrameParser(SERVER, state=OPEN, max_size=MAX_MESSAGE_BYTES, logger=_quiet_parser)
        parser.receive_data(data)
        self._unfinished += len(data)
        replies = iter(parser.data_to_send())  # a pong for each ping, then a close frame, then the end
        for event in parser.events_received():
            assert isinstance(event, Frame)
            self._unfinished -= wire_size(len(event.data))
            if event.opcode is Opcode.PING:
                self._reply(next(replies))
            self._on_frame(event)
            if self._parser is None:
                return
        goodbye = parser.close_rcvd
        if goodbye is not None and parser.parser_exc is not None:
            # A close in the middle of a fragmented message is an error for the parser, but not for RFC 6455 (5.4).
            unsaid = goodbye.code == CloseCode.NO_STATUS_RCVD
            self.close(CloseCode.NORMAL_CLOSURE if unsaid else goodbye.code, goodbye.reason)
        for out in replies:
            if out:
                self._reply(out)
            else:
                self._end()
                return
        if parser.close_expected() and not self.closing_since:
            self._leave()
            self.closing_since = asyncio.get_running_loop().time()
        self._track_partial_frame()
        if not self._paused and self.waiting() > self.node.config.high_water_bytes and not self.closing_since:
            # Answers (pongs, errors) pile up for a client that does not read them.
            self._paused, self.partial_since = True, 0.0
            self.transport.pause_reading()

    def _reply(self, frame: bytes) -> None:
        if not self.closing_since:  # nothing may follow our close frame
            self.write(frame)

    def _track_partial_frame(self) -> None:
        """Starts the deadline of a frame or message that has begun; between messages it drops the parser."""
        if self._pieces is None and not self._unfinished:
            self.partial_since = 0.0
            if not self.closing_since:
                self._parser = None
        elif not self.partial_since:
            self.partial_since = asyncio.get_running_loop().time()

    @property
    def is_held_back(self) -> bool:
        """It does not take its answers, so that nothing of what it says is read."""
        return self._paused

    @property
    def address(self) -> str:
        """What it counts as against the limits."""
        return self._address or ""

    def _on_frame(self, frame: Frame) -> None:
        if frame.opcode is not Opcode.CLOSE and not self.node.quotas.may_talk(self):
            return
        if frame.opcode is Opcode.CLOSE:
            self._leave()
            if self.closing_since:  # the reply to our close frame
                self._end()
            return
        if self.closing_since or frame.opcode in (Opcode.PING, Opcode.PONG):
            return
        if frame.opcode is Opcode.BINARY:
            self.send_error("malformed_message", "messages are JSON in text frames, this one is binary")
            self.close(UNSUPPORTED, "binary message")
            return
        data = bytes(frame.data)
        if frame.opcode is Opcode.CONT:
            pieces = self._pieces or []
            pieces.append(data)
            self._pieces = pieces
            if not frame.fin:
                return
            data, self._pieces = b"".join(pieces), None
        elif not frame.fin:
            self._pieces = [data]
            return
        self._on_message(data)

    def _on_message(self, data: bytes) -> None:
        try:
            data.decode()
        except UnicodeDecodeError:
            self.close(NOT_UTF8, "not UTF-8")
            return
        verbs.on_message(self, data)

    def session_missing(self, session: Session) -> None:
        """The test does not exist: 4404 for a socket that was opened for it alone, otherwise an `error`."""
        self.sessions.pop(session.topic.test_id, None)
        verbs.missing(self, session.topic.test_id)

    # -- closing -------------------------------------------------------------------------------------------------

    def goodbye(self, retry_after_ms: int, reason: str) -> None:
        """Sends the viewer to another node: when to come back, then close code 1012."""
        if not self.closing_since:
            self.write(_ENCODING.control("goodbye", retryAfterMs=retry_after_ms, reason=reason))
            self.close(RESTARTING, reason)

    def close(self, code: int, reason: str) -> None:
        """Starts the closing handshake; the hub aborts a connection that does not answer."""
        if self.closing_since:
            return
        self._leave()
        self.closing_since = asyncio.get_running_loop().time()
        self.write(close_frame(code, reason))

    def abort(self) -> None:
        """Ends the connection at once."""
        self.transport.abort()

    def _end(self) -> None:
        self._leave()
        self.closing_since = self.closing_since or asyncio.get_running_loop().time()
        self.transport.close()

    def _leave(self) -> None:
        """Gives up every interest."""
        sessions, self.sessions = self.sessions, {}
        for session in sessions.values():
            session.close()
        self.node.tests.remove(self)

    def refuse(self, error: BadInput) -> None:
        """Says what is wrong and closes: trying the same again would not help."""
        self.send_error(error.code, error.message)
        self.close(MALFORMED, error.message)

    def send_error(self, code: str, message: str, test_id: str | None = None) -> None:
        """Tells the client what is wrong; the socket stays open."""
        if not self.transport.is_closing():
            fields = {"message": message, "timestamp": now_ms(), "data": {"code": code}}
            self.write(_ENCODING.control("error", testId=test_id, **fields))


_NO_REQUEST: Final = handshake.Request("GET", "/ws", [], {})
