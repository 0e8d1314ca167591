"""Which requests ask for a stream of server-sent events, and for what: read from their address and headers. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from http import HTTPStatus
from typing import Final, NamedTuple

from broker.contract.errors import BadInput
from broker.contract.ids import parse_test_id
from broker.contract.position import Position
from ws_edge.encoding.event_stream import MEDIA_TYPE
from ws_edge.transport.handshake import Refusal, Request

SEVERAL: Final = "/events"
_ONE: Final = re.compile(r"/tests/([^/]+)/events")
_MAX_SEQ_DIGITS: Final = 16
_MAX_SEQ: Final = 2**53
_EPOCH: Final = re.compile(r"[0-9A-Za-z_-]{1,64}")


class StreamRequest(NamedTuple):
    """What a stream is asked for."""

    encoding: str
    """Its name."""
    watched: tuple[tuple[str, Position | None], ...]
    """Runs, each with the position to resume from."""
    tests: bool = False
    """The list of tests is followed."""

    @property
    def alone(self) -> tuple[str, Position | None] | None:
        """The one run that the stream is for. None: it is for any number, and for none alone."""
        return self.watched[0] if self.encoding != "sse of several" else None


def accepts_stream(accept: str | None) -> bool:
    """Whether the header Accept names server-sent events."""
    return accept is not None and any(
        each.partition(";")[0].strip(" \t").lower() == MEDIA_TYPE for each in accept.split(",")
    )


def stream_request(request: Request) -> StreamRequest | None:
    """What stream the request asks for; None for one that asks for none.

    Raises:
        BadInput: it asks for a stream, and something of it is malformed.
    """
    if request.method != "GET" or not accepts_stream(request.headers.get("accept")):
        return None
    if request.path == SEVERAL:
        return _of_several(request.query)
    found = _ONE.fullmatch(request.path)
    if found is None:
        return None
    test_id = parse_test_id(found[1])
    asked = position_of(request.query, request.headers.get("last-event-id"))
    return StreamRequest("sse", ((test_id, asked),))


def position_of(query: Sequence[tuple[str, str]], last_event_id: str | None) -> Position | None:
    """The position that a request for one run names; `Last-Event-ID` wins over the address.

    Raises:
        BadInput: naming what is malformed.
    """
    if last_event_id:
        return parse_position(last_event_id, "Last-Event-ID")
    given = {name: value for name, value in query if name in ("after", "epoch")}
    if len(given) < sum(name in ("after", "epoch") for name, _ in query):
        raise malformed("after, epoch: given more than once")
    if "after" not in given:
        return None
    return Position(_epoch(given["epoch"], "epoch") if "epoch" in given else None, _seq(given["after"], "after"))


def parse_position(text: str, where: str) -> Position:
    """A position as one word, `<epoch>.<seq>`.

    Raises:
        BadInput: it is none.
    """
    epoch, dot, seq = text.rpartition(".")
    if not dot:
        raise malformed(f"{where}: {text[:40]!r} is no position: expected <epoch>.<seq>")
    return Position(_epoch(epoch, where), _seq(seq, where))


def _of_several(query: Sequence[tuple[str, str]]) -> StreamRequest:
    watched: dict[str, Position | None] = {}
    tests = False
    for name, value in query:
        if name == "watch":
            test_id, colon, position = value.partition(":")
            test_id = parse_test_id(test_id)
            if test_id in watched:
                raise malformed(f"watch: {test_id} is named more than once")
            watched[test_id] = parse_position(position, "watch") if colon else None
        elif name == "channel":
            if value != "tests":
                raise malformed(f"channel: {value[:40]!r} is none here; there is tests")
            tests = True
    if not watched and not tests:
        raise malformed("nothing to follow: name runs with watch=<id>, or channel=tests")
    return StreamRequest("sse of several", tuple(watched.items()), tests)


def check_count(request: StreamRequest, most: int) -> None:
    """Returns when the address names no more runs than it may.

    Raises:
        Refusal: 400.
    """
    if len(request.watched) > most:
        text = f"the address names more than {most} tests: open another stream for the others"
        raise Refusal(HTTPStatus.BAD_REQUEST, "too_many_tests", text)


def _seq(text: str, where: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= _MAX_SEQ_DIGITS and int(text) < _MAX_SEQ):
        raise malformed(f"{where}: {text[:40]!r} is not a sequence number")
    return int(text)


def _epoch(text: str, where: str) -> str:
    if not _EPOCH.fullmatch(text):
        raise malformed(f"{where}: {text[:40]!r} is not the word that came with the position")
    return text


def malformed(message: str) -> BadInput:
    """Something of the request cannot be read."""
    return BadInput(message, code="invalid_params")
