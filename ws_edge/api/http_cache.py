"""What caches may keep, and whether a client already has the answer (RFC 9111, 5.2; RFC 9110, 13.1.2). Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

_PROOFS: Final = ("authorization", "cookie")
"""What proves who asks. A browser that somebody else uses next has their answers in its cache."""
_MEMBER: Final = re.compile(rb'[ \t]*+(?:(?:W/)?("[\x21\x23-\x7e\x80-\xff]*+"))?[ \t]*+(?:,|\Z)')
"""One member of a list of entity tags, with the comma behind it. Empty members are legal (RFC 9110, 5.6.1.2)."""
KEPT_S: Final = 7 * 24 * 3600
"""How long a cache may keep what never changes: as long as the stream does, unless an operator has set another time."""


def matches(if_none_match: str | bytes, etag: str | bytes) -> bool:
    """Whether a precondition names the current answer, which is then 304.

    The comparison is weak: `W/"a"` and `"a"` are the same tag.

    Args:
        if_none_match: the field's value: a list of entity tags, or `*`. Empty when the request has no such field. A
            malformed value matches nothing: the client then receives the whole answer.
        etag: the entity tag of the current answer, with its quotes, weak or strong.
    """
    if not if_none_match:
        return False
    if if_none_match == etag:  # what nearly every poll sends
        return True
    given, current = _encoded(if_none_match), _encoded(etag).removeprefix(b"W/")
    if given.strip(b" \t") == b"*":
        return True
    found, position = False, 0
    while position < len(given):
        member = _MEMBER.match(given, position)
        if member is None:
            return False
        found = found or member[1] == current
        position = member.end()
    return found


def kept(max_age_s: int | None, *, immutable: bool = False, shared: bool, vary: Iterable[str] = ()) -> dict[str, str]:
    """The headers that say who may keep an answer, for how long and for which requests.

    Args:
        max_age_s: None: nobody may.
        immutable: within this time it is not even asked for again.
        shared: everybody gets the same answer. Otherwise it is for requests with the same proof alone.
        vary: other fields of a request that its answer depends on.
    """
    fields = [*vary, *(() if shared else _PROOFS)]
    headers = {"vary": ", ".join(fields)} if fields else {}
    if max_age_s is None:
        return headers | {"cache-control": "no-store"}
    control = f"{'public' if shared else 'private'}, max-age={max_age_s}{', immutable' if immutable else ''}"
    return headers | {"cache-control": control}


def if_none_match(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """The value of `If-None-Match`, its lines joined by commas (RFC 9110, 5.3); empty when there is none.

    Args:
        headers: the request's, as ASGI has them: names in lower case.
    """
    return b",".join([value for name, value in headers if name == b"if-none-match"])


def _encoded(value: str | bytes) -> bytes:
    return value if isinstance(value, bytes) else value.encode("latin-1", "replace")
