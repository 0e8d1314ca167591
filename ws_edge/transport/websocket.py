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

from broker.contract.errors import BadInput
from broker.log import about
from ws_edge.access import ANONYMOUS, Undecided
from ws_edge.encoding.websocket import close_frame, wire_size
from ws_edge.transport import handshake, told, verbs
from ws_edge.transport.client_socket import ENCODING, ClientSocket
from ws_edge.transport.handshake import Refusal
from ws_edge.transport.requests import parse_query
from ws_edge.transport.upgrade import Admitted, Entered, admit, admit_later, enter, peer_address

if TYPE_CHECKING:
    from uvicorn import Config
    from uvicorn.server import ServerState

MAX_MESSAGE_BYTES: Final = 16 * 1024
"""What a client says is short: a subscribe is about 150 bytes."""

UNSUPPORTED: Final = 1003
NOT_UTF8: Final = 1007
RESTARTING: Final = 1012

_log = logging.getLogger("testcast.edge")
_quiet_parser = logging.getLogger("testcast.frames")
_quiet_parser.addHandler(logging.NullHandler())
_quiet_parser.propagate = False  # a client's errors are answered to the client


class ViewerSocket(ClientSocket, asyncio.Protocol):
    """One connection. All calls from the loop."""

    __slots__ = (
        "__weakref__",
        "_early",
        "_is_counted",
        "_parser",
        "_paused",
        "_pieces",
        "_request",
        "_server_state",
        "_unfinished",
        "close_code",
        "idle_beats",
        "partial_since",
    )

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
        self._unfinished = 0
        """Bytes that came and belong to no whole frame yet."""
        self.partial_since = 0.0
        self.idle_beats = 0
        self.close_code = 0
        """The first one that either side has sent; 0 for none."""
        self._paused = False
        """Nothing is read from it, because it does not take its answers."""
        self._is_counted = False
        """Against the limits of `admission`, by its address."""
        self._early: bytearray | None = None
        """What the client sends before it is answered; None when it need not wait for that."""

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
        if self in self.node.hub.sockets:
            self.node.hub.sockets.discard(self)
            self.node.hub.socket_figures.closed(self.close_code)
        if self.principal is not ANONYMOUS:
            self.node.hub.proofs.release(self)
        self._uncount()

    def data_received(self, data: bytes) -> None:
        """The upgrade request first, as uvicorn's HTTP protocol hands it on; then frames."""
        if self._request is None:
            self.upgrade(handshake.parse(data), at_once=False)
        elif self._early is not None:
            self._early += data
            if len(self._early) > MAX_MESSAGE_BYTES:
                self.node.hub.socket_figures.dropped("early_flood")
                told.dropped("it has said too much before the answer to its upgrade", **self.ids())
                self.transport.abort()
        else:
            self.node.inbound.take(self, data, self._read)

    def eof_received(self) -> bool:
        """A half-closed connection is closed: the client could not answer a close frame either."""
        return False

    def resume_writing(self) -> None:
        """The transport has drained: sessions that are behind continue."""
        if self._paused and not self.transport.is_closing() and not self._has_much_to_decide():
            self._read_on()
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
        peername = self.transport.get_extra_info("peername")
        self.request_id = told.id_of(self.node.config, request.headers.get, peer_address(peername))
        try:
            entered = enter(self.node, request, peername, self.request_id)
            self.address, self._is_counted = entered.address, True
            admitted = admit(self.node, request, entered)
        except Refusal as refusal:
            self._turn_away(refusal)
        except Undecided:
            self._early = bytearray()
            self.node.hub.spawn(self._upgrade_later(request, entered))
        else:
            self._answer(admitted, at_once=at_once)

    async def _upgrade_later(self, request: handshake.Request, entered: Entered) -> None:
        """Answers the request when a look elsewhere has told who sends it. The client may be gone by then."""
        try:
            admitted = await admit_later(self.node, request, entered)
        except Refusal as refusal:
            self._early = None
            self._turn_away(refusal)
            return
        early, self._early = self._early, None
        if self.transport.is_closing() or self.closing_since:
            return
        self._answer(admitted, at_once=True)
        if early and not self.transport.is_closing():
            self._read(bytes(early))

    def _uncount(self) -> None:
        if self._is_counted:
            self._is_counted = False
            self.node.admission.leave(self.address)

    def _turn_away(self, refusal: Refusal) -> None:
        self.node.hub.socket_figures.refused(refusal.code)
        self._request = _NO_REQUEST
        self.closing_since = self.closing_since or 1.0
        self._uncount()
        peer = self.address or peer_address(self.transport.get_extra_info("peername"))
        of = {"request": self.request_id, "address": peer}
        told.refused(refusal.status.value, refusal.code, refusal.message, what="socket", **of)
        if not self.transport.is_closing():
            self.transport.write(refusal.encode(self.request_id))
            self.transport.close()

    def _answer(self, admitted: Admitted, *, at_once: bool) -> None:
        self.principal, self.origin = admitted.principal, admitted.origin
        self.node.hub.socket_figures.accepted += 1
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
        if _log.isEnabledFor(logging.DEBUG):
            _log.debug("a socket has opened", extra=about(subject=self.principal.subject, **self.ids()))
        if self.principal is not ANONYMOUS:
            self.hold_proof()
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
        said = goodbye or parser.close_sent
        if said is not None and not self.close_code:
            self.close_code = int(said.code)
        if goodbye is not None and parser.parser_exc is not None:
            # A close in the middle of a fragmented message is an error for the parser, but not for RFC 6455 (5.4).
            unsaid = goodbye.code == CloseCode.NO_STATUS_RCVD
            self.close(CloseCode.NORMAL_CLOSURE if unsaid else goodbye.code, goodbye.reason)
        for out in replies:
            if out:
                self._reply(out)
            else:
                if parser.parser_exc is not None and not self.closing_since and parser.close_sent is not None:
                    told.closed(parser.close_sent.code, parser.close_sent.reason, **self.ids())
                self._end()
                return
        if parser.close_expected() and not self.closing_since:
            self._leave()
            self.closing_since = asyncio.get_running_loop().time()
        self._track_partial_frame()
        if self.closing_since or self._paused:
            return
        if self.waiting() > self.node.config.high_water_bytes or self._has_much_to_decide():
            # Answers (pongs, errors) pile up that it does not read, or what it says waits for a decision.
            self._paused, self.partial_since = True, 0.0
            self.transport.pause_reading()

    def _has_much_to_decide(self) -> bool:
        return self.backlog is not None and len(self.backlog) >= verbs.MAX_WAITING

    def backlog_ended(self) -> None:
        """What it has said was decided."""
        if not self._paused or self.transport.is_closing():
            return
        if self.waiting() <= self.node.config.high_water_bytes:
            self._read_on()

    def _read_on(self) -> None:
        self._paused = False
        self._track_partial_frame()
        if not self.node.inbound.holds(self):
            self.transport.resume_reading()

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
        """It does not take its answers, or what it has said waits: nothing more is read."""
        return self._paused

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

    # -- closing -------------------------------------------------------------------------------------------------

    def goodbye(self, retry_after_ms: int, reason: str) -> None:
        """Sends the viewer to another node: when to come back, then close code 1012."""
        if not self.closing_since:
            self.write(ENCODING.control("goodbye", retryAfterMs=retry_after_ms, reason=reason))
            self.close(RESTARTING, reason)

    def close(self, code: int, reason: str) -> None:
        """Starts the closing handshake; the hub aborts a connection that does not answer."""
        if self.closing_since:
            return
        told.closed(code, reason, **self.ids())
        self._leave()
        self.closing_since = asyncio.get_running_loop().time()
        self.close_code = self.close_code or code
        if self._early is not None:  # no answer has gone out, and no frame may come before it
            self.transport.abort()
            return
        self.write(close_frame(code, reason))

    def abort(self) -> None:
        """Ends the connection at once."""
        if not self.closing_since:
            told.dropped("it goes on although it is told to stop", **self.ids())
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
        self.node.pictures.channel.leave(self)


_NO_REQUEST: Final = handshake.Request("GET", "/ws", [], {})
