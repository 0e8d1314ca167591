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
    match address.path.strip("/").split("/"):
        case [""]:
            test_id = None
        case ["tests", named]:
            test_id = parse_test_id(named)
        case _:
            raise BadInput(
                f"{given} is not a page of the dashboard: expected http://host:port/ or http://host:port/tests/<id>"
            )
    named_edge = edge_url(f"{address.scheme}://{address.netloc}")
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
