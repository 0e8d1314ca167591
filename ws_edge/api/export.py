"""`GET /tests/<id>/export`: a run as a file, made while it is sent.

An export reads the run a page at a time and waits for its client, so that it holds a page of pictures however long the
run is. A client that does not take it is cut off as with any other answer (`transport/unread.py`). So is one whose
proof ends meanwhile: it is revoked, it expires, or the share link goes.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from typing import Final, NamedTuple

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from broker.contract import ids
from broker.contract.errors import BadInput, BrokerRefused, BrokerUnavailable, TestcastError
from broker.export.assets import assets
from broker.export.document import json_pieces
from broker.export.junit import junit_xml
from broker.export.page import html_pieces
from broker.export.source import (
    FORMATS,
    MEDIA_TYPES,
    REMARKS_HEADER,
    Format,
    Source,
    Stretch,
    file_name,
    remarks,
    stretch_of,
)
from broker.jetstream.run_source import open_run
from broker.log import RateLimited
from ws_edge.access import Action, NotAuthenticated, Principal, Undecided
from ws_edge.access.records import proofs_of, shared_run
from ws_edge.api import quotas, rpc
from ws_edge.api.outside import limited_address_of
from ws_edge.node import Node
from ws_edge.response_headers import NOT_A_PAGE, POLICY
from ws_edge.transport.buckets import TooManyRequests
from ws_edge.transport.quotas import own_subject

PATH: Final = "/tests/{test_id}/export"
_AT_ONCE: Final = 4
"""Exports of this process that are under way. Each holds about 2 MB and reads from the broker as fast as its client
takes it."""
_EACH: Final = 2
"""Of these for one address, and for one principal: who takes nothing holds up no one else."""
_RETRY_AFTER_S: Final = 5
_log: Final = RateLimited(logging.getLogger("testcast.edge"), per_s=1.0)


class _Params(msgspec.Struct, forbid_unknown_fields=True):
    format: Format = "html"
    first: int | None = msgspec.field(default=None, name="from")
    last: int | None = msgspec.field(default=None, name="to")


class Asked(NamedTuple):
    """What a request asks for."""

    test_id: str
    form: Format
    stretch: Stretch


class Busy(TestcastError):
    """As many exports as this process makes at once are under way. The same request succeeds later."""

    code = "busy"
    retry_after_s = _RETRY_AFTER_S


class ExportStatistics(NamedTuple):
    """The exports under way, and those refused since the start because too many were."""

    under_way: int
    refused: int


class Exports:
    """The route of one process."""

    def __init__(self, at_once: int = _AT_ONCE) -> None:
        self._at_once = at_once
        self._under_way = 0
        self._by_key: Counter[str] = Counter()
        """Those under way, by address and by principal."""
        self._refused = 0

    def __repr__(self) -> str:
        return f"<Exports under_way={self._under_way} of {self._at_once} refused={self._refused}>"

    def statistics(self) -> ExportStatistics:
        """The figures of this moment."""
        return ExportStatistics(self._under_way, self._refused)

    async def serve(self, request: Request) -> Response:
        """Checks who asks for what, and sends it."""
        node: Node = request.state.node
        who: Principal | None = None
        test_id: str | None = None
        try:
            asked = _asked(request)
            test_id = asked.test_id
            who = await rpc.identify(node, request)
            quotas.count(node, request, "export", Action.WATCH, who)
            await rpc.authorize(node, who, Action.WATCH, test_id)
            return await self._answer(node, request, asked, who)
        except TestcastError as error:
            return rpc.refusal(request, error, Action.WATCH, who, test_id)

    async def _answer(self, node: Node, request: Request, asked: Asked, who: Principal) -> Response:
        keys = _keys(node, request, who)
        self._take(node, keys)
        proof: Proof | None = None
        given = False
        try:
            held = proof = Proof(node, who, asked.test_id)
            known = node.snapshot(asked.test_id)
            source = await open_run(node.log, node.log.streams, asked.test_id, asked.stretch, known)
            headers, media_type = _headers(source, asked.form), MEDIA_TYPES[asked.form]
            proof.check()
            if request.method == "HEAD":
                return Response(headers=headers, media_type=media_type)
            if asked.form == "junit":
                content = await junit_xml(source)
                proof.check()
                return Response(content, headers=headers, media_type=media_type)
            pieces = html_pieces(source, assets()) if asked.form == "html" else json_pieces(source)
            given = True
            return _Body(pieces, proof, headers, media_type, lambda: self._give_back(held, keys))
        finally:
            if not given:
                self._give_back(proof, keys)

    def _take(self, node: Node, keys: list[str]) -> None:
        if node.draining:
            raise Busy("this edge is going away: ask again, and another answers")
        if self._under_way >= self._at_once:
            self._refused += 1
            raise Busy(f"{self._at_once} exports are under way: try again in {_RETRY_AFTER_S} s")
        if max(self._by_key[key] for key in keys) >= _EACH:
            self._refused += 1
            raise TooManyRequests("exports at once", _RETRY_AFTER_S)
        self._under_way += 1
        self._by_key.update(keys)

    def _give_back(self, proof: Proof | None, keys: list[str]) -> None:
        if proof is not None:
            proof.release()
        self._under_way -= 1
        self._by_key -= Counter(keys)  # without those that are 0


class Proof:
    """The proof of who takes an export along, from the beginning to the end. A `ProvedSocket`: of the open ones of the
    node, which tell when one ends. An export cannot bring another one, so it has no grace.

    Attributes:
        ended: why it does not count any more; empty while it does.
    """

    def __init__(self, node: Node, who: Principal, test_id: str) -> None:
        self._node = node
        self._who = who
        self.test_id = test_id
        self.ended = ""
        self.on_end: Callable[[], None] = lambda: None
        node.hub.proofs.hold(self, who.expires_at, proofs_of(who))
        if node.records.has_ended(who):
            self.close(0, "token_revoked")

    def __repr__(self) -> str:
        return f"<Proof of an export of {self.test_id} {self.ended}>"

    def check(self) -> None:
        """Returns while it counts.

        Raises:
            NotAuthenticated: it does not any more.
        """
        if self.ended:
            raise NotAuthenticated(f"the proof of who asks has ended meanwhile: {self.ended}")

    def release(self) -> None:
        """The export is over."""
        self._node.hub.proofs.release(self)

    def proof_ended(self, code: str, grace_ms: int) -> None:
        """See `ProvedSocket`."""
        self.close(0, code)

    def share_ended(self, proof: str) -> None:
        """See `ProvedSocket`. Something else may still show the run."""
        self._who = self._who.with_shares(self._who.share_ids - {proof.partition(".")[2]})
        if shared_run(proof) != self.test_id:
            return
        try:
            self._node.access.authorize(self._who, Action.WATCH, self.test_id)
        except (TestcastError, Undecided):
            self.close(0, "share_ended")

    def close(self, code: int, reason: str) -> None:
        """Ends the export."""
        if not self.ended:
            self.ended = reason
            self.release()
            self.on_end()


class _Body(StreamingResponse):
    """The pieces, as fast as the client takes them. Tells when it has ended, in whatever way."""

    def __init__(
        self,
        pieces: AsyncGenerator[bytes, None],
        proof: Proof,
        headers: dict[str, str],
        media_type: str,
        on_end: Callable[[], None],
    ) -> None:
        super().__init__(pieces, headers=headers, media_type=media_type)
        self._pieces = pieces
        self._proof = proof
        self._on_end = on_end

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._on_end()
            await self._pieces.aclose()

    async def stream_response(self, send: Send) -> None:
        """Sends the pieces. One that the broker withholds is the end of the connection, and so is the end of the proof:
        the client sees the answer cut off, and not a shorter run."""
        proof = self._proof
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        try:
            async with asyncio.timeout(None) as ends:
                proof.on_end = lambda: ends.reschedule(0)
                if proof.ended:
                    proof.on_end()
                async for piece in self._pieces:
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
        except (BrokerUnavailable, BrokerRefused, TimeoutError) as error:
            if isinstance(error, TimeoutError) and not proof.ended:
                raise
            _log.warning("an export of test %s was cut off: %s", proof.test_id, proof.ended or error)
            return
        finally:
            proof.on_end = lambda: None
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def _keys(node: Node, request: Request, who: Principal) -> list[str]:
    """What an export counts against: its address, and its principal where it has one of its own."""
    subject = own_subject(who)
    at = f"at {limited_address_of(node.config, request)}"
    return [at] if subject is None else [at, f"by {subject}"]


def _asked(request: Request) -> Asked:
    """What a request asks for.

    Raises:
        BadInput: it is nothing that there is.
    """
    test_id = ids.parse_test_id(request.path_params["test_id"])
    given = dict(request.query_params)
    if given.get("format", "html") not in FORMATS:
        shown = repr(given["format"][:40])
        raise BadInput(f"`format` is {shown}: expected one of {', '.join(FORMATS)}", code="invalid_params")
    try:
        params = msgspec.convert(given, _Params, strict=False)
    except msgspec.ValidationError as error:
        raise BadInput(str(error).replace("Object", "the request"), code="invalid_params") from None
    return Asked(test_id, params.format, stretch_of(params.first, params.last))


def _headers(source: Source, form: Format) -> dict[str, str]:
    """A browser keeps the file and does not show it; if it were shown, it would be nothing of this edge's."""
    return {
        "content-disposition": f'attachment; filename="{file_name(source.about.snapshot, form)}"',
        "cache-control": "no-store",
        REMARKS_HEADER: ", ".join(remarks(source.about)),
        POLICY: f"sandbox; {NOT_A_PAGE}",
    }
