"""The picture of a badge: a name, and how a game's newest test has ended. Pure."""

from __future__ import annotations

import re
from html import escape
from typing import Final, NamedTuple

from broker.contract.snapshot import Snapshot

GREEN: Final = "#15803d"
AMBER: Final = "#a16207"
RED: Final = "#b91c1c"
GREY: Final = "#4b5563"
NAME: Final = "#1f2937"
"""Behind the name. White text has a contrast of at least 4.5 on each of these (WCAG 2.2, 1.4.3)."""
GOOD: Final = 70
FAIR: Final = 40
MAX_NAME_CHARS: Final = 40
_MAX_TITLE_CHARS: Final = 200
_NOT_SHOWN: Final = re.compile("[^\u0020-\u007e\u00a0-\u061b\u061d-\u200d\u2010-\u2027\u2030-\u2065\u2070-\ud7ff"
                               "\ue000-\ufdcf\ufdf0-\ufffd\U00010000-\U0010fffd]")  # fmt: skip
"""Controls, what no XML document may contain, and marks of direction."""
_NARROW: Final = frozenset("fijlrtI.,:;!|()[]/'` ")
_WIDE: Final = frozenset("mwMW@%")
_PADDING: Final = 7


class Verdict(NamedTuple):
    """The right half of a badge."""

    text: str
    colour: str


NO_RUNS: Final = Verdict("no runs", GREY)


def verdict_of(run: Snapshot | None) -> Verdict:
    """How a run that has ended is told; None: there is none."""
    if run is None:
        return NO_RUNS
    if run.status == "failed":
        return Verdict("failed", RED)
    if run.score is None:
        return Verdict("completed", GREEN)
    score = round(run.score)
    return Verdict(f"{score}/100", GREEN if score >= GOOD else AMBER if score >= FAIR else RED)


def svg(name: str, verdict: Verdict, title: str) -> str:
    """The picture.

    Args:
        name: the left half.
        title: what screen readers say, and browsers show under the mouse.
    """
    name, title = shown(name)[:MAX_NAME_CHARS], escape(shown(title)[:_MAX_TITLE_CHARS])
    left, right = _width(name), _width(verdict.text)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + right}" height="20" role="img" aria-label="{title}">'
        f'<title>{title}</title><clipPath id="r"><rect width="{left + right}" height="20" rx="3"/></clipPath>'
        f'<g clip-path="url(#r)"><rect width="{left}" height="20" fill="{NAME}"/>'
        f'<rect x="{left}" width="{right}" height="20" fill="{verdict.colour}"/></g>'
        '<g fill="#fff" text-anchor="middle" font-family="Verdana,DejaVu Sans,Geneva,sans-serif" font-size="11">'
        f"{_text(name, left / 2, left)}{_text(verdict.text, left + right / 2, right)}</g></svg>\n"
    )


def shown(text: str) -> str:
    """A text of strangers on one line, of characters that an XML document can hold."""
    return _NOT_SHOWN.sub("\N{REPLACEMENT CHARACTER}", " ".join(text.split()))


def _text(text: str, middle: float, room: int) -> str:
    length = room - 2 * _PADDING
    return f'<text x="{middle:g}" y="14" textLength="{length}" lengthAdjust="spacingAndGlyphs">{escape(text)}</text>'


def _width(text: str) -> int:
    """How wide a half is: about as wide as Verdana has the text. The text is fitted into it, whatever the font."""
    return round(sum(_advance(char) for char in text)) + 2 * _PADDING


def _advance(char: str) -> float:
    if char in _NARROW:
        return 4.5
    return 11.0 if char in _WIDE or ord(char) > 0x10FF else 7.0
