"""uvicorn's HTTP protocol behind a strict reader: one request at a time, with limits and deadlines.

uvicorn waits for ever for the rest of a header or a body and for a client that does not take its answer, starts the
next request of a connection before the last one was answered, and lets httptools decide where a request ends. Here the
head is read by `request_head`, the next request waits for the answer to the one before, and an upgrade is answered in
its turn. Connections carry no timer: the node asks a few times a second which are late.
"""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from broker.contract.errors import BadInput
from broker.log import RateLimited
from ws_edge.transport import handshake, request_head, told
from ws_edge.transport.entrance import address_of, check_names, check_upgrade, open_socket, open_stream
from ws_edge.transport.forwarded import client_address
from ws_edge.transport.handshake import Refusal, without_prefix
from ws_edge.transport.request_head import Body, Head
from ws_edge.transport.services import Services
from ws_edge.transport.stream_request import check_count, stream_request

HEADER_S: Final = 5.0
BODY_S: Final = 10.0
LINGER_S: Final = 2.0
"""How long what a client still sends is read and dropped after the last answer. A connection that is closed with unread
data is reset, and the client might never see the answer."""
MAX_AHEAD_BYTES: Final = 64 * 1024
"""What a client may send of its next requests while one is answered."""
_log: Final = RateLimited(logging.getLogger("testcast.edge"), per_s=10.0)


class DeadlineHttp(HttpToolsProtocol):
    """One HTTP connection whose first bytes have come already (`accept`)."""

    def connection_made(self, transport: Any) -> None:
        """Called by `accept` with the transport it had."""
        super().connection_made(transport)
        self.logger = _QuietLogger(self.logger)  # type: ignore[assignment]  # it is given to each request, too
        self.node: Services = self.app_state["node"]
        self.received = bytearray()
        """What has come and is not read yet."""
        self.body: Body | None = None
        """The body that is under way."""
        self.ended = False
        """Nothing that comes is read any more."""
        self.asks_for_socket = False
        """The newest request asks for an upgrade, or for a stream."""
        self.head: Head | None = None
        """Of the request that is judged at the moment."""

    def data_received(self, data: bytes) -> None:
        """Reads requests and hands each to uvicorn, in turn."""
        if self.ended:
            return
        self._unset_keepalive_if_required()
        self.received += data
        self.read_on()

    def read_on(self) -> None:
        """Reads as far as the connection is at the moment."""
        try:
            while self.received and not self.ended and self._read_one():
                pass
        except Refusal as refusal:
            self.refuse(refusal)

    def _read_one(self) -> bool:
        """Reads the next head, or what has come of a body. Returns whether it could."""
        if self.body is not None:
            taken = self.body.take(self.received)
            piece = bytes(self.received[:taken])
            del self.received[:taken]
            if not self.body.finished:
                super().data_received(piece)
                return True
            self.body = None
            self._wait_until(None)
            super().data_received(piece)
            if not self.answering and not self.transport.is_closing():  # it was answered before it was whole
                self.node.connections.rests(self)
                self.timeout_keep_alive_task = self.loop.call_later(
                    self.timeout_keep_alive, self.timeout_keep_alive_handler
                )
            return True
        if self.answering:
            if len(self.received) > MAX_AHEAD_BYTES:
                raise request_head.bad("requests were sent long before their answers were taken")
            self.flow.pause_reading()
            return False
        limits = self.node.config.limits
        found = request_head.split(self.received, limits.max_head_bytes)
        if found is None:
            if self not in self.node.hub.pending:
                self._wait_until(HEADER_S)
            return False
        raw = bytes(self.received[found[0] : found[1]])
        del self.received[: found[1]]
        self._begin(request_head.read(raw))
        return True

    def _begin(self, head: Head) -> None:
        """A head is here: judges it, and hands it to uvicorn or makes the connection a socket."""
        self._wait_until(None)
        self.asks_for_socket = head.is_upgrade
        self.node.connections.works(self)
        self.head = head
        for authority in head.authorities:
            check_names(self.node, authority, head.header, self.transport)
        body = request_head.body_of(head)
        target = without_prefix(head.target, self.node.config.prefix)
        if head.is_upgrade:
            if body is not None or self.received:
                raise request_head.bad("nothing may follow a request for an upgrade before its answer")
            self._upgrade(head, target)
            return
        if self._is_stream(head, target, body):
            return
        self.body = body
        if body is not None:
            self._wait_until(BODY_S)
        self.head = None
        super().data_received(head.canonical(target))

    def _upgrade(self, head: Head, target: bytes) -> None:
        request = handshake.request_of(head.method, target, head.headers())
        check_upgrade(self.node, request)
        self._hand_over()
        open_socket(self.config, self.server_state, self.app_state, self.transport, request)

    def _is_stream(self, head: Head, target: bytes, body: Body | None) -> bool:
        """Makes the connection a stream of server-sent events, where the request asks for one."""
        request = handshake.request_of(head.method, target, head.headers())
        try:
            asked = stream_request(request)
        except BadInput as error:
            raise Refusal(HTTPStatus.BAD_REQUEST, error.code, error.message) from None
        if asked is None:
            return False
        self.asks_for_socket = True
        if body is not None or self.received:
            raise request_head.bad("nothing may follow a request for a stream: its answer ends with the connection")
        check_count(asked, self.node.config.limits.max_tests_in_address)
        self._hand_over()
        open_stream(self.config, self.server_state, self.app_state, self.transport, request, asked)
        return True

    def _hand_over(self) -> None:
        """Another protocol has the connection from here on."""
        self._leave()
        self.ended = True
        self.connections.discard(self)
        self.flow.resume_reading()

    @property
    def answering(self) -> bool:
        """A request is not answered yet, or its answer waits for the client."""
        return (self.cycle is not None and not self.cycle.response_complete) or self.flow.write_paused

    def on_response_complete(self) -> None:
        """The answer is written: the next request may be read."""
        super().on_response_complete()
        self.note_unread()
        if self.transport.is_closing() or self.ended:
            return
        if self.body is not None:  # it was answered before it was read: a short rest is read and left aside
            if not self.body.ends_within(MAX_AHEAD_BYTES):
                self._end()
            return
        self.node.connections.rests(self)
        if self.received:
            self.loop.call_soon(self.read_on)

    def pause_writing(self) -> None:
        """The client takes its answer more slowly than it is written."""
        super().pause_writing()
        self.note_unread()

    def resume_writing(self) -> None:
        """The client has taken most of it."""
        super().resume_writing()
        self.note_unread()
        if self.received and not self.ended:
            self.flow.resume_reading()
            self.loop.call_soon(self.read_on)

    def send_400_response(self, msg: str) -> None:
        """httptools could not read what `request_head` could."""
        self.refuse(request_head.bad("the request is malformed"))

    def refuse(self, refusal: Refusal) -> None:
        """Answers a request that is not handed on, and ends the connection."""
        if self.transport.is_closing():
            return
        if self.asks_for_socket:
            self.node.hub.socket_figures.refused(refusal.code)
        self.node.connections.works(self)
        if self.cycle is not None and not self.cycle.response_complete:
            if self.cycle.response_started:  # nothing may be put into another answer
                self.transport.abort()
                return
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        peer = address_of(self.transport, "peername")
        request_id = told.new_id()
        if self.head is not None:
            request_id = told.id_of(self.node.config, self.head.header, peer)
            peer = client_address(peer, self.head.header, self.node.config.trusted_proxies)
        told.refused(refusal.status.value, refusal.code, refusal.message, request=request_id, address=peer)
        self.transport.write(refusal.encode(request_id))
        self._end()

    def _end(self) -> None:
        """No more is read: the client is given a moment to take its answer."""
        self.ended = True
        self.received.clear()
        self._unset_keepalive_if_required()
        self.flow.resume_reading()
        if self.transport.can_write_eof():
            self.transport.write_eof()
            self._wait_until(LINGER_S)
            self.note_unread()
        else:
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is waited for any more."""
        self._leave()
        self.node.unread.forget(self)
        self.ended = True
        self.received.clear()
        super().connection_lost(exc)

    def too_late(self) -> None:
        """A deadline has passed. The client would not read a response to an incomplete request."""
        if self.ended and self.transport.get_write_buffer_size():
            self._wait_until(LINGER_S)  # it still takes its answer: that has a deadline of its own
            return
        if not self.ended:
            told.dropped("its request was not whole in time", address=address_of(self.transport, "peername"))
        self.transport.abort()

    def make_room(self) -> None:
        """The node is full, and another connection has come."""
        told.dropped("it has rested longest, and the node is full", address=address_of(self.transport, "peername"))
        self.transport.abort()

    def note_unread(self) -> None:
        """Tells the node what of the answers the client has not taken yet."""
        self.node.unread.note(self, self.loop.time())

    def unread_bytes(self) -> int:
        """What of the answers waits in this process."""
        return self.transport.get_write_buffer_size()

    def give_up(self) -> None:
        """The client does not take its answer."""
        _log.warning("closed a connection whose client did not take its answer: %d bytes", self.unread_bytes())
        self.transport.abort()

    def _wait_until(self, within_s: float | None) -> None:
        """Sets the deadline for what has to come next; None for nothing."""
        if within_s is None:
            self.node.hub.pending.pop(self, None)
        else:
            self.node.hub.pending[self] = self.loop.time() + within_s

    def _leave(self) -> None:
        self.node.connections.leave(self)
        self.node.hub.pending.pop(self, None)


class _QuietLogger:
    """uvicorn's logger, at most one line in 10 s of what clients can bring about."""

    def __init__(self, logger: logging.Logger) -> None:
        self.level = logger.level
        self._logger = logger

    def log(self, level: int, text: str, *args: object) -> None:
        """uvicorn's traces."""
        self._logger.log(level, text, *args)

    def warning(self, text: str, *args: object) -> None:
        """A client's fault."""
        _log.warning(text.strip(), *args)

    def error(self, text: str, *args: object, exc_info: Any = None) -> None:
        """The application's fault."""
        _errors.log(logging.ERROR, text.strip(), *args, exc_info=exc_info)


_errors: Final = RateLimited(logging.getLogger("testcast.edge"), per_s=1.0)
