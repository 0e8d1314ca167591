"""What the log tells of requests and sockets: their ids, and what was refused, with the reason.

Lines are rate-limited by kind, which is a status, a close code and a word of ours: never what a client says.
"""

from __future__ import annotations

import logging
import random
import re
from typing import TYPE_CHECKING, Final

import orjson

from broker.log import LimitedByKind, about
from ws_edge.transport.forwarded import Header, tells_addresses

if TYPE_CHECKING:
    from ws_edge.config import EdgeConfig

REQUEST_ID: Final = "x-request-id"
_WELL_FORMED: Final = re.compile(r"[A-Za-z0-9._:=+/@~-]{1,128}")
_LOUD: Final = frozenset({421, 429, 431})
"""Refusals that an operator may have to see to; of the server's own faults each is one."""
_QUIET_CLOSES: Final = frozenset({1000, 1001, 1005, 1012})
"""The client has left, or the node goes away."""
_ERROR: Final = b'{"error":{"code":"'
_MOST_BODY_BYTES: Final = 16 * 1024
_log: Final = logging.getLogger("testcast.edge")
_refusals: Final = LimitedByKind(_log, per_s=10.0)


def new_id() -> str:
    """An id for a request: 16 hexadecimal digits. It is no secret, and the kernel's random numbers cost more than a
    tenth of a handshake."""
    return f"{random.getrandbits(64):016x}"


def id_of(config: EdgeConfig, header: Header, peer: str) -> str:
    """The id of a request: the one that a trusted proxy has given it, where that is well-formed, or a new one.

    Args:
        header: looks a header of the request up.
        peer: the address at the other end of the connection.
    """
    given = header(REQUEST_ID)
    if given is not None and _WELL_FORMED.fullmatch(given) and tells_addresses(config, peer):
        return given
    return new_id()


def refused(status: int, code: str, message: object, *, what: str = "request", **fields: object) -> None:
    """A request was answered with an error.

    Args:
        code: the error's.
        message: what the client was told.
        what: "request" or "socket".
        fields: `request`, `address`, `path`, …
    """
    level = logging.WARNING if status >= 500 or status in _LOUD else logging.INFO
    line = _refusals.of((what, status, code))
    line.log(level, "refused a %s: %s", what, message, fields={"status": status, "code": code, **fields})


def closed(code: int, reason: object, **fields: object) -> None:
    """The edge has closed a socket with this code.

    Args:
        fields: `viewer`, `request`, `address`, …
    """
    if code in _QUIET_CLOSES:
        if _log.isEnabledFor(logging.DEBUG):
            _log.debug("closed a socket: %d %s", code, reason, extra=about(code=code, reason=reason, **fields))
        return
    level = logging.WARNING if code in (1011, 1013) else logging.INFO
    of = {"code": code, "reason": reason, **fields}
    _refusals.of(("close", code)).log(level, "closed a socket: %d %s", code, reason, fields=of)


def dropped(reason: str, **fields: object) -> None:
    """The edge has given a connection up, without a word to its client. `reason` is a sentence of ours."""
    line = _refusals.of(("dropped", reason))
    line.warning("dropped a connection: %s", reason, fields={"reason": reason, **fields})


def objected(code: str, message: object, **fields: object) -> None:
    """A socket was told an error, and stays open."""
    line = _refusals.of(("error", code))
    line.log(logging.INFO, "told a viewer: %s", message, fields={"code": code, **fields})


def code_in(body: bytes) -> str:
    """The code in the body of an error, which is ours; "http_error" for a body of another form."""
    if not body.startswith(_ERROR):
        return "http_error"
    end = body.find(b'"', len(_ERROR), len(_ERROR) + 64)
    return body[len(_ERROR) : end].decode("ascii", "replace") if end > 0 else "http_error"


class Message:
    """The message in the body of an error, read only when a line with it is written."""

    def __init__(self, body: bytes) -> None:
        self._body = body[:_MOST_BODY_BYTES]

    def __str__(self) -> str:
        try:
            return str(orjson.loads(self._body)["error"]["message"])
        except (ValueError, KeyError, TypeError):
            return self._plain()

    def _plain(self) -> str:
        try:
            text = self._body.decode("utf-8").strip()
        except UnicodeDecodeError:  # a page, compressed
            text = "<"
        return "with a page that says so" if text.startswith("<") else text or "no reason given"
