"""The list as lines of text: which columns there is room for, and a run in these columns. Pure."""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

from rich.text import Text

from broker.contract.labels import as_texts
from broker.contract.snapshot import ListStatus, Snapshot
from broker.export.findings import report_of
from testcast.cli.moments import ago, duration
from testcast.cli.report_lines import findings_text
from testcast.cli.text import printable

Column = Literal["STATUS", "PHASE", "SCORE", "TIME", "WHEN", "TEST ID"]

_WIDTHS: Final[dict[Column, int]] = {"STATUS": 9, "PHASE": 5, "SCORE": 5, "TIME": 7, "WHEN": 8, "TEST ID": 36}
_ALIGNED_RIGHT: Final = ("SCORE", "TIME", "WHEN")
_MIN_TITLE_CELLS: Final = 14
_STYLES: Final[dict[ListStatus, str]] = {
    "queued": "bright_black",
    "running": "bold blue",
    "completed": "green",
    "failed": "red",
    "cancelled": "yellow",
}


class Layout(NamedTuple):
    """How a run is shown."""

    columns: tuple[Column, ...]
    """Before the title."""
    below: bool
    """The id is on a line of its own below."""


_ALL: Final = Layout(("STATUS", "PHASE", "SCORE", "TIME", "WHEN", "TEST ID"), False)
_LAYOUTS: Final = (
    _ALL,
    Layout(("STATUS", "PHASE", "SCORE", "WHEN", "TEST ID"), False),
    Layout(("STATUS", "SCORE", "WHEN", "TEST ID"), False),
    Layout(("STATUS", "SCORE", "WHEN"), True),
)


def layout_for(width: int | None) -> Layout:
    """The layout with the most columns that leaves room for a title.

    Args:
        width: of the terminal, in cells. None: there is no terminal, and nothing is left out.
    """
    if width is None:
        return _ALL
    for layout in _LAYOUTS:
        if sum(_WIDTHS[each] + 2 for each in layout.columns) + _MIN_TITLE_CELLS <= width:
            return layout
    return _LAYOUTS[-1]


def header(layout: Layout) -> str:
    """The line above the runs."""
    return "".join(f"{_padded(each, each)}  " for each in layout.columns) + "TITLE"


def status_word(run: Snapshot) -> str:
    """The run's status as the list shows it."""
    return "stalled" if run.stalled else run.list_status


def row(run: Snapshot, now: int, layout: Layout = _ALL) -> list[Text]:
    """A run as one line, or two, in the columns of the header.

    Args:
        now: the current time, ms since 1970.
    """
    phase = int(run.phase[-1]) if run.phase else 0
    began = run.started_at or run.created_at
    values: dict[Column, str] = {
        "STATUS": status_word(run),
        "PHASE": f"{phase}/4" if phase else "",
        "SCORE": "" if run.score is None else f"{run.score:.4g}",
        "TIME": duration((run.finished_at or now) - began) if began else "-",
        "WHEN": ago(run.created_at, now),
        "TEST ID": run.test_id,
    }
    styles = {"STATUS": "yellow" if run.stalled else _STYLES[run.list_status], "TEST ID": "bright_black"}
    line = Text()
    for each in layout.columns:
        line.append(_padded(each, values[each]), style=styles.get(each))
        line.append("  ")
    line.append(printable(run.title))
    if run.labels:
        line.append(f"  {printable(' '.join(as_texts(run.labels)))}", style="cyan")
    if run.pinned:
        line.append("  (pinned)", style="bold")
    line.append(f"  {_remark(run)}", style="bright_black")
    line.rstrip()
    return [line, Text(f"  {run.test_id}", style="bright_black")] if layout.below else [line]


def _remark(run: Snapshot) -> str:
    if run.status == "queued" and run.no_agent:
        return "no agent is running"
    if run.status == "queued" and run.queue_place:
        return "next in the queue" if run.queue_place == 1 else f"number {run.queue_place} in the queue"
    found = findings_text(report_of(run.metrics))
    return printable(run.message) + (f" · {found}" if found else "")


def _padded(column: Column, text: str) -> str:
    width = _WIDTHS[column]
    return f"{text:>{width}}" if column in _ALIGNED_RIGHT else f"{text:{width}}"
