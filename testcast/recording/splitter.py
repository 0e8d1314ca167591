"""The output of a program as lines of text: as a terminal would show them, with colours and nothing else. Pure.

A carriage return begins the line again, so that of a progress bar only its last state is left. Sequences that move the
cursor to other lines, clear the screen, set a title or make a link are left out, and so are control characters.
"""

from __future__ import annotations

import codecs
import re
from typing import Final, NamedTuple

import orjson

from testcast.recording.sgr import PLAIN, Style, changed

MAX_LINE_CHARS: Final = 4000
"""As much of a line as the dashboard shows. The rest is counted and left out."""
MAX_COLOURED_BYTES: Final = 20 * 1024
"""Of a line with its colours, as JSON. One that changes its colour with every character loses them."""
_MAX_JSON_BYTES: Final = 6
"""Of one character: an escape is `\\u001b`."""
_MAX_SEQUENCE_CHARS: Final = 4096

_TOKEN: Final = re.compile(
    r"(?P<newline>\r?\n)|(?P<text>[^\x00-\x08\x0a-\x1f\x7f-\x9f]+)|(?P<start>\r|(?:\x1b\[|\x9b)1?G)|(?P<back>\x08)"
    r"|(?:\x1b\[|\x9b)(?P<style>[\d;:]{0,256})m|(?:\x1b\[|\x9b)(?P<erase>[0-2]?)K"
    r"|(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x9c\n]*(?:\x07|\x1b\\|\x9c)?"
    r"|(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]?|\x1b[ -/]*[0-~]?|[\x00-\x1f\x7f-\x9f]"
)
"""Every character belongs to a token: text with tabs, what is understood, and what is left out."""
_UNFINISHED: Final = re.compile(
    r"(?:\r|\x1b(?:\[[0-?]*[ -/]*|[\]PX^_][^\x07\x1b\x9c\n]*\x1b?|[ -/]*)|\x9b[0-?]*[ -/]*"
    r"|[\x90\x98\x9d-\x9f][^\x07\x1b\x9c\n]*\x1b?)"
)
"""The beginning of a token."""
_CONTROLS: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


class Line(NamedTuple):
    """One line of output."""

    text: str
    """No control characters but tabs. A line that was too long says so at its end."""
    ansi: str | None = None
    """The same text with colours: each sequence, `ESC [ … m`, names the whole style of what follows it, `ESC [ m` for
    plain text. None where there are no colours."""


class Splitter:
    """Takes the bytes of one stream, in any pieces, and gives its lines. Text that is no UTF-8 becomes U+FFFD."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._rest = ""
        """The beginning of a token."""
        self._style = PLAIN
        self._parts: list[tuple[Style, str]] = []
        self._chars = self._cut = 0
        self._at_start = False
        """The cursor is at the start of a line that has text: the next text replaces it."""

    def __repr__(self) -> str:
        return f"<Splitter in a line of {self._chars + self._cut} characters>"

    def feed(self, data: bytes) -> list[Line]:
        """Returns the lines that end in these bytes."""
        return self._read(self._decoder.decode(data), at_end=False)

    def finish(self) -> list[Line]:
        """The end of the stream: returns its last line, if it has no line feed at its end."""
        lines = self._read(self._decoder.decode(b"", final=True), at_end=True)
        return [*lines, self._line()] if self._parts or self._cut else lines

    def _read(self, text: str, *, at_end: bool) -> list[Line]:
        lines: list[Line] = []
        if not self._rest and not self._at_start and _CONTROLS.search(text) is None:
            *whole, last = text.split("\n")
            for each in whole:
                self._add(each)
                lines.append(self._line())
            self._add(last)
            return lines
        text, self._rest = self._rest + text, ""
        for token in _TOKEN.finditer(
            text
        ):  # the last one alone may go on: a search would begin at each of its characters
            if token.end() == len(text) and not at_end and _UNFINISHED.fullmatch(token[0]):
                self._rest = token[0]
            elif token.lastgroup == "newline":
                lines.append(self._line())
            elif token.lastgroup is not None:
                self._take(token.lastgroup, token[token.lastgroup])
        if len(self._rest) > _MAX_SEQUENCE_CHARS:  # whatever it becomes, it is left out
            self._rest = self._rest[:2] + ("?" if self._rest[:2] == "\x1b[" or self._rest[0] == "\x9b" else "")
        return lines

    def _take(self, kind: str, value: str) -> None:
        if kind == "text":
            if self._at_start:
                self._clear()
            self._add(value)
        elif kind == "style":
            self._style = changed(self._style, value)
        elif kind == "start":
            self._at_start = True
        elif kind == "erase" and (self._at_start or value in ("1", "2")):
            self._clear()
        elif kind == "back" and not self._at_start:
            self._step_back()

    def _add(self, text: str) -> None:
        kept = text[: MAX_LINE_CHARS - self._chars]
        self._cut += len(text) - len(kept)
        if kept:
            self._parts.append((self._style, kept))
            self._chars += len(kept)

    def _step_back(self) -> None:
        if self._cut:
            self._cut -= 1
        elif self._parts:
            style, text = self._parts.pop()
            self._chars -= 1
            if len(text) > 1:
                self._parts.append((style, text[:-1]))

    def _clear(self) -> None:
        self._parts, self._chars, self._cut, self._at_start = [], 0, 0, False

    def _line(self) -> Line:
        more = f" … ({self._cut:,} more characters)" if self._cut else ""
        text = "".join([*(part for _, part in self._parts), more])
        line = Line(text, _coloured(self._parts, more))
        self._clear()
        return line


def _coloured(parts: list[tuple[Style, str]], more: str) -> str | None:
    if all(style == PLAIN for style, _ in parts):
        return None
    before, pieces = PLAIN, list[str]()
    for style, text in [*parts, (PLAIN, more)]:
        if style != before:
            pieces.append(f"\x1b[{style.codes}m")
        pieces.append(text)
        before = style
    ansi = "".join(pieces)
    fits = len(ansi) * _MAX_JSON_BYTES <= MAX_COLOURED_BYTES or len(orjson.dumps(ansi)) <= MAX_COLOURED_BYTES
    return ansi if fits else None
