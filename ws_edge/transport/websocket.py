"""A viewer's WebSocket: frames in and out. The one file that knows uvicorn's protocol.

It stands behind the door (`door.py`), and under uvicorn's `ws=` for an upgrade that came in pieces: then uvicorn's HTTP
protocol hands its bytes to `data_received` and makes this the transport's protocol. Why our own, and why like this
(figures: BENCHMARKS.md):

* an ASGI socket costs a task, two queues and about 25 KB; ten thousand idle viewers should not;
* frames are built once per event by the topic and written here as they are: there is no per-viewer encoding;
* a frame parser (the `websockets` package's, which knows RFC 6455 better than we ever should) is made when the client
  speaks and dropped when it has said something whole, since most clients speak once;
* no timer, no task, no queue of its own: the hub goes through the sockets in cohorts.

Where uvicorn hands the upgrade on, only the 101 is written at once: the transport's protocol is set after it, and a
write before that never reports `pause_writing`.
"""

from __future__ import annotations

import asyncio
import logging
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, cast

import orjson
from websockets.frames import CloseCode, Frame, Opcode
from websockets.protocol import OPEN, SERVER
from websockets.protocol import Protocol as FrameParser

from broker.contract import ids
from broker.contract.errors import BadInput, TestcastError
from broker.contract.position import Position
from broker.log import RateLimited
from ws_edge.encoding import Encoding
from ws_edge.encoding import websocket as frames
from ws_edge.fanout.session import Session
from ws_edge.transport import handshake
from ws_edge.transport.admission import client_address
from ws_edge.transport.handshake import Refusal
from ws_edge.transport.socket_writer import SocketWriter

if TYPE_CHECKING:
    from uvicorn import Config
    from uvicorn.server import ServerState

    from ws_edge.node import Node

MAX_MESSAGE_BYTES: Final = 16 * 1024
"""What a client says is short: a subscribe is about 150 bytes."""
_MAX_SEQ: Final = 2**53

UNSUPPORTED = 1003
RESTARTING = 1012
MALFORMED = 4400
NO_SUCH_TEST = 4404

_log = logging.getLogger("testcast.socket")
_limited = RateLimited(_log, per_s=10.0)
_quiet_parser = logging.getLogger("testcast.frames")
_quiet_parser.addHandler(logging.NullHandler())
_quiet_parser.propagate = False  # what a client does wrong is answered to the client


class ViewerSocket(SocketWriter, asyncio.Protocol):
    """One connection. All calls from the loop."""

    __slots__ = (
        "__weakref__",
        "_address",
        "_deaf",
        "_named_in_url",
        "_node",
        "_parser",
        "_pieces",
        "_request",
        "_server_state",
        "_unfinished",
        "closing_since",
        "idle_beats",
        "partial_since",
    )

    _node: Node
    encoding: Encoding = frames.WEBSOCKET

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__()
        self._server_state = server_state
        self._node = app_state["node"]
        self._request: handshake.Request | None = None
        self._parser: FrameParser | None = None
        self._pieces: list[bytes] | None = None
        self._named_in_url = 0
        self._unfinished = 0
        """Bytes that came and belong to no whole frame yet."""
        self.closing_since = 0.0
        self.partial_since = 0.0
        self.idle_beats = 0
        self._deaf = False
        """It is not read from: it says more than it takes in."""
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
        """The viewer is gone, whoever ended it."""
        self.go_straight(-1)
        self.descriptor = -1
        self.closing_since = self.closing_since or asyncio.get_running_loop().time()
        self._server_state.connections.discard(self)
        self._leave()
        self._node.hub.sockets.discard(self)
        if self._address is not None:
            self._node.admission.leave(self._address)
            self._address = None

    def data_received(self, data: bytes) -> None:
        """The upgrade request first, as uvicorn's HTTP protocol hands it on; then frames."""
        if self._request is None:
            self.upgrade(handshake.parse(data), at_once=False)
        else:
            self._read(data)

    def eof_received(self) -> bool:
        """Half-closed is closed: a viewer that will say nothing more cannot say goodbye either."""
        return False

    def resume_writing(self) -> None:
        """The socket has drained: who was behind goes on."""
        if self._deaf and not self.transport.is_closing():
            self._deaf = False
            self._mind_partial_frame()
            self.transport.resume_reading()
        for session in tuple(self.sessions.values()):
            session.topic.pump(session)

    def shutdown(self) -> None:
        """uvicorn stops (after our own drain): whoever is still here is sent away."""
        self.close(RESTARTING, "restarting")

    # -- opening -------------------------------------------------------------------------------------------------

    def upgrade(self, request: handshake.Request, *, at_once: bool) -> None:
        """ResponseCache the request.

        Args:
            at_once: what the viewer asked for goes out with the answer, in one write; else it begins in the loop's next
                turn, since the transport does not call this protocol yet.
        """
        self._request = request
        try:
            self._admit(request)
            if request.path != "/ws":
                raise Refusal(HTTPStatus.NOT_FOUND, "not_found", "the WebSocket is at /ws")
            origin, host = request.headers.get("origin"), request.headers.get("host")
            if not handshake.origin_allowed(origin, host, self._node.config.allowed_origins):
                raise Refusal(HTTPStatus.FORBIDDEN, "foreign_origin", f"pages of {origin} may not connect here")
            if self._node.draining:
                raise Refusal(HTTPStatus.SERVICE_UNAVAILABLE, "restarting", "this node is going away", retry_after="1")
            answer = handshake.accept(request)
        except Refusal as refusal:
            self._request = _NO_REQUEST
            self.closing_since = 1.0
            self.transport.write(refusal.encode())
            self.transport.close()
            return
        if at_once:
            self.unsent = answer
            self._opened()
            if self.unsent:
                self.write(b"")
        else:
            self.transport.write(answer)
            asyncio.get_running_loop().call_soon(self._opened)

    def _admit(self, request: handshake.Request) -> None:
        """At the limits the answer is short, and comes before any other work.

        Raises:
            Refusal: not now.
        """
        node = self._node
        peer = self.transport.get_extra_info("peername")
        address = str(peer[0]) if isinstance(peer, tuple) else "local"
        if node.config.trusted_proxies:
            forwarded_for = request.headers.get("x-forwarded-for")
            address = client_address(address, forwarded_for, node.config.trusted_proxies)
        refused = node.admission.enter(address, asyncio.get_running_loop().time())
        if refused is not None:
            after = str(refused.retry_after_s)
            raise Refusal(HTTPStatus.SERVICE_UNAVAILABLE, refused.code, refused.message, retry_after=after)
        self._address = address

    def _opened(self) -> None:
        if self.transport.is_closing() or self.closing_since:
            return
        request = self._request
        assert request is not None
        self._request = _NO_REQUEST  # its headers are of no more use
        half = self._node.config.high_water_bytes // 2
        self.transport.set_write_buffer_limits(high=half, low=half // 4)
        self.descriptor = _descriptor(self.transport)
        self._node.hub.sockets.add(self)
        try:
            named = [value for name, value in request.query if name == "testId"]
            after = _only(request.query, "after")
            epoch = _only(request.query, "epoch")
            asked = _position(None if after is None else _number(after), epoch)
            self._named_in_url = len(named)
            for test_id in named:
                self._subscribe(ids.parse_test_id(test_id), asked)
        except BadInput as error:
            self._refuse(error)

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
            self._unfinished -= frames.wire_size(len(event.data))
            if event.opcode is Opcode.PING:
                self._reply(next(replies))
            self._on_frame(event)
            if self._parser is None:
                return
        goodbye = parser.close_rcvd
        if goodbye is not None and parser.parser_exc is not None:
            # In the middle of a message: the parser calls that an error, RFC 6455 (5.4) does not.
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
        self._mind_partial_frame()
        if self.transport.get_write_buffer_size() > self._node.config.high_water_bytes and not self.closing_since:
            # ResponseCache (pongs, errors) wait for a client that does not listen; without this, as many as it likes.
            self._deaf, self.partial_since = True, 0.0
            self.transport.pause_reading()

    def _reply(self, frame: bytes) -> None:
        if not self.closing_since:  # else our close frame has gone out, and nothing comes after that
            self.write(frame)

    def _mind_partial_frame(self) -> None:
        """A frame, or a message, that has begun has to be whole within a deadline; between them there is no parser."""
        if self._pieces is None and not self._unfinished:
            self.partial_since = 0.0
            if not self.closing_since:
                self._parser = None
        elif not self.partial_since:
            self.partial_since = asyncio.get_running_loop().time()

    def _on_frame(self, frame: Frame) -> None:
        if frame.opcode is Opcode.CLOSE:
            self._leave()
            if self.closing_since:  # the answer to ours
                self._end()
            return
        if self.closing_since or frame.opcode in (Opcode.PING, Opcode.PONG):
            return
        if frame.opcode is Opcode.BINARY:
            self._complain("malformed_message", "messages are JSON in text frames, this one is binary")
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
            self.close(1007, "not UTF-8")
            return
        try:
            message = orjson.loads(data)
            if not isinstance(message, dict):
                raise BadInput("expected a JSON object", code="malformed_message")
            self._obey(message)
        except orjson.JSONDecodeError as error:
            self._refuse(BadInput(f"not JSON: {error}", code="malformed_message"))
        except BadInput as error:
            self._refuse(error)

    def _obey(self, message: dict[str, Any]) -> None:
        kind, channel = message.get("type"), message.get("channel")
        if kind not in ("subscribe", "unsubscribe", "cancel"):
            raise BadInput(f"type: {_shown(kind)} is not one of subscribe, unsubscribe, cancel", code="unknown_type")
        if channel is not None and kind != "cancel":
            if channel != "tests":
                raise BadInput(f"channel: {_shown(channel)} is not 'tests'", code="malformed_message")
            tests = self._node.tests
            (tests.add if kind == "subscribe" else tests.remove)(self)
            return
        test_id = ids.parse_test_id(message.get("testId"))
        if kind == "subscribe":
            self._subscribe(test_id, _position(message.get("after"), message.get("epoch")))
        elif kind == "cancel":
            self._node.hub.spawn(self._cancel(test_id))
        elif (session := self.sessions.pop(test_id, None)) is not None:
            session.close()

    def _subscribe(self, test_id: str, asked: Position | None) -> None:
        standing = self.sessions.pop(test_id, None)
        if standing is not None:
            standing.close()
        if len(self.sessions) >= self._node.config.max_subscriptions:
            limit = self._node.config.max_subscriptions
            self._complain("too_many_subscriptions", f"at most {limit} tests on one socket", test_id)
            return
        self.sessions[test_id] = self._node.hub.subscribe(self, test_id, asked)

    async def _cancel(self, test_id: str) -> None:
        try:
            await self._node.cancel(test_id)
        except TestcastError as error:
            if not self.closing_since:
                self._complain(error.code, error.public_message, test_id)

    def session_missing(self, session: Session) -> None:
        """The test does not exist: 4404 for a socket that was opened for it, else only word of it."""
        test_id = session.topic.test_id
        self.sessions.pop(test_id, None)
        self._complain("not_found", f"there is no test {test_id}", test_id)
        if self._named_in_url == 1 and not self.sessions:
            self.close(NO_SUCH_TEST, "no such test")

    # -- closing -------------------------------------------------------------------------------------------------

    def goodbye(self, retry_after_ms: int, reason: str) -> None:
        """Sends the viewer to another node: word of when to come back, then 1012."""
        if not self.closing_since:
            self.write(frames.control("goodbye", retryAfterMs=retry_after_ms, reason=reason))
            self.close(RESTARTING, reason)

    def close(self, code: int, reason: str) -> None:
        """Starts the closing handshake; the hub ends what does not answer."""
        if self.closing_since:
            return
        self._leave()
        self.closing_since = asyncio.get_running_loop().time()
        self.write(frames.close_frame(code, reason))

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
        self._node.tests.remove(self)

    def _refuse(self, error: BadInput) -> None:
        """The client's fault: says what, and closes; trying the same again would not help."""
        self._complain(error.code, error.message)
        self.close(MALFORMED, error.message)

    def _complain(self, code: str, message: str, test_id: str | None = None) -> None:
        if not self.transport.is_closing():
            self.write(frames.error(code, message, test_id))


_NO_REQUEST: Final = handshake.Request("GET", "/ws", [], {})


def _descriptor(transport: asyncio.Transport) -> int:
    """Where frames may go straight to the kernel; -1 where they may not (TLS, or no socket at all)."""
    raw = transport.get_extra_info("socket")
    return -1 if raw is None or transport.get_extra_info("sslcontext") is not None else int(raw.fileno())


def _only(query: list[tuple[str, str]], name: str) -> str | None:
    values = [value for key, value in query if key == name]
    if len(values) > 1:
        raise BadInput(f"{name}: given {len(values)} times", code="malformed_message")
    return values[0] if values else None


def _shown(given: object) -> str:
    return repr(given[:40]) if isinstance(given, str) else type(given).__name__


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 16):
        raise BadInput(f"after: {text[:40]!r} is not a sequence number", code="malformed_message")
    return int(text)


def _position(after: object, epoch: object) -> Position | None:
    if after is None:
        return None
    if not isinstance(after, int) or isinstance(after, bool) or not 0 <= after < _MAX_SEQ:
        raise BadInput("after: expected a whole number, the last sequence you have applied", code="malformed_message")
    if epoch is not None and (not isinstance(epoch, str) or len(epoch) > 64):
        raise BadInput("epoch: expected the word that came with the position", code="malformed_message")
    return Position(epoch, after)
