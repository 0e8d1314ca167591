"""The output of the command: results on standard output, notes and errors on standard error.

On a terminal, lines are coloured and wrapped under their column. In a pipe, the same lines are plain and not wrapped.
"""

from __future__ import annotations

import atexit
import sys
from collections.abc import Iterable
from typing import Final, NoReturn

from rich.console import Console
from rich.text import Text

from broker.contract.snapshot import ListStatus
from testcast.cli import lines
from testcast.cli.lines import Kind, Line, Part
from testcast.cli.report_lines import Row
from testcast.cli.text import json_line, printable, printable_lines, uncommanding

_LABEL: Final[dict[Kind, str]] = {
    "day": "dim",
    "phase": "bold",
    "queued": "bright_black",
    "running": "bold blue",
    "progress": "bright_black",
    "output": "bright_black",
    "stderr": "yellow",
    "action": "cyan",
    "problem": "yellow",
    "error": "red",
    "completed": "bold green",
    "failed": "bold red",
    "cancelled": "bold yellow",
    "system": "magenta",
}
_TEXT: Final[dict[Kind, str]] = {"error": "red", "completed": "bold", "failed": "bold", "system": "magenta"}
_VERDICTS: Final[dict[ListStatus, tuple[str, str]]] = {
    "completed": ("✓", "bold green"),
    "cancelled": ("⊘", "bold yellow"),
}
_ID_CHARS: Final = 8
_MIN_TEXT_CHARS: Final = 24  # below this width a line is not indented


class _Console(Console):
    def on_broken_pipe(self) -> NoReturn:
        raise BrokenPipeError


class Terminal:
    """The command's standard output and standard error."""

    def __init__(self) -> None:
        self.out: Console = _Console(highlight=False, markup=False, emoji=False)
        self.err: Console = _Console(stderr=True, highlight=False, markup=False, emoji=False)
        self._pending = False
        atexit.register(self._clear)

    @property
    def width(self) -> int | None:
        """Cells of a line on the terminal that results go to; None where they go elsewhere."""
        return self.out.width if self.out.is_terminal else None

    @property
    def is_watched(self) -> bool:
        """Whether a person sees the notes, or the results."""
        return self.out.is_terminal or self.err.is_terminal

    def say(self, text: str | Text = "", style: str = "") -> None:
        """Prints a line of the result."""
        self._clear()
        self.out.print(_logged(text, self.out), style=style or None, soft_wrap=True)

    def command(self, line: str, *, to_notes: bool) -> None:
        """Prints a line that is meant for a CI system."""
        self._clear()
        (self.err if to_notes else self.out).print(line, soft_wrap=True)

    def note(self, text: str | Text, style: str = "bright_black") -> None:
        """Prints a line about the progress of the command, to standard error."""
        self._pending = self.err.is_terminal  # also removes the "^C" that a terminal prints
        self._clear()
        shown = printable_lines(text) if isinstance(text, str) else text
        self.err.print(_logged(shown, self.err), style=style, soft_wrap=True)

    def error(self, message: str) -> None:
        """Prints an error, to standard error."""
        self.note(Text.assemble(("error: ", "bold red"), printable_lines(message)), style="")

    def confirm(self, question: str) -> bool:
        """Asks a person, who answers y or n. Without a person to ask the answer is no."""
        if not (sys.stdin.isatty() and self.err.is_terminal):
            return False
        self._clear()
        self.err.file.write(f"{printable_lines(question)} [y/N] ")
        self.err.file.flush()
        return sys.stdin.readline().strip().lower() in ("y", "yes")

    def transient(self, text: str) -> None:
        """Prints a note that the next line replaces; on a terminal only."""
        if self.err.is_terminal:
            shown = printable(text)[: max(1, self.err.width - 1)]
            self.err.file.write(f"\r\x1b[2K\x1b[33m{shown}\x1b[0m" if self.err.color_system else f"\r\x1b[2K{shown}")
            self.err.file.flush()
            self._pending = True

    def _clear(self) -> None:
        if self._pending:
            self._pending = False
            self.err.file.write("\r\x1b[2K")
            self.err.file.flush()

    def raw(self, line: bytes) -> None:
        """Prints a JSON value, on one line whatever white space it has."""
        self._clear()
        sys.stdout.buffer.write(json_line(line) + b"\n")
        sys.stdout.buffer.flush()

    def line(self, line: Line, *, with_run: bool = False) -> None:
        """Prints a line of an event; `with_run` adds the id and the phase of the run."""
        if line.kind in ("phase", "day"):
            self._heading(line)
            return
        front = Text.assemble((line.time or " " * 8, "bright_black"))
        if with_run:
            front.append(f"  {(line.test_id or '')[:_ID_CHARS]:{_ID_CHARS}}", style="bright_black")
            front.append(f"  {f'{line.phase}/4' if line.phase else '':3}", style="bright_black")
        front.append(f"  {line.label:9}  ", style=_LABEL[line.kind])
        plain = Text(line.text, style=_TEXT.get(line.kind, ""))
        self.indented(front, Text.from_ansi(line.ansi) if line.ansi and self.out.is_terminal else plain)
        if line.detail:
            self.indented(Text(" " * front.cell_len), Text(line.detail, style="bright_black"))

    def _heading(self, line: Line) -> None:
        if not self.out.is_terminal:
            self.say(f"── {line.text}")
            return
        rule = Text.assemble(("── ", "bright_black"), (line.text, _LABEL[line.kind]), " ")
        rule.append("─" * max(0, min(self.out.width, 80) - rule.cell_len), style="bright_black")
        self.say()
        self.say(rule)

    def indented(self, front: Text, text: Text) -> None:
        """Prints `front` and then `text`, which a terminal wraps under its own column."""
        room = self.out.width - front.cell_len
        if not self.out.is_terminal or room < _MIN_TEXT_CHARS:
            self.say(front + text)
            return
        for number, each in enumerate(text.wrap(self.out, room) or [Text()]):
            self.say((front if number == 0 else Text(" " * front.cell_len)) + each)

    def verdict(
        self, how: ListStatus, words: str, score: float | None, parts: list[Part], report: Iterable[Row] = ()
    ) -> None:
        """Prints how a run ended: the parts of its score, what was found, then the verdict."""
        self.say()
        self.score(score, parts)
        rows = list(report)
        self.report(rows)
        if rows:
            self.say()
        mark, style = _VERDICTS.get(how, ("✗", "bold red"))
        self.say(Text.assemble((f"{mark} ", style), (words, style)))

    def report(self, rows: Iterable[Row]) -> None:
        """Prints the report of an agent."""
        for row in rows:
            front = Text.assemble("  ", (f"{row.label:8}", row.style), "  ")
            if row.heading:
                self.say()
                self.say(Text(row.text, style=row.style))
            elif row.whole:
                self.say(front + Text(row.text))
            else:
                self.indented(front, Text(row.text))

    def score(self, score: float | None, parts: list[Part]) -> None:
        """Prints a score and its parts."""
        if score is not None:
            self.say(Text.assemble(("Score  ", "bold"), (f"{score:g}/100", f"bold {_score_style(score / 100)}")))
        wide = max((len(each.part) for each in parts), default=0)
        for each in parts:
            share = each.score / each.max
            self.say(
                Text.assemble(
                    f"  {each.part:{wide}}  ",
                    (lines.bar(share), _score_style(share)),
                    f"  {each.score:g}/{each.max:g}",
                )
            )


def _logged(text: str | Text, console: Console) -> str | Text:
    """The text; where no person sees it, perhaps in a log of CI, without what strangers tell the system there."""
    given = text if isinstance(text, str) else text.plain
    if console.is_terminal or (shown := uncommanding(given)) == given:
        return text
    return shown


def _score_style(share: float) -> str:
    return "green" if share >= 0.7 else "yellow" if share >= 0.4 else "red"
