"""Progress lines, number formats, tables, and the text of each part in BENCHMARKS.md between its two markers."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tests.bench.host import described

PAGE: Final = Path(__file__).parents[2] / "BENCHMARKS.md"
TIMES: Final = "\N{MULTIPLICATION SIGN}"
NONE: Final = "\N{EN DASH}"


def say(text: str) -> None:
    """Prints one line of progress."""
    print(time.strftime("%H:%M:%S"), text, flush=True)


def figure(value: float, whole: bool = True) -> str:
    """Formats a figure with two or three significant digits. `!` follows it if not everything was delivered."""
    text = f"{value:,.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 3 else f"{value:.2f}"
    return text if whole else f"{text} !"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a Markdown table. Every column except the first is aligned right."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return [f"| {' | '.join(cells)} |" for cells in lines]


def write(part: str, body: str, command: str, page: Path = PAGE) -> None:
    """Replaces the text between the markers of a part.

    Raises:
        SystemExit: the page does not have these markers.
    """
    begin, end = f"<!-- bench:{part} -->", f"<!-- /bench:{part} -->"
    text = page.read_text("utf-8")
    if begin not in text or end not in text:
        raise SystemExit(f"bench: {page.name} has no place for {part}: add {begin} and {end}")
    before, rest = text.split(begin, 1)
    _, after = rest.split(end, 1)
    when = time.strftime("%Y-%m-%d", time.gmtime())
    head = f"`{command}`, {when}, {described()}:"
    page.write_text(f"{before}{begin}\n{head}\n\n{body}\n{end}{after}", "utf-8")
