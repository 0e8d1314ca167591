"""What a person may type where a run, an edge or a game is wanted. Pure."""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import urlsplit

from broker.contract.errors import BadInput
from broker.contract.ids import parse_test_id

_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*:(?!\d)", re.IGNORECASE)
_LOCAL = re.compile(r"localhost\b|\d+\.\d+\.\d+\.\d+\b|\[", re.IGNORECASE)


class Target(NamedTuple):
    """What to follow."""

    test_id: str | None
    """None: all runs."""
    edge: str | None
    """The edge's address, None: over NATS."""


def parse_target(given: str | None, edge: str | None) -> Target:
    """Reads the argument of `tail`: a test id, "all" or nothing, or an address of the dashboard.

    Raises:
        BadInput: it is none of these, or names another edge than `edge` does.
    """
    chosen = None if edge is None else edge_url(edge)
    if given is None or given == "all":
        return Target(None, chosen)
    if "://" not in given:
        return Target(parse_test_id(given), chosen)
    address = urlsplit(given)
    match address.path.strip("/").split("/"):
        case [""]:
            test_id = None
        case ["tests", named]:
            test_id = parse_test_id(named)
        case _:
            raise BadInput(
                f"{given} is no page of a dashboard: expected http://host:port/ or http://host:port/tests/<id>"
            )
    named_edge = edge_url(f"{address.scheme}://{address.netloc}")
    if chosen not in (None, named_edge):
        raise BadInput(f"{given} and --edge {chosen} name two edges: leave one out")
    return Target(test_id, named_edge)


def edge_url(given: str) -> str:
    """The address of an edge, `http(s)://host[:port]`, without a slash at its end.

    Raises:
        BadInput: it is none.
    """
    text = given.strip()
    if not _SCHEME.match(text):
        text = f"http://{text}"
    try:
        address = urlsplit(text)
        port = address.port
    except ValueError as error:
        raise BadInput(f"{given!r} is no address of an edge: {error}") from None
    if address.scheme not in ("http", "https") or not address.hostname or port == 0:
        raise BadInput(f"{given!r} is no address of an edge: expected one like http://127.0.0.1:8000")
    if address.path.strip("/") or address.query or address.fragment:
        raise BadInput(f"{given!r} is no address of an edge: expected no more than http://{address.netloc}")
    return f"{address.scheme}://{address.netloc}"


def is_local(url: str) -> bool:
    """Whether `url` leads to this machine: no proxy stands between."""
    host = urlsplit(url).hostname or ""
    return host in ("localhost", "::1") or host.startswith("127.")


def complete_game_url(given: str) -> str:
    """A game's address as typed: without a scheme it is taken for https, on this machine or a bare IPv4 for http.

    Whether it is a good one is judged elsewhere (`broker.gameurl`).
    """
    text = given.strip()
    if not text or _SCHEME.match(text):
        return text
    return f"http://{text}" if _LOCAL.match(text) else f"https://{text}"
