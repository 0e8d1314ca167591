"""What playing is for: numbers that are read from a page's text, and the words that end a round. Pure.

A number with a label ("Score: 120") is claimed as what its label says. A number without one is followed as well, and is
called a score only after it has risen with play and not by itself: see `rises_with_play`. Digits that are parts of
pictures are not read.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise, takewhile
from typing import Final, NamedTuple

from agent_worker.games.inputs import Inputs
from agent_worker.games.play.episodes import Best

UNLABELLED: Final = "number without a label"
"""The name of a number that has none on the page."""

_NAMES: Final = {
    "best": r"(?:high|hi|best|top)[ -]?scores?|best|record",
    "score": r"(?:(?:your|final|current|total|my)[ ])?scores?|points?|pts|xp",
    "level": r"level|lvl|stage|wave",
    "lines": r"lines|rows",
    "coins": r"coins?|gold|gems?|stars?|rings|money|cash",
    "lives": r"lives|life|hp|health|hearts",
    "time": r"time(?:[ ]left)?|timer|seconds",
    "moves": r"moves|steps|turns",
    "kills": r"kills|hits",
    "distance": r"distance",
    "length": r"length",
}
"""What a label means; the first that fits decides, so that "high score" is no score."""
_RISING: Final[tuple[str, ...]] = ("score", "coins", "lines", "kills", "distance", "length", "level")
"""What a player wants more of, the best measure first."""

_NUMBER: Final = r"(?:\d{1,3}(?:,\d{3})+|\d{1,12})(?:\.\d{1,3})?"
_LABEL: Final = "|".join(f"(?P<{name}>{pattern})" for name, pattern in _NAMES.items())
_AS_LABEL: Final = re.compile(rf"(?:{_LABEL})\W{{0,3}}", re.I)
_AS_NUMBER: Final = re.compile(rf"\W{{0,2}}(?P<value>-?{_NUMBER})(?:\s*/\s*\d+)?\W{{0,2}}")
_BEFORE: Final = re.compile(
    # "Score 10 points to win" and "Level 2 of 9 or more" are told, not counted.
    rf"(?<![\w-])(?:{_LABEL})(?:\s*[:=#|>x]+)?\s*(?P<value>-?{_NUMBER})(?![\w.,]*\w)"
    r"(?!\s*(?:points?|pts|or|to|more|times|goals?)\b)",
    re.I,
)
_AFTER: Final = re.compile(
    rf"(?<![\w.,+-])(?P<value>{_NUMBER})\s*(?:{_LABEL})(?!\w)(?!\s*(?:to|for|each|per|or|more|left\s+to|:|=)(?:\b|\s|\d))",
    re.I,
)
_AIM: Final = re.compile(
    r"\b(?:get|need|reach|earn|collect|score|win|after|every|first)(?:\s+(?:at\s+least|to))?\s*$", re.I
)
_OVER: Final = re.compile(
    r"\b(game\s*over|you(?:'ve| have)? (?:died|die|dead|lose|lost|crashed|are dead|win|won)|play again|try again"
    r"|time'?s? (?:is )?up|victory|defeat(?:ed)?|wasted|busted)\b",
    re.I,
)


@dataclass(frozen=True, slots=True)
class Reading:
    """A number on the page, and what it is called there."""

    name: str
    """`score`, `best`, `level` …, or `UNLABELLED`."""
    value: int
    """Without its fraction."""
    hook: bool = False
    """The game told it through `render_game_to_text`, not through what it shows."""


class Seen(NamedTuple):
    """A number's value at a frame."""

    frame: int
    value: int


def readings(words: str, told: str | None = None) -> dict[str, Reading]:
    """The numbers among a page's words, by name.

    Text that was drawn on a canvas stands in the order in which it was drawn, so where a name occurs more than once,
    its last number is the newest.

    Args:
        told: What the game's `render_game_to_text` returned, if it has one. It goes before what is shown.
    """
    lines = [line.strip() for line in re.split(r"[\n\t]+", words) if line.strip()]
    found: dict[str, Reading] = {}
    loose: int | None = None
    position = 0
    while position < len(lines):
        table, length = _table(lines, position)
        if length:
            found |= table
        elif number := _AS_NUMBER.fullmatch(lines[position]):
            loose, length = _value(number), 1
        else:
            found |= {each.name: each for each in _in_line(lines[position])}
            length = 1
        position += length
    if loose is not None:
        found[UNLABELLED] = Reading(UNLABELLED, loose)
    return found | _told(told)


def _table(lines: Sequence[str], at: int) -> tuple[dict[str, Reading], int]:
    """Labels that stand alone and the numbers that belong to them, and how many lines they take; 0: there are none."""
    labels = [match for match in map(_AS_LABEL.fullmatch, takewhile(_AS_LABEL.fullmatch, lines[at:])) if match]
    rest = lines[at + len(labels) :]
    numbers = [match for match in map(_AS_NUMBER.fullmatch, takewhile(_AS_NUMBER.fullmatch, rest)) if match]
    if labels and numbers:
        # "Score", "Lives", "120", "3": as many numbers as labels. With fewer numbers only the last labels have one.
        labelled = labels[-len(numbers) :]
        pairs = list(zip(labelled, numbers, strict=False))
        return {_name(label): Reading(_name(label), _value(value)) for label, value in pairs}, len(labels) + len(pairs)
    first = _AS_NUMBER.fullmatch(lines[at])
    below = _AS_LABEL.fullmatch(lines[at + 1]) if at + 1 < len(lines) else None
    if first and below and not (at + 2 < len(lines) and _AS_NUMBER.fullmatch(lines[at + 2])):
        return {_name(below): Reading(_name(below), _value(first))}, 2
    return {}, 0


def _in_line(line: str) -> Iterator[Reading]:
    taken: list[tuple[int, int]] = []
    for pattern in (_BEFORE, _AFTER):
        for match in pattern.finditer(line):
            begin, end = match.span()
            aim = pattern is _AFTER and _AIM.search(line[:begin])
            if not aim and not any(begin < other_end and end > other for other, other_end in taken):
                taken.append((begin, end))
                yield Reading(_name(match), _value(match))


def _name(match: re.Match[str]) -> str:
    return next(name for name in _NAMES if match[name])


def _value(match: re.Match[str]) -> int:
    return int(float(match["value"].replace(",", "")))


def _told(told: str | None) -> dict[str, Reading]:
    try:
        data = json.loads(told or "null")
    except ValueError:
        return {name: Reading(name, each.value, hook=True) for name, each in readings(told or "").items()}
    return {reading.name: reading for reading in reversed(list(_in_json(data, depth=3)))}


def _in_json(data: object, depth: int) -> Iterator[Reading]:
    """The numbers that stand under a label's name, the outermost first."""
    if not isinstance(data, Mapping) or not depth:
        return
    for key, value in data.items():
        label = _AS_LABEL.fullmatch(re.sub(r"(?<=[a-z])(?=[A-Z])|_", " ", str(key)))
        if label and isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e12:
            yield Reading(_name(label), int(value), hook=True)
    for value in data.values():
        yield from _in_json(value, depth - 1)


def measure(found: Mapping[str, Reading]) -> Reading | None:
    """The labelled number that a player wants more of: the score, or what comes nearest to one."""
    return next((found[name] for name in _RISING if name in found), None)


def rises_with_play(played: Sequence[Seen], alone: Sequence[Seen]) -> bool:
    """Whether a number without a label may be called a score.

    It has risen at least twice, it has never fallen but back to where it began or below, and in the same number of
    frames it rises less when nothing is done: a clock does not pass.

    Args:
        played: Its values while the game was played, in order.
        alone: Its values from the same moment on without input, in order.
    """
    if len(played) < 2 or not alone:
        return False
    start = played[0].value
    rises = sum(one.value < other.value for one, other in pairwise(played))
    fell = any(other.value < one.value and other.value > start for one, other in pairwise(played))
    frames = alone[-1].frame - alone[0].frame
    by_itself = max(each.value for each in alone) - alone[0].value
    within = [each.value for each in played if each.frame - played[0].frame <= max(1, frames)]
    return rises >= 2 and not fell and max(within, default=start) - start > by_itself


@dataclass(slots=True)
class Scoreboard:
    """The numbers of a run that a player wants more of: which one counts, and the highest with what reaches it."""

    alone: list[Seen] = field(default_factory=list)
    """Values of the number without a label while nothing was done."""
    bests: dict[str, Best] = field(default_factory=dict)
    """By name."""
    _first: dict[str, int] = field(default_factory=dict)
    _varied: set[str] = field(default_factory=set)
    proven: bool = False
    """The number without a label has risen with play, and not by itself."""

    def see(self, numbers: Mapping[str, Reading], round_: list[Seen], inputs: Inputs, frame: int) -> int | None:
        """Reads what is shown after `frame`; returns the number that counts, if there is one.

        Args:
            round_: Values of the number without a label in this stretch of play; the new one is added.
        """
        loose = numbers.get(UNLABELLED)
        if loose is not None:
            round_.append(Seen(frame, loose.value))
            self.proven = self.proven or rises_with_play(round_, self.alone)
        for name in (*_RISING, UNLABELLED):
            if name in numbers:
                value = numbers[name].value
                if self._first.setdefault(name, value) != value:
                    self._varied.add(name)
                if name not in self.bests or value > self.bests[name].value:
                    self.bests[name] = Best(value, name, inputs, frame)
        return self.counts(numbers)

    def counts(self, numbers: Mapping[str, Reading]) -> int | None:
        """The number among `numbers` that counts."""
        found = measure(numbers) or (numbers.get(UNLABELLED) if self.proven else None)
        return None if found is None else found.value

    @property
    def best(self) -> Best | None:
        """The highest value of the best measure that has ever changed; else of the score, if the page shows one."""
        named = [name for name in _RISING if name in self._varied]
        if not named and "score" in self.bests:
            named = ["score"]
        if not named and self.proven:
            named = [UNLABELLED]
        return self.bests[named[0]] if named else None


def over_words(words: str) -> frozenset[str]:
    """The phrases among `words` that say that a round has ended, in lower case."""
    return frozenset(" ".join(match.lower().split()) for match in _OVER.findall(words))


def bucket(value: int | None) -> int:
    """A score's class: equal for scores between which a player would see no step. Low ones have one each."""
    if value is None:
        return 0
    size = abs(value)
    # From 16 on each doubling has eight classes.
    small = size if size < 16 else 16 + (size.bit_length() - 5) * 8 + (size >> (size.bit_length() - 4)) % 8
    return (small + 1) * (-1 if value < 0 else 1)


def plain_words(words: str) -> frozenset[str]:
    """The words without the numbers: what stays the same while a score counts."""
    return frozenset(re.findall(r"[^\W\d_]{3,}", words.lower()))
