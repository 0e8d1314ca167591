"""The command `top`: a live view in a terminal, one table without, one JSON object for programs."""

from __future__ import annotations

import asyncio
import importlib.util
import sys
from collections.abc import Sequence
from typing import Final, NamedTuple

import orjson

from broker.contract.errors import TestcastError
from testcast.cli.terminal import Terminal
from testcast.cli.top import tables
from testcast.cli.top.overview import Overview, overview
from testcast.cli.top.scrapes import Quantile
from testcast.cli.top.source import Fetched, client, metrics_url
from testcast.client.errors import ConnectionLost
from testcast.exit_codes import EXIT_COMPLETED

_PIPE_WIDTH: Final = 140
"""Where the output goes to no terminal: every column."""


class TopRequest(NamedTuple):
    """The options of `top`."""

    urls: tuple[str, ...]
    every_s: float
    once: bool
    as_json: bool


class TextualMissing(TestcastError):
    """The package that draws the live view is not installed."""

    code = "textual_missing"


async def top(request: TopRequest, terminal: Terminal) -> int:
    """Shows the metrics of one or several addresses.

    Returns:
        0.

    Raises:
        BadInput: an address is none.
        ConnectionLost: no address has metrics; the message says why for each.
        TextualMissing: a live view is wanted, and cannot be drawn.
    """
    urls = [metrics_url(each) for each in dict.fromkeys(request.urls)]
    alive = not (request.once or request.as_json) and terminal.out.is_terminal and sys.stdin.isatty()
    if alive and importlib.util.find_spec("textual") is None:
        raise TextualMissing(
            "the live view needs textual: pip install 'testcast[top]' (`testcast top --once` goes without it)"
        )
    async with client(urls) as http:
        sources = [Fetched(url, http) for url in urls]
        await _update(sources)
        if all(each.source.error for each in sources):
            raise ConnectionLost("; ".join(f"{each.source.name}: {each.source.error}" for each in sources))
        if alive:
            from testcast.cli.top.app import live

            await live(sources, request.every_s)
            return EXIT_COMPLETED
        await asyncio.sleep(request.every_s)  # rates need a second look
        await _update(sources)
    view = overview([each.source for each in sources])
    if request.as_json:
        terminal.raw(orjson.dumps(as_json(view, sources)))
    else:
        if terminal.width is None:
            terminal.out.width = _PIPE_WIDTH  # which would be 80 else
        terminal.out.print(tables.whole(view, terminal.out.width))
    return EXIT_COMPLETED


async def _update(sources: Sequence[Fetched]) -> None:
    await asyncio.gather(*(each.update() for each in sources))


def as_json(view: Overview, sources: Sequence[Fetched]) -> dict[str, object]:
    """An overview for programs: names as in `Overview`, seconds and bytes as numbers, null for what is unknown."""
    plain = {name: _plain(value) for name, value in view._asdict().items() if name != "processes"}
    processes = [{name: _plain(value) for name, value in row._asdict().items()} for row in view.processes]
    pages = [{"name": each.source.name, "error": each.source.error or None} for each in sources]
    return {"sources": pages, **plain, "processes": processes}


def _plain(value: object) -> object:
    if isinstance(value, Quantile):
        return {"seconds": value.seconds, "beyond": value.beyond}
    return value
