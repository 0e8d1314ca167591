"""A program's output as lines with colours: the splitter, and the colours that viewers know."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testcast.cli.text import printable
from testcast.recording.sgr import PLAIN, Style, changed, nearest
from testcast.recording.splitter import MAX_LINE_CHARS, Line, Splitter

SEQUENCE = re.compile(r"\x1b\[[\d;]*m")


def lines_of(*pieces: bytes) -> list[Line]:
    splitter = Splitter()
    found = [line for piece in pieces for line in splitter.feed(piece)]
    return [*found, *splitter.finish()]


def texts_of(*pieces: bytes) -> list[str]:
    return [line.text for line in lines_of(*pieces)]


PARTS = st.sampled_from(
    [
        *("\n", "\r", "\r\n", "\b", "\t", "a", "Ä€😀", "word ", "\x1b[31m", "\x1b[0m", "\x1b[1;38;5;200m", "\x1b[K"),
        *("\x1b[2K", "\x1b[1G", "\x1b[2A", "\x1b]0;title\x07", "\x1b]8;;http://x\x1b\\", "\x1b", "\x1b[", "\x9b31m"),
        *("\x1bP", "\x00", "\x7f", "\x1b(B", "\x1b[38;2;1;2", "\x1b[?25l"),
    ]
)
OUTPUT = st.one_of(st.binary(max_size=60), st.lists(PARTS, max_size=30).map(lambda parts: "".join(parts).encode()))


@given(OUTPUT, st.lists(st.integers(0, 200), max_size=8))
def test_pieces_make_no_difference_and_nothing_controls_a_terminal(output: bytes, cuts: list[int]) -> None:
    ends = sorted({min(each, len(output)) for each in cuts})
    pieces = [output[first:last] for first, last in zip([0, *ends], [*ends, len(output)], strict=True)]
    lines = lines_of(output)
    assert lines_of(*pieces) == lines
    for text, ansi in lines:
        assert not re.search(r"[\x00-\x08\x0a-\x1f\x7f-\x9f]", text)
        if ansi is not None:
            assert SEQUENCE.sub("", ansi) == text
            assert SEQUENCE.search(ansi)


@given(st.lists(st.text(st.characters(exclude_categories=["Cc", "Cs"]), max_size=50), max_size=20))
def test_plain_lines_are_what_was_written(lines: list[str]) -> None:
    assert texts_of("".join(f"{each}\n" for each in lines).encode()) == lines


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        (b"one\ntwo", ["one", "two"]),
        (b"", []),
        (b"\n\n", ["", ""]),
        (b"dos\r\nlines\r\n", ["dos", "lines"]),
        (b"10%\r50%\r100%\ndone\n", ["100%", "done"]),
        (b"\r10%\r100%", ["100%"]),
        (b"100%\r\x1b[Kready\n", ["ready"]),
        (b"one\x1b[2K\x1b[1Gtwo\n", ["two"]),
        (b"wait |\b/\b-\bdone\n", ["wait done"]),
        (b"a\tb\n", ["a\tb"]),
        (b"bell\x07 nul\x00\n", ["bell nul"]),
        (b"\x1b]0;a title\x07text\n", ["text"]),
        (b"\x1b]8;;http://host\x1b\\link\x1b]8;;\x1b\\\n", ["link"]),
        (b"\x1b]0;never ends\nnext\n", ["", "next"]),
        (b"\xff\xfe\xc3\n", ["\ufffd\ufffd\ufffd"]),
        (b"up\x1b[3Aand down\x1b[5B\n", ["upand down"]),
    ],
)
def test_lines(output: bytes, expected: list[str]) -> None:
    assert texts_of(output) == expected


def test_a_character_in_two_pieces_is_one() -> None:
    whole = "€uro\n".encode()
    assert texts_of(whole[:1], whole[1:2], whole[2:]) == ["€uro"]


def test_a_colour_goes_on_in_the_next_line() -> None:
    first, second, third = lines_of(b"\x1b[1;31mred\nstill\x1b[0m plain\nplain\n")
    assert first == Line("red", "\x1b[1;31mred\x1b[m")
    assert second == Line("still plain", "\x1b[1;31mstill\x1b[m plain")
    assert third == Line("plain", None)


def test_a_long_line_is_cut_and_says_so() -> None:
    text = "x" * (MAX_LINE_CHARS + 1234)
    assert texts_of(text.encode(), b"\nnext\n") == ["x" * MAX_LINE_CHARS + " … (1,234 more characters)", "next"]
    assert texts_of(*[b"x" * 1000] * 3000) == ["x" * MAX_LINE_CHARS + " … (2,996,000 more characters)"]


def test_a_line_that_is_nearly_all_colours_loses_them() -> None:
    (line,) = lines_of("".join(f"\x1b[{30 + n % 8}mx" for n in range(4000)).encode())
    assert line == Line("x" * 4000, None)


def test_a_sequence_without_end_takes_no_memory() -> None:
    splitter = Splitter()
    for _ in range(100):
        assert splitter.feed(b"\x1b]0;" + b"t" * 10_000) == []
    assert len(splitter._rest) < 15_000
    assert splitter.feed(b"\x07text\n") == [Line("text", None)]


@pytest.mark.parametrize(
    ("parameters", "codes"),
    [
        ("", ""),
        ("0", ""),
        ("1", "1"),
        ("31", "31"),
        ("1;4;32;44", "1;4;32;44"),
        ("91", "91"),
        ("38;5;9", "91"),
        ("38;5;196", "31"),
        ("38;2;0;200;0", "32"),
        ("38:2::0:200:0", "32"),
        ("48;5;21", "44"),
        ("38;5;244", "90"),
        ("1;38;5;300;3", "1;3"),
        ("31;39", ""),
        ("1;2;22", ""),
        ("4:3", "4"),
        ("4;4:0", ""),
        ("99999999999;7", "7"),
        ("38;2;1", ""),
    ],
)
def test_styles(parameters: str, codes: str) -> None:
    assert changed(PLAIN, parameters).codes == codes


@given(st.text("0123456789;:", max_size=40))
def test_every_style_is_one_of_those_that_viewers_know(parameters: str) -> None:
    style = changed(Style(frozenset({1}), 31, 42), parameters)
    assert style.flags <= {1, 2, 3, 4, 7, 9}
    assert style.foreground == 0 or style.foreground in {*range(30, 38), *range(90, 98)}
    assert style.background == 0 or style.background in {*range(40, 48), *range(100, 108)}
    assert changed(PLAIN, style.codes) == style


@given(st.integers(0, 255), st.integers(0, 255), st.integers(0, 255))
def test_every_colour_has_a_nearest(red: int, green: int, blue: int) -> None:
    assert 0 <= nearest(red, green, blue) < 16


def test_the_beginnings_of_sequences_take_no_longer_than_text() -> None:
    """A search that begins at each of them took 14 s for what a pipe brings at once."""
    began = time.process_time()
    for start in ("\x9d", "\x90", "\x9b", "\x1b]", "\x1b[", "\x1b", "\r"):
        Splitter().feed((start * 30_000 + "\n").encode())
        printable(start * 30_000)
    assert time.process_time() - began < 3.0
