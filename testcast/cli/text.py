"""Makes text and JSON of strangers safe to print: nothing in it controls the terminal or begins another line. Pure."""

from __future__ import annotations

import re
from typing import Final

_SEQUENCES: Final = re.compile(
    r"(?:\x1b\][^\x07\x1b\x9c]*|\x9d[^\x07\x1b\x9c\x9d]*)(?:\x07|\x1b\\|\x9c)"  # OSC: titles, links, the clipboard
    r"|(?:\x1b[PX^_][^\x1b\x9c]*|[\x90\x98\x9e\x9f][^\x1b\x9c\x90\x98\x9e\x9f]*)(?:\x1b\\|\x9c)"  # DCS, SOS, PM, APC
    r"|(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]?"  # CSI: colours, the cursor
    r"|\x1b[ -/]*[0-~]"  # the others: resets, character sets
)
"""Terminal sequences (ECMA-48), in their 7-bit and 8-bit forms. No text is looked at from more than one beginning: a
message of nothing but beginnings takes no longer than another."""
_BREAKS: Final = re.compile("[\t-\r\x85\u2028\u2029]+")
_COLOURS: Final = re.compile(r"(\x1b\[[\d;]*m)")
_DIRECTION_MARKS: Final = "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"
_CONTROLS: Final = re.compile(f"[\x00-\x1f\x7f-\x9f{_DIRECTION_MARKS}]")
_CONTROLS_BUT_LINE_FEED: Final = re.compile(f"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029{_DIRECTION_MARKS}]")
_ESCAPED_IN_JSON: Final = re.compile(f"[\x7f-\x9f\u2028\u2029{_DIRECTION_MARKS}]")
_COMMANDS: Final = re.compile(r"^[^\S\n]*(?=::)|##(?=\w*\[)", re.MULTILINE)
_STRING_OR_SPACE: Final = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[ \t\r\n]+')


def printable(text: str) -> str:
    """`text` on one line. Terminal sequences are left out, line breaks and other control characters are shown."""
    shown = _BREAKS.sub(" ⏎ ", _SEQUENCES.sub("", text).strip())
    return _CONTROLS.sub("\N{REPLACEMENT CHARACTER}", shown)


def printable_lines(text: str) -> str:
    """Like `printable`, for text of several lines: line feeds stay."""
    return _CONTROLS_BUT_LINE_FEED.sub("\N{REPLACEMENT CHARACTER}", _SEQUENCES.sub("", text))


def uncommanding(text: str) -> str:
    """Lines of a log that no CI system takes for one of its commands. GitHub reads `::name::` behind spaces; GitHub,
    Azure and TeamCity read `##[…]`, `##vso[…]` and `##teamcity[…]` anywhere."""
    return _COMMANDS.sub(lambda found: "# #" if found[0] == "##" else f"{found[0]}·", text)


def plain(line: str) -> str:
    """A line of a program's output: like `printable`, but its spaces and tabs stay where they are."""
    return _CONTROLS.sub("\N{REPLACEMENT CHARACTER}", _SEQUENCES.sub("", line).expandtabs())


def shown_colours(line: str) -> str:
    """A line of a program's output with its colours, and nothing else that controls a terminal."""
    *coloured, rest = _COLOURS.split(line)
    parts = [f"{plain(text)}{codes}" for text, codes in zip(coloured[::2], coloured[1::2], strict=True)]
    return "".join([*parts, plain(rest)])


def json_line(raw: bytes) -> bytes:
    """A JSON value on one line, whatever reads it.

    White space between the tokens goes. Characters that some readers take for the end of a line, and those that control
    a terminal, are escaped; JSON has them in strings only. Everything else stays byte for byte: a number keeps its
    digits.
    """
    compact = _STRING_OR_SPACE.sub(lambda found: found[0] if found[0][:1] == b'"' else b"", raw)
    if compact.isascii() and b"\x7f" not in compact:
        return compact
    return _ESCAPED_IN_JSON.sub(lambda found: f"\\u{ord(found[0]):04x}", compact.decode()).encode()
