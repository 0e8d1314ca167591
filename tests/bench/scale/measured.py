"""The parameters of the simulation: figures of BENCHMARKS.md, settings of the code, and what is assumed."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any, Final, NamedTuple

from testcast.client import backoff
from tests.bench.edges import Edge, EdgeOneByOne
from tests.bench.report import PAGE, TIMES
from ws_edge.config import EdgeConfig
from ws_edge.views import projector

_CONNECTION: Final = Path(__file__).parents[3] / "dashboard_ui" / "client" / "connection.js"


class Figure(NamedTuple):
    """A measured figure, and where it stands on the page."""

    value: float
    part: str
    row: str
    column: str


class NotMeasured(Exception):
    """BENCHMARKS.md does not have a figure that the simulation needs."""


def _cells(line: str) -> list[str]:
    return [cell.strip().replace(TIMES, "x") for cell in line.strip().strip("|").split("|")]


def number(cell: str) -> float:
    """Returns the (first) number in a cell, which may have thousands separators and a unit.

    Raises:
        NotMeasured: there is none.
    """
    found = re.search(r"[-\N{MINUS SIGN}]?\d[\d,]*(?:\.\d+)?", cell)
    if found is None:
        raise NotMeasured(f"no number in {cell!r}")
    return float(found[0].replace(",", "").replace("\N{MINUS SIGN}", "-"))


class Page:
    """BENCHMARKS.md, as tables by part."""

    def __init__(self, text: str) -> None:
        self._text = text

    def body(self, part: str) -> str:
        """Returns the text of a measured part, or of the section with this title."""
        begin, end = f"<!-- bench:{part} -->", f"<!-- /bench:{part} -->"
        if begin in self._text:
            return self._text.split(begin, 1)[1].split(end, 1)[0]
        found = re.search(rf"^## {re.escape(part)}\n(.*?)(?=^## |\Z)", self._text, re.MULTILINE | re.DOTALL)
        if found is None:
            raise NotMeasured(f"BENCHMARKS.md has no part {part!r}")
        return found[1]

    def figure(self, part: str, row: str, column: str, *, which: int = 0) -> Figure:
        """Returns the number in the row that begins with the cells `row` (joined by ` | `), below a column's heading.

        Args:
            which: for a cell with several numbers, `p50 / p99`.

        Raises:
            NotMeasured: there is no such cell.
        """
        wanted, head = row.split(" | "), [""]
        for line in self.body(part).splitlines():
            if not line.startswith("|"):
                head = [""]
            elif head == [""]:
                head = _cells(line)
            elif _cells(line)[: len(wanted)] == wanted and column in head:
                cell = _cells(line)[head.index(column)]
                return Figure(number(cell.split("/")[which]), part, row, column)
        raise NotMeasured(f"BENCHMARKS.md has no {column!r} of {row!r} in {part!r}")


class Measured(NamedTuple):
    """All figures; microseconds are processor time of one core unless a name says otherwise."""

    delivery_us: Figure
    """To one of 10,000 viewers, an event at a time, whatever it has in the processor's cache."""
    delivery_near_us: Figure
    """To one of 500 viewers."""
    event_us: Figure
    """What an event costs an edge besides its deliveries, its share of the projector included."""
    handshake_us: Figure
    token_us: Figure
    """A handshake with a token that this edge has not seen before."""
    join_us: Figure
    """A viewer that joins a run with 1,000 past events, handshake included."""
    poll_us: Figure
    poll_events_us: Figure
    poll_bytes: Figure
    connection_kb: Figure
    stored_us: Figure
    """What an event that nobody hears costs the broker."""
    heard_us: Figure
    """What an event that 512 edges hear costs the broker."""
    heard_bytes: Figure
    hub_us: Figure
    """What an event costs a hub whose edges are all at one leaf node."""
    leaf_us: Figure
    read_us: Figure
    """What a read of 20 events costs the broker."""
    folds_per_s: Figure
    """Snapshots that an edge makes, for less than half a core; more was not tried."""

    events_us: tuple[tuple[float, Figure], ...]
    """What an event costs an edge that has many runs of 10 viewers, deliveries included, by events a second."""
    many_stored_us: Figure
    many_heard_us: Figure
    """The same as `stored_us` and `heard_us`, with 64 edges, where events are many."""
    many_per_s: Figure

    def edge_us(self, messages_per_s: float) -> float:
        """What each message to an edge costs the broker, by the messages a second to that edge: many are joined."""
        slow = (self.heard_us.value - self.stored_us.value) / _EDGES
        fast = (self.many_heard_us.value - self.many_stored_us.value) / _FEW
        return between([(_SLOW_PER_S, slow), (self.many_per_s.value, fast)], messages_per_s)

    def store_us(self, per_s: float) -> float:
        """What storing an event costs the broker, by the events a second that it stores."""
        points = [(_SLOW_PER_S, self.stored_us.value), (self.many_per_s.value, self.many_stored_us.value)]
        return between(points, per_s)

    def event_us_at(self, per_s: float) -> float:
        """What an event costs an edge besides most of its deliveries, by the events a second that it hears."""
        points = [(_ONE_RUN_PER_S, self.event_us.value), *((rate, each.value) for rate, each in self.events_us)]
        return between(points, per_s)


def between(points: list[tuple[float, float]], at: float) -> float:
    """Returns the value at a rate: on a line over the logarithm of the rate, and level outside of what was measured."""
    below = [point for point in points if point[0] <= at]
    above = [point for point in points if point[0] > at]
    if not below or not above:
        return (below or above)[-1 if below else 0][1]
    (low, of_low), (high, of_high) = below[-1], above[0]
    return of_low + (of_high - of_low) * math.log(at / low) / math.log(high / low)


_EDGES: Final = 512
_FEW: Final = 64
_SLOW_PER_S: Final = 200.0
_ONE_RUN_PER_S: Final = 100.0
_RATES: Final = (1_000, 2_000, 4_000, 6_000, 8_000, 12_000, 16_000)
_ONE: Final = "processor time an event, µs"


def read(page: Path = PAGE) -> Measured:
    """Returns the figures of BENCHMARKS.md.

    Raises:
        NotMeasured: one is not there.
    """
    at = Page(page.read_text("utf-8"))
    note = re.search(r"A read of 20 events of a run costs one node ([\d,.]+)", at.body("broker"))
    if note is None:
        raise NotMeasured("BENCHMARKS.md does not say what a read costs the broker")
    edge = EdgeOneByOne.name
    return Measured(
        delivery_us=at.figure("peers", edge, "10,000 x 4/s"),
        delivery_near_us=at.figure("peers", edge, "500 x 100/s"),
        event_us=at.figure("growth", "1 | 1", "CPU an event, µs"),
        handshake_us=at.figure("peers", edge, "handshake, µs"),
        token_us=at.figure("access", "a handshake, new token, key known", "with tokens, µs"),
        join_us=Figure(_only_row(at, "join", "edge's CPU a viewer, µs"), "join", "", "edge's CPU a viewer, µs"),
        poll_us=at.figure("polls", "`listTests`, 304", "CPU, µs"),
        poll_events_us=at.figure("answers", "`getEvents`, 20 events", "CPU, µs"),
        poll_bytes=at.figure("answers", "`listTests` of 50 runs, whole", "bytes"),
        connection_kb=at.figure("peers", edge, "KB a connection"),
        stored_us=at.figure("broker", "one node | 0", _ONE),
        heard_us=at.figure("broker", f"one node | {_EDGES}", _ONE),
        heard_bytes=at.figure("broker", f"one node | {_EDGES}", "bytes to each edge"),
        hub_us=at.figure("broker", "the hub, all edges at one leaf node", _ONE),
        leaf_us=at.figure("broker", "the leaf node, all edges at one leaf node", _ONE),
        events_us=tuple((rate, at.figure("topics", f"{rate:,}", "µs an event")) for rate in _RATES),
        many_stored_us=at.figure("broker", "one node, many events | 0", _ONE),
        many_heard_us=at.figure("broker", f"one node, many events | {_FEW}", _ONE),
        many_per_s=at.figure("broker", f"one node, many events | {_FEW}", "events a second"),
        read_us=Figure(number(note[1]), "broker", "a read of 20 events", "µs"),
        folds_per_s=at.figure("projector", Edge.name, "snapshots/s"),
    )


def _only_row(page: Page, part: str, column: str) -> float:
    lines = [_cells(line) for line in page.body(part).splitlines() if line.startswith("|")]
    return number(lines[2][lines[0].index(column)])


def _connect_s() -> float:
    found = re.search(r"CONNECT_MS = ([\d_]+)", _CONNECTION.read_text("utf-8"))
    assert found is not None, "connection.js does not say how long it waits for a socket"
    return int(found[1]) / 1000


_CONFIG: Final = EdgeConfig()
SETTINGS: Final[dict[str, float]] = {
    "sockets a process takes (`TESTCAST_EDGE_MAX_SOCKETS`)": _CONFIG.max_sockets,
    "handshakes a second a process takes, twice as many at once": _CONFIG.handshakes_per_s,
    "seconds between messages of progress of a run (`TESTCAST_EDGE_PROGRESS_INTERVAL_S`)": _CONFIG.progress_interval_s,
    "seconds of a drain": _CONFIG.drain_s,
    "seconds a page waits for a socket": _connect_s(),
    "seconds between polls of a page": backoff.POLL_EVERY_S,
    "seconds between two folds of a run": projector._REST_S,
}
"""What the code says, by what it is."""
MAX_SOCKETS, HANDSHAKES_PER_S, PROGRESS_S, DRAIN_S, CONNECT_S, POLL_S, FOLD_S = SETTINGS.values()


class Assumed(NamedTuple):
    """What is not measured, and taken to be so."""

    busy: float = 0.6
    """Share of a core that an installation is planned to use: the rest is for what comes at once."""
    fill: float = 0.7
    """Share of the sockets a process takes that it has in ordinary times: it must take those of others that fail."""
    broker_cores: int = 16
    """Of one nats-server. That its work spreads evenly over them was not tried."""
    network_bytes_per_s: float = 1.25e9
    """What one server of the broker sends: 10 Gbit/s."""
    start_s: float = 5.0
    """From an edge's start to its first viewer, in a deployment."""


ASSUMED: Final = Assumed()


def described(measured: Measured) -> list[list[str]]:
    """Returns the rows of a table: parameter, value, where it stands."""
    rows = []
    figures = {**measured._asdict(), **{f"event at {rate:,.0f}/s_us": each for rate, each in measured.events_us}}
    for name, figure in figures.items():
        if not isinstance(figure, Figure):
            continue
        what = name.replace("_us", ", µs").replace("_kb", ", KB").replace("_", " ")
        row = f", {figure.row.replace(' | ', ', ')}" if figure.row else ""
        rows.append([what, f"{figure.value:,g}", f"{figure.part}{row}: {figure.column}"])
    return rows


def as_json(measured: Measured) -> dict[str, Any]:
    """Returns all parameters, for a machine."""
    figures = {name: each._asdict() for name, each in measured._asdict().items() if isinstance(each, Figure)}
    figures |= {f"event_us at {rate:g}/s": each._asdict() for rate, each in measured.events_us}
    return {"measured": figures, "settings": SETTINGS, "assumed": ASSUMED._asdict()}
