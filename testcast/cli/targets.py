"""Reads what a person types for a run or a game. Pure."""

from __future__ import annotations

import re
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from broker.contract.errors import BadInput, InvalidTestId
from testcast.client.address import SCHEME, edge_url

LAST: Final = "last"
"""Names the newest run."""
_ALL: Final = "all"
_PAGES: Final = "/tests"
"""The page of a run is `<edge>/tests/<id>`."""
_LOCAL = re.compile(r"localhost\b|\d+\.\d+\.\d+\.\d+\b|\[", re.IGNORECASE)
_UUID_GROUPS: Final = (8, 4, 4, 4, 12)
_BEGINNING = re.compile(
    "[0-9a-f]{1,8}|" + "|".join(
        "-".join(f"[0-9a-f]{{{chars}}}" for chars in _UUID_GROUPS[:group]) + f"-[0-9a-f]{{0,{_UUID_GROUPS[group]}}}"
        for group in range(1, len(_UUID_GROUPS))
    ),
    re.ASCII,
)  # fmt: skip


class InvalidRunName(InvalidTestId):
    """What was typed for a run is no test id, no beginning of one and no other name of a run."""

    def __init__(self, given: str) -> None:
        shown = repr(given) if len(given) <= 80 else f"{given[:77]!r}..."
        message = f"{shown} is not a test id: expected one, the beginning of one, `{LAST}`, or a page of the dashboard"
        BadInput.__init__(self, message)


class Target(NamedTuple):
    """Which run is meant, and where."""

    run: str | None
    """A test id, the beginning of one, or `LAST`. None: all runs."""
    edge: str | None
    """The edge's address, None: over NATS."""


def run_name(given: str) -> str:
    """Reads a test id, the beginning of one, or `last`; in any case.

    Raises:
        InvalidRunName: it is none of these.
    """
    name = given.strip().lower()
    if name == LAST or _BEGINNING.fullmatch(name):
        return name
    raise InvalidRunName(given)


def parse_target(given: str | None, edge: str | None) -> Target:
    """Reads the argument of `tail`: a run as `run_name` reads it, "all" or nothing, or an address of the dashboard.

    Raises:
        BadInput: it is none of these, or it names another edge than `edge`.
    """
    chosen = None if edge is None else edge_url(edge)
    if given is None or given.strip().lower() == _ALL:
        return Target(None, chosen)
    if "://" not in given:
        return Target(run_name(given), chosen)
    address = urlsplit(given.strip())
    # The dashboard may be below a path: what is in front of `/tests/<id>` belongs to the edge's address.
    path = address.path.rstrip("/")
    above, page, named = path.rpartition("/tests/")
    run = run_name(named) if page and "/" not in named else None
    try:
        if run is None and path and (path.endswith(_PAGES) or not address.path.endswith("/")):
            raise BadInput("the list of a dashboard below a path has a slash at its end")
        named_edge = edge_url(f"{address.scheme}://{address.netloc}{path if run is None else above}")
    except BadInput:
        raise BadInput(
            f"{given} is not a page of the dashboard: expected http://host:port/, with its path if it has one, "
            "or http://host:port/tests/<id>"
        ) from None
    if chosen not in (None, named_edge):
        raise BadInput(f"{given} and --edge {chosen} name two edges: leave one out")
    return Target(run, named_edge)


def parse_run(given: str, edge: str | None) -> tuple[str, str | None]:
    """Like `parse_target`, for a command about one run.

    Returns:
        The run's name, and the edge's address or None.

    Raises:
        BadInput: it names no single run.
    """
    target = parse_target(given, edge)
    if target.run is None:
        raise BadInput(f"{given} names no run: expected a test id, the beginning of one, or `{LAST}`")
    return target.run, target.edge


def complete_game_url(given: str) -> str:
    """Returns a game's address with a scheme. The default is https, and http for `localhost` and bare IP addresses.

    The address is not checked here; `broker.contract.url_policy` does that.
    """
    text = given.strip()
    if not text or SCHEME.match(text):
        return text
    return f"http://{text}" if _LOCAL.match(text) else f"https://{text}"
