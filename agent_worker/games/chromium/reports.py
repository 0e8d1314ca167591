"""Which incidents become a line in the feed: each once, so sixty equal errors a second make one line. Pure."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Final

MAX_TOLD_PER_KIND: Final = 8
"""More different ones of a kind would drown the feed; the verdict counts them all."""

_WORDS: Final = {
    "console": "Console error: {}",
    "pageerror": "Script error: {}",
    "request": "Request failed: {}",
    "refused": "Request refused: {}",
    "dialog": "The game opened a dialog ({}); answered",
    "download": "The game tried to download {}; refused",
    "popup": "The game opened another window ({}); closed",
    "left": "The game tried to leave for {}; kept on its page",
    "crash": "The game is gone: {}",
}


@dataclass(slots=True)
class Ledger:
    """Counts incidents by kind, and says which deserve a line in the feed."""

    counts: Counter[str] = field(default_factory=Counter)
    distinct: Counter[str] = field(default_factory=Counter)
    """How many different ones of each kind became a line, at most MAX_TOLD_PER_KIND."""
    told: dict[tuple[str, str], None] = field(default_factory=dict)
    """Kind and detail of each that became a line, in order."""
    last_error: str | None = None
    """The newest script error; None before the first."""

    def enter(self, kind: str, detail: str) -> str | None:
        """Counts one incident. Returns its line for the feed; None if it had one already, or its kind has too many."""
        self.counts[kind] += 1
        if kind == "pageerror":
            self.last_error = detail
        if (kind, detail) in self.told or self.distinct[kind] == MAX_TOLD_PER_KIND:
            return None
        self.distinct[kind] += 1
        self.told[kind, detail] = None
        more = " (more of these are only counted)" if self.distinct[kind] == MAX_TOLD_PER_KIND else ""
        return _WORDS[kind].format(detail) + more

    def forget(self) -> None:
        """Forgets all that was entered: it says nothing of the game."""
        self.counts.clear()
        self.distinct.clear()
        self.told.clear()
        self.last_error = None
