"""What a client says on a socket, and in the address it opens: checked, as values. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple

import orjson

from broker.contract import ids
from broker.contract.errors import BadInput
from broker.contract.position import Position
from ws_edge.access import Action

Verb = Literal[
    "subscribe",
    "unsubscribe",
    "cancel",
    "subscribe tests",
    "unsubscribe tests",
    "subscribe frames",
    "unsubscribe frames",
    "authenticate",
]

VERBS: Final[Mapping[Verb, Action | None]] = {
    "subscribe": Action.WATCH,
    "unsubscribe": Action.WATCH,
    "cancel": Action.CANCEL,
    "subscribe tests": Action.LIST,
    "unsubscribe tests": Action.LIST,
    "subscribe frames": Action.WATCH,
    "unsubscribe frames": Action.WATCH,
    "authenticate": None,
}
"""Every verb of the socket, with the action it asks for. None: the verb is itself the proof of who asks."""

_TYPES: Final = ("subscribe", "unsubscribe", "cancel", "authenticate")
_MAX_PROOF_CHARS: Final = 8 * 1024
_MAX_SEQ: Final = 2**53
_MAX_EPOCH_CHARS: Final = 64


class ClientRequest(NamedTuple):
    """One message of a client."""

    verb: Verb
    test_id: str | None
    """None where the verb is about the list of tests."""
    asked: Position | None
    """The position of a subscribe, None for none."""
    token: str | None = None
    """The token of an authenticate."""
    ticket: str | None = None
    """The ticket of an authenticate."""
    in_url: bool = False
    """The address names the run: a refusal of it closes the socket."""

    def __repr__(self) -> str:
        return f"<ClientRequest {self.verb} {self.test_id} {self.asked}>"


class Opening(NamedTuple):
    """What the query of `/ws` asks for."""

    test_ids: list[str]
    asked: Position | None


def parse_message(data: bytes) -> ClientRequest:
    """Reads one text message, which is UTF-8.

    Raises:
        BadInput: naming the field and what is wrong with it.
    """
    try:
        message = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise _malformed(f"not JSON: {error}") from None
    if not isinstance(message, dict):
        raise _malformed("expected a JSON object")
    kind, channel = message.get("type"), message.get("channel")
    if kind not in _TYPES:
        raise BadInput(f"type: {_shown(kind)} is not one of {', '.join(_TYPES)}", code="unknown_type")
    if kind == "authenticate":
        return _authenticate(message)
    if channel == "tests" and kind != "cancel":
        return ClientRequest("subscribe tests" if kind == "subscribe" else "unsubscribe tests", None, None)
    if channel not in (None, "frames") and kind != "cancel":
        raise _malformed(f"channel: {_shown(channel)} is none; there are tests and frames")
    test_id = ids.parse_test_id(message.get("testId"))
    if channel == "frames" and kind != "cancel":
        return ClientRequest("subscribe frames" if kind == "subscribe" else "unsubscribe frames", test_id, None)
    asked = _position(message.get("after"), message.get("epoch")) if kind == "subscribe" else None
    return ClientRequest(kind, test_id, asked)


def _authenticate(message: Mapping[str, Any]) -> ClientRequest:
    """Nothing of the proof is repeated in an error."""
    token, ticket = message.get("token"), message.get("ticket")
    given = token if ticket is None else ticket
    if (token is None) == (ticket is None) or not isinstance(given, str) or not 0 < len(given) <= _MAX_PROOF_CHARS:
        raise _malformed("authenticate: expected one text, either token or ticket")
    if not given.isascii() or not given.isprintable():
        raise _malformed("authenticate: no token and no ticket has such characters")
    return ClientRequest("authenticate", None, None, token, ticket)


def parse_query(query: Sequence[tuple[str, str]]) -> Opening:
    """Reads the query of an upgrade request: `testId` any number of times, `after` and `epoch` once.

    Raises:
        BadInput: naming the field and what is wrong with it.
    """
    test_ids: list[str] = []
    single: dict[str, str] = {}
    for name, value in query:
        if name == "testId":
            test_ids.append(ids.parse_test_id(value))
        elif name == "after" or name == "epoch":
            if name in single:
                raise _malformed(f"{name}: given more than once")
            single[name] = value
    after = single.get("after")
    asked = None if after is None else _position(_number(after), single.get("epoch"))
    return Opening(test_ids, asked)


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 16):
        raise _malformed(f"after: {text[:40]!r} is not a sequence number")
    return int(text)


def _position(after: Any, epoch: Any) -> Position | None:
    if after is None:
        return None
    if not isinstance(after, int) or isinstance(after, bool) or not 0 <= after < _MAX_SEQ:
        raise _malformed("after: expected a whole number, the last sequence you have applied")
    if epoch is not None and (not isinstance(epoch, str) or len(epoch) > _MAX_EPOCH_CHARS):
        raise _malformed("epoch: expected the word that came with the position")
    return Position(epoch, after)


def _shown(given: object) -> str:
    return repr(given[:40]) if isinstance(given, str) else type(given).__name__


def _malformed(message: str) -> BadInput:
    return BadInput(message, code="malformed_message")
