"""Shows an overview as text, for a terminal of any width, light or dark.

Words keep the terminal's own colour. Colour is only in marks and in what is amiss, and nothing is said by colour alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from testcast.cli.text import printable
from testcast.cli.top import words
from testcast.cli.top.overview import STATUSES, Health, Overview, Process, in_order

NARROW: Final = 60
"""Below this width there are no blocks side by side."""
_BLOCK: Final = 20
"""Cells of a block at least, the space after it included."""
_WIDEST_BLOCK: Final = 30
_GAP: Final = 3
_MOST_PROBLEMS: Final = 8
_MARKS: Final[dict[Health, tuple[str, str]]] = {
    "well": ("●", "green"),
    "degraded": ("▲", "yellow"),
    "down": ("✗", "red"),
    "unknown": ("○", ""),
}
_PLAIN: Final = Console(color_system=None)
"""Measures text."""
_TITLE: Final = "bold"
_LABEL: Final = "dim"

Pair = tuple[str, str]


class _Block(NamedTuple):
    title: str
    pairs: Sequence[Pair]


class _Column(NamedTuple):
    title: str
    width: int
    rank: int
    """The lower, the narrower the terminal on which it is still shown."""
    cell: Callable[[Process], str]
    sort: str = ""


_COLUMNS: Final = (
    _Column("sockets", 8, 1, lambda row: words.count(row.sockets), "sockets"),
    _Column("live", 7, 6, lambda row: words.count(row.live)),
    _Column("behind", 7, 4, lambda row: words.count(row.behind)),
    _Column("events/s", 9, 7, lambda row: words.rate(row.events_per_s)),
    _Column("deliv/s", 8, 3, lambda row: words.rate(row.deliveries_per_s), "deliveries"),
    _Column("sent/s", 9, 10, lambda row: words.size(row.sent_bytes_per_s)),
    _Column("p99", 8, 5, lambda row: words.latency(row.p99)),
    _Column("plays", 6, 2, lambda row: words.of(row.playing, row.slots)),
    _Column("outbox", 7, 8, lambda row: words.count(row.outbox)),
    _Column("cpu", 7, 9, lambda row: words.share(row.cpu)),
    _Column("memory", 9, 9, lambda row: words.size(row.memory_bytes), "memory"),
)


def whole(view: Overview, width: int, sort: str = "name") -> RenderableType:
    """Everything, in lines of at most `width` cells."""
    return Group(summary(view, width), Text(), problems(view, width), Text(), table(view.processes, width, sort))


def summary(view: Overview, width: int) -> RenderableType:
    """The figures of the whole, in blocks that stand side by side where there is room."""
    blocks = _blocks(view)
    if width < NARROW:
        lines = [_line(block) for block in blocks]
        return Text("\n").join(line for block in lines for line in block.wrap(_PLAIN, width))
    abreast = max(1, min(len(blocks), (width + _GAP) // _BLOCK))
    cells_wide = min(_WIDEST_BLOCK, (width + _GAP) // abreast)
    grid = Table.grid(padding=0)
    for _ in range(abreast):
        grid.add_column(width=cells_wide, no_wrap=True)
    rows = [blocks[start : start + abreast] for start in range(0, len(blocks), abreast)]
    for number, row in enumerate(rows):
        if number:
            grid.add_row()
        cells = [_stacked(block, cells_wide - _GAP) for block in row]
        grid.add_row(*cells, *[""] * (abreast - len(cells)))
    return grid


def _blocks(view: Overview) -> list[_Block]:
    return [
        _Block("RUNS", [(status, words.count(view.runs.get(status))) for status in STATUSES]),
        _Block(
            "PER SECOND",
            [
                ("events", words.rate(view.events_per_s)),
                ("deliveries", words.rate(view.deliveries_per_s)),
                ("sent", words.size(view.sent_bytes_per_s)),
                ("handshakes", words.rate(view.handshakes_per_s)),
            ],
        ),
        _Block(
            "LAG",
            [
                ("send p50", words.latency(view.send_p50)),
                ("send p99", words.latency(view.send_p99)),
                ("pub-sub p99", words.latency(view.pubsub_p99)),
                ("canary p99", words.latency(view.canary_p99)),
                ("canary age", words.seconds(view.canary_age_s)),
            ],
        ),
        _Block(
            "VIEWERS",
            [
                ("live", words.count(view.live)),
                ("behind", words.count(view.behind)),
                ("oldest behind", words.seconds(view.oldest_behind_s)),
                ("sockets", words.count(view.sockets)),
            ],
        ),
        _Block(
            "QUEUE, AGENTS",
            [
                ("jobs", words.count(view.queue)),
                ("oldest job", words.seconds(view.queue_oldest_s)),
                ("agents", words.count(view.agents)),
                ("playing", words.of(view.playing, view.slots)),
                ("outbox", words.count(view.outbox)),
            ],
        ),
    ]


def _stacked(block: _Block, width: int) -> Text:
    """A title, and below it labels on the left and values on the right."""
    text = Text.assemble((block.title, _TITLE))
    for label, value in block.pairs:
        space = " " * max(1, width - len(label) - len(value))
        text.append_text(Text.assemble("\n", (label, _LABEL), space, value))
    return text


def _line(block: _Block) -> Text:
    """A block as running text, in which a label stays with its value."""
    text = Text.assemble((block.title.capitalize(), _TITLE))
    for label, value in block.pairs:
        front, back = (each.replace(" ", "\N{NO-BREAK SPACE}") for each in (f"{label} ", value))
        text.append_text(Text.assemble("  ", (front, _LABEL), back))
    return text


def problems(view: Overview, width: int) -> Text:
    """What is amiss, one line each; else that nothing is."""
    known = any(row.health in ("well", "degraded") for row in view.processes)
    if not view.problems:
        words_ = "nothing amiss" if known else "waiting for an answer"
        return Text.assemble(_mark("well" if known else "unknown"), " ", words_)
    shown = list(view.problems[:_MOST_PROBLEMS])
    if (more := len(view.problems) - len(shown)) > 0:
        shown.append(f"and {more} more")
    text = Text("\n")
    return text.join(_indented(each, width) for each in shown)


def _indented(problem: str, width: int) -> Text:
    wrapped = Text(printable(problem)).wrap(_PLAIN, max(10, width - 2))
    return Text.assemble(_mark("degraded"), " ", Text("\n  ").join(wrapped))


def table(processes: Sequence[Process], width: int, sort: str = "name") -> Table:
    """A line for each source and each of its processes, with as many columns as there is room for."""
    rows = in_order(processes, sort)
    names = max((len(row.name) + (0 if row.source else 2) for row in rows), default=0)
    states = max((len(row.state) for row in rows), default=0)
    name_width = min(max(8, names) + 2, max(16, width // 3))
    state_width = min(max(6, states) + 4, max(14, width // 5))
    columns = _that_fit(width - name_width - state_width)
    shown = Table(box=None, padding=(0, 0), pad_edge=False, show_edge=False, header_style="dim", collapse_padding=True)
    shown.add_column(_heading("process", sort == "name"), width=name_width, no_wrap=True, overflow="ellipsis")
    shown.add_column(_heading("state", sort == "state"), width=state_width, no_wrap=True, overflow="ellipsis")
    for column in columns:
        title = _heading(column.title, bool(column.sort) and column.sort == sort)
        shown.add_column(title, width=column.width, justify="right", no_wrap=True)
    for row in rows:
        name = Text(printable(row.name), style="bold") if row.source else Text(f"  {printable(row.name)}")
        state = Text.assemble(_mark(row.health), " ", row.state)
        shown.add_row(name, state, *(_cell(column.cell(row)) for column in columns))
    return shown


def _cell(value: str) -> Text:
    return Text(value, style=_LABEL if value == words.UNKNOWN else "")


def _that_fit(width: int) -> list[_Column]:
    chosen: set[str] = set()
    for column in sorted(_COLUMNS, key=lambda each: each.rank):
        if column.width > width:
            break
        width -= column.width
        chosen.add(column.title)
    return [column for column in _COLUMNS if column.title in chosen]


def _heading(title: str, sorted_by: bool) -> str:
    return f"{title}▾" if sorted_by else title


def _mark(health: Health) -> tuple[str, str]:
    return _MARKS[health]
