"""A viewer's socket as a client that asks for something: who it is, what it follows, what it is told."""

from __future__ import annotations

from collections import deque
from typing import Final

from broker.clock import now_ms
from broker.contract.errors import BadInput
from ws_edge.access import ANONYMOUS
from ws_edge.access.records import proofs_of, shared_run
from ws_edge.encoding import ENCODINGS, Encoding
from ws_edge.fanout.session import Session
from ws_edge.transport import told
from ws_edge.transport.client import missing
from ws_edge.transport.renewal import recheck
from ws_edge.transport.requests import ClientRequest
from ws_edge.transport.services import Services
from ws_edge.transport.socket_writer import SocketWriter

ENCODING: Final = ENCODINGS["websocket"]
MALFORMED: Final = 4400


class ClientSocket(SocketWriter):
    """What the verbs need of a socket, but for the frames. See `client.Client`."""

    __slots__ = (
        "_viewer_id",
        "address",
        "backlog",
        "cancels",
        "closing_since",
        "named_in_url",
        "node",
        "origin",
        "principal",
        "request_id",
    )

    node: Services

    def __init__(self) -> None:
        super().__init__()
        self.principal = ANONYMOUS
        self.address = ""
        self.origin: str | None = None
        self.named_in_url = 0
        self.closing_since = 0.0
        self.backlog: deque[ClientRequest] | None = None
        self.cancels: tuple[str, ...] = ()
        self.request_id = ""
        """Of its upgrade request."""
        self._viewer_id = ""

    @property
    def encoding(self) -> Encoding:
        """WebSocket frames."""
        return ENCODING

    def close(self, code: int, reason: str) -> None:
        """Starts the closing handshake; harmless when it has begun."""
        raise NotImplementedError

    def backlog_ended(self) -> None:
        """Nothing that it has said waits for a decision any more."""
        raise NotImplementedError

    def session_missing(self, session: Session) -> None:
        """The test does not exist: 4404 for a socket that was opened for it alone, otherwise an `error`. One that was
        deleted while it was watched is an `error` only: the socket may serve something else."""
        test_id = session.topic.test_id
        self.sessions.pop(test_id, None)
        if session.topic.state != "deleted":
            missing(self, test_id)
        elif not self.transport.is_closing():
            said, data = f"test {test_id} was deleted", {"code": "not_found", "deleted": True}
            self.send_control("error", testId=test_id, message=said, timestamp=now_ms(), data=data)

    def frames_missing(self, test_id: str) -> None:
        """The test whose pictures it follows does not exist."""
        missing(self, test_id)

    def ids(self) -> dict[str, object]:
        """What the log says of it."""
        self._viewer_id = self._viewer_id or told.new_id()[:8]
        return {"viewer": self._viewer_id, "request": self.request_id, "address": self.address}

    # -- its proof -----------------------------------------------------------------------------------------------

    def hold_proof(self) -> None:
        """Its principal is another one: from now on the end of that one's proof counts."""
        self.node.hub.proofs.hold(self, self.principal.expires_at, proofs_of(self.principal))

    def proof_ended(self, code: str, grace_ms: int) -> None:
        """Its proof has ended: the client has `grace_ms` for another one."""
        if not self.closing_since and not self.transport.is_closing():
            message = f"send another token within {grace_ms // 1000} s, or this socket is closed"
            data = {"code": code, "graceMs": grace_ms}
            self.send_control("error", message=message, timestamp=now_ms(), data=data)

    def share_ended(self, proof: str) -> None:
        """A share link of it has ended: the run is no longer shown, unless something else shows it."""
        test_id, share_id = shared_run(proof), proof.partition(".")[2]
        if test_id is None or self.closing_since:
            return
        self.principal = self.principal.with_shares(self.principal.share_ids - {share_id})
        self.hold_proof()
        if test_id in self.sessions or self.node.pictures.channel.follows(self, test_id):
            self.node.hub.spawn(recheck(self, [test_id]))

    # -- what it is told -----------------------------------------------------------------------------------------

    def refuse(self, error: BadInput) -> None:
        """Says what is wrong and closes: trying the same again would not help."""
        self.send_error(error.code, error.message)
        self.close(MALFORMED, error.message)

    def send_error(self, code: str, message: str, test_id: str | None = None) -> None:
        """Tells the client what is wrong; the socket stays open."""
        told.objected(code, message, run=test_id, **self.ids())
        if not self.transport.is_closing():
            self.send_control("error", testId=test_id, message=message, timestamp=now_ms(), data={"code": code})

    def send_control(self, kind: str, **fields: object) -> None:
        """Tells the client something."""
        self.write(self.encoding.control(kind, **fields))
