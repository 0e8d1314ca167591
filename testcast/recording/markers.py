"""What the lines of a program say beside themselves: a phase begins, a score is told. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, NamedTuple

from broker.contract.errors import BadInput
from broker.contract.events import PHASES, Event

MAX_TITLE_CHARS: Final = 60
_MARK: Final = re.compile(r"\s*::phase(?:\s+([1-4])(?=[\s:]))?(?:\s+(\S.*?))?\s*::\s*")


class PhaseStart(NamedTuple):
    """A phase begins."""

    number: int
    """From 1."""
    title: str
    titles: tuple[str, ...]
    """Of all phases that are known by now."""

    def event(self, now_ms: int) -> Event:
        """What is published of it."""
        data = {"phases": list(self.titles)}
        phase = PHASES[self.number - 1]
        return Event(type="status", status="running", phase=phase, message=self.title, timestamp=now_ms, data=data)


class Phases:
    """The phases of a program, at most four.

    A line `::phase TITLE::` begins the phase of that title, or the next one. `::phase N::` and `::phase N TITLE::`
    begin phase N, and `::phase::` the next one.

    Args:
        given: titles of phases, in order. `TITLE=REGEX` begins when a line matches the pattern.

    Raises:
        BadInput: there are more than four, one has no title, or a pattern is wrong.
    """

    def __init__(self, given: Sequence[str] = ()) -> None:
        if len(given) > len(PHASES):
            raise BadInput(f"--phase: at most {len(PHASES)} are possible, got {len(given)}")
        self._titles: list[str] = []
        self._patterns: list[re.Pattern[str] | None] = []
        for each in given:
            title, is_pattern, pattern = each.partition("=")
            if not title.strip():
                raise BadInput(f"--phase {each!r}: expected a title")
            self._titles.append(_shown(title))
            self._patterns.append(_compiled("--phase", pattern) if is_pattern else None)
        self.number = 0
        """The phase that has begun; 0: none."""

    def __repr__(self) -> str:
        return f"<Phases {self.number} of {self._titles}>"

    @property
    def titles(self) -> tuple[str, ...]:
        """Those that are known by now."""
        return tuple(self._titles)

    def first(self) -> PhaseStart | None:
        """The phase that begins with the program: the first, unless a line begins it or no phases are known."""
        return self._begin(1) if self._titles and self._patterns[0] is None else None

    def mark(self, text: str) -> PhaseStart | None:
        """The phase that a line of the program begins by its form; None: the line is one as any other."""
        found = _MARK.fullmatch(text)
        if found is None:
            return None
        number, title = found[1], found[2] and _shown(found[2])
        if number is not None:
            return self._begin(int(number), title)
        known = [each.casefold() for each in self._titles]
        if title is not None and title.casefold() in known:
            return self._begin(known.index(title.casefold()) + 1)
        return self._begin(min(self.number + 1, len(PHASES)), title)

    def match(self, text: str) -> PhaseStart | None:
        """The later phase whose pattern a line matches."""
        for number, pattern in enumerate(self._patterns, 1):
            if number > self.number and pattern is not None and pattern.search(text):
                return self._begin(number)
        return None

    def _begin(self, number: int, title: str | None = None) -> PhaseStart:
        while len(self._titles) < number:
            self._titles.append(f"Phase {len(self._titles) + 1}")
        if title is not None:
            self._titles[number - 1] = title
        self.number = number
        return PhaseStart(number, self._titles[number - 1], self.titles)


class ScoreReader:
    """Finds a score in the lines of a program: the last match counts.

    Args:
        pattern: its first group is the score, 0 to 100. With a second group it is the first as a share of the second.

    Raises:
        BadInput: it is no regular expression, or has no group.
    """

    def __init__(self, pattern: str) -> None:
        self._pattern = _compiled("--score-from", pattern)
        if not 1 <= self._pattern.groups <= 2:
            raise BadInput(
                f"--score-from {pattern!r}: expected one group for the score, or two for a share, as in (\\d+)/(\\d+)"
            )
        self.score: float | None = None
        """The newest; None: there was none."""

    def __repr__(self) -> str:
        return f"<ScoreReader {self._pattern.pattern!r} {self.score}>"

    def read(self, text: str) -> None:
        """Takes one line."""
        for found in self._pattern.finditer(text):
            try:
                number = float(found[1])
                score = number if self._pattern.groups == 1 else 100 * number / float(found[2])
            except (TypeError, ValueError, ZeroDivisionError):
                continue
            if 0 <= score <= 100:
                self.score = round(score, 2)


def _shown(title: str) -> str:
    title = " ".join(title.split())
    return title if len(title) <= MAX_TITLE_CHARS else title[: MAX_TITLE_CHARS - 1] + "…"


def _compiled(option: str, pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        raise BadInput(f"{option} {pattern!r}: it is no regular expression: {error}") from None
