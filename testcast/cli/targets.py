"""Reads what a person types for a run or a game. Pure."""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import urlsplit

from broker.contract.errors import BadInput
from broker.contract.ids import parse_test_id
from testcast.client.address import SCHEME, edge_url

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
        BadInput: it is none of these, or it names another edge than `edge`.
    """
    chosen = None if edge is None else edge_url(edge)
    if given is None or given == "all":
        return Target(None, chosen)
    if "://" not in given:
        return Target(parse_test_id(given), chosen)
    address = urlsplit(given)
    # The dashboard may be below a path: what is in front of `/tests/<id>` belongs to the edge's address.
    path = address.path.rstrip("/")
    above, page, named = path.rpartition("/tests/")
    test_id = parse_test_id(named) if page and "/" not in named else None
    try:
        if test_id is None and path and not address.path.endswith("/"):
            raise BadInput("the list of a dashboard below a path has a slash at its end")
        named_edge = edge_url(f"{address.scheme}://{address.netloc}{path if test_id is None else above}")
    except BadInput:
        raise BadInput(
            f"{given} is not a page of the dashboard: expected http://host:port/, with its path if it has one, "
            "or http://host:port/tests/<id>"
        ) from None
    if chosen not in (None, named_edge):
        raise BadInput(f"{given} and --edge {chosen} name two edges: leave one out")
    return Target(test_id, named_edge)


def complete_game_url(given: str) -> str:
    """Returns a game's address with a scheme. The default is https, and http for `localhost` and bare IP addresses.

    The address is not checked here; `broker.contract.url_policy` does that.
    """
    text = given.strip()
    if not text or SCHEME.match(text):
        return text
    return f"http://{text}" if _LOCAL.match(text) else f"https://{text}"
