"""The live view: fetches all sources again and again, and shows what they say. The only file that knows Textual."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime
from typing import ClassVar, Final

from rich.table import Table
from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.events import Resize
from textual.screen import ModalScreen
from textual.widgets import Static

from testcast.cli.top import tables
from testcast.cli.top.overview import SORTS, overview
from testcast.cli.top.scrapes import QUANTILE_S, RATE_S
from testcast.cli.top.source import Fetched

_KEYS: Final = (("q", "quit"), ("p", "pause"), ("s", "sort"), ("?", "help"))
_HELP: Final = f"""\
RUNS, QUEUE   the whole installation, as any edge tells it
PER SECOND    the last {RATE_S:.0f} s, over all edges
LAG           the last {QUANTILE_S:.0f} s, estimated from histograms:
              send: from storing an event to its first write
              pub-sub: from storing it to an edge
              canary: a probe of each edge, all the way
VIEWERS       live: get events as they come
              behind: catch up, at their own pace
AGENTS        outbox: events that are not stored yet
—             no page has this figure, or not yet

Processes on one page share its rates, its p99 and its cpu.

q quit  p pause  s sort  ↑ ↓ scroll  ? or Esc closes this
"""


class Help(ModalScreen[None]):
    """What the figures mean."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,question_mark,q,enter", "dismiss", "close"),
    ]
    CSS = """
    Help { align: center middle; }
    Help > VerticalScroll {
        width: 66; max-width: 100%; height: auto; max-height: 100%; padding: 1 2; border: round ansi_default;
        background: ansi_default;
    }
    """

    def compose(self) -> ComposeResult:
        """One text."""
        with VerticalScroll():
            yield Static(Text(_HELP))


class TopApp(App[None]):
    """Shows sources until the user leaves.

    Args:
        sources: what to fetch; one that is away does not disturb the others.
        every_s: seconds between two pages of a source, and between two pictures.
    """

    TITLE = "testcast top"
    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q", "quit", "quit"),
        Binding("ctrl+c", "quit", show=False, priority=True),
        Binding("p", "pause", "pause"),
        Binding("s", "sort", "sort"),
        Binding("question_mark,h", "help", "help"),
    ]
    CSS = """
    Screen { background: ansi_default; color: ansi_default; }
    #head { height: 1; }
    #foot { height: 1; }
    #scroll { height: 1fr; padding: 1 0 0 0; scrollbar-size-vertical: 1; background: ansi_default; }
    #body { height: auto; background: ansi_default; }
    """

    def __init__(self, sources: Sequence[Fetched], every_s: float) -> None:
        super().__init__(ansi_color=True)  # the terminal's own colours, whether it is light or dark
        self._sources = sources
        self._every_s = every_s
        self.paused = False
        self.sort = SORTS[0]
        self._laid_out = False

    def compose(self) -> ComposeResult:
        """A line at the top, one at the bottom, and what scrolls between them."""
        yield Static(id="head")
        with VerticalScroll(id="scroll"):
            yield Static(id="body")
        yield Static(id="foot")

    def on_mount(self) -> None:
        """Starts fetching."""
        for each in self._sources:
            self.run_worker(self._fetch(each), exit_on_error=True)
        self.set_interval(self._every_s, self._tick)
        self.query_one("#scroll").focus()
        self._laid_out = True
        self.show()

    async def _fetch(self, source: Fetched) -> None:
        """Keeps a source up to date, however long each answer takes."""
        clock = asyncio.get_running_loop().time
        while True:
            next_at = clock() + self._every_s
            if not self.paused:
                await source.update()
            await asyncio.sleep(max(self._every_s / 10, next_at - clock()))

    def _tick(self) -> None:
        if not self.paused:
            self.show()

    def on_resize(self, _event: Resize) -> None:
        """Lays everything out anew."""
        self.show()

    def show(self) -> None:
        """Shows what is known now."""
        if not self._laid_out or len(self.screen_stack) > 1:
            return
        width = max(20, self.size.width - 1)
        view = overview([each.source for each in self._sources])
        self.query_one("#head", Static).update(self._head(width))
        self.query_one("#body", Static).update(tables.whole(view, width - 1, self.sort))
        self.query_one("#foot", Static).update(self._foot())

    def _head(self, width: int) -> Table:
        names = ", ".join(each.source.name for each in self._sources)
        line = Table.grid(expand=True)
        line.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
        line.add_column(justify="right", no_wrap=True)
        now = f"{datetime.now().astimezone():%H:%M:%S}"
        right = f"{now}  every {self._every_s:g} s" if width >= tables.NARROW else now
        state = Text("PAUSED", style="reverse bold") if self.paused else Text(right, style="dim")
        line.add_row(Text.assemble(("testcast top", "bold"), "  ", names), state)
        return line

    def _foot(self) -> Text:
        foot = Text()
        for key, what in _KEYS:
            sort = "sort" if self.size.width < tables.NARROW else f"sort: {self.sort}"
            shown = {"pause": "go on" if self.paused else "pause", "sort": sort}.get(what, what)
            foot.append_text(Text.assemble((f" {key} ", "bold"), (f"{shown}  ", "dim")))
        return foot

    def action_pause(self) -> None:
        """Stops fetching and showing, or goes on."""
        self.paused = not self.paused
        self.show()

    def action_sort(self) -> None:
        """Sorts the table by the next column."""
        self.sort = SORTS[(SORTS.index(self.sort) + 1) % len(SORTS)]
        self.show()

    def action_help(self) -> None:
        """Says what the figures mean."""
        self.push_screen(Help(), lambda _: self.show())


async def live(sources: Sequence[Fetched], every_s: float) -> None:
    """Shows the sources on the terminal until the user leaves."""
    await TopApp(sources, every_s).run_async()
