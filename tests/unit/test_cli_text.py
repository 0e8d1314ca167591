"""What strangers write does not control the terminal, and one JSON value is one line."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from testcast.cli.text import json_line, printable, printable_lines

GONE = "\N{REPLACEMENT CHARACTER}"
MARKS = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
CONTROLS = [chr(code) for code in (*range(0x20), 0x7F, *range(0x80, 0xA0), 0x2028, 0x2029)] + list(MARKS)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred\x1b[0m", "red"),
        ("a\x1b[2Jb", "ab"),
        ("\x9b31mred", "red"),
        ("\x1b[1;38;5;200mx", "x"),
        ("\x1b[?25lx", "x"),
        ("\x1b]0;a title\x07after", "after"),
        ("\x1b]8;;http://evil.example\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x9d52;c;ZXZpbA==\x9cx", "x"),
        ("\x1bPq#0;2;0;0;0\x1b\\x", "x"),
        ("\x1b_hidden\x1b\\x", "x"),
        ("\x1bcx", "x"),
        ("\x1b(Bx", "x"),
        ("x\x1b", f"x{GONE}"),
        ("x\x1b[", "x"),
        ("x\x1b]0;never ends", "x0;never ends"),
        ("a\x07b\x7fc\x00", f"a{GONE}b{GONE}c{GONE}"),
        ("abc\u202edef", f"abc{GONE}def"),
        ("a\r\nb\n\nc\td\u2028e\x85f\x0bg", "a ⏎ b ⏎ c ⏎ d ⏎ e ⏎ f ⏎ g"),
        ("  äöü 游戏 👩‍👩‍👧 ", "äöü 游戏 👩‍👩‍👧"),
    ],
)
def test_what_a_line_shows_of_a_text(text: str, shown: str) -> None:
    assert printable(text) == shown


@given(st.text(st.sampled_from([*CONTROLS, "[", "]", "3", "m", "a", "\\", " "])))
def test_nothing_that_controls_a_terminal_is_printed(text: str) -> None:
    assert not set(printable(text)) & set(CONTROLS)
    assert set(printable_lines(text)) & set(CONTROLS) <= {"\n"}


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text() | st.text(st.sampled_from(CONTROLS)),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(VALUES, st.sampled_from([None, 2]), st.booleans())
def test_a_json_value_is_one_line_and_the_same_value(value: Any, indent: int | None, ascii_only: bool) -> None:
    raw = json.dumps(value, indent=indent, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    line = json_line(raw)
    assert orjson.loads(line) == orjson.loads(raw) == value
    assert len(line.decode().splitlines()) == 1
    assert not set(line.decode()) & set(CONTROLS)


@pytest.mark.parametrize(
    ("raw", "line"),
    [
        (b'{"type":\n"progress",\r\n\t"n": 1180591620717411303424, "f": 1.10}', None),
        (b'{"a": "x y\\n\\"  z\\\\", "b" : [ 1 , 2 ]}', b'{"a":"x y\\n\\"  z\\\\","b":[1,2]}'),
        ('{"a":"\u202eevil\u2028"}'.encode(), b'{"a":"\\u202eevil\\u2028"}'),
        (b'{"a":"\x7f"}', b'{"a":"\\u007f"}'),
    ],
)
def test_white_space_goes_and_digits_stay(raw: bytes, line: bytes | None) -> None:
    assert json_line(raw) == (line or b'{"type":"progress","n":1180591620717411303424,"f":1.10}')
