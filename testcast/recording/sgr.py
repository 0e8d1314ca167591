"""The colours of a terminal (SGR, ECMA-48 8.3.117), reduced to what every viewer can show. Pure.

256 colours and RGB become the nearest of the 16 that each terminal and each page has its own tones for: a viewer's
background is not the author's.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Final, NamedTuple

_FLAGS: Final = frozenset({1, 2, 3, 4, 7, 9})
"""Bold, dim, italic, underlined, reversed, crossed out."""
_ENDED_BY: Final = {21: {1}, 22: {1, 2}, 23: {3}, 24: {4}, 27: {7}, 29: {9}}
_MAX_CODES: Final = 64
_GRAY_SPREAD: Final = 40
"""Red, green and blue closer together than this are a shade of gray."""


class Style(NamedTuple):
    """How text looks."""

    flags: frozenset[int] = frozenset()
    foreground: int = 0
    """30 to 37, 90 to 97; 0: the viewer's own."""
    background: int = 0
    """40 to 47, 100 to 107; 0: the viewer's own."""

    @property
    def codes(self) -> str:
        """All of it as the parameters of one sequence, such as `1;31`; empty for plain text."""
        return _codes(self)


@functools.lru_cache(maxsize=1024)
def _codes(style: Style) -> str:
    return ";".join(map(str, (*sorted(style.flags), *filter(None, (style.foreground, style.background)))))


PLAIN: Final = Style()


@functools.lru_cache(maxsize=1024)
def changed(style: Style, parameters: str) -> Style:
    """Returns the style after a sequence.

    Args:
        parameters: what stands between `ESC [` and `m`. What is not known in it changes nothing.
    """
    codes = iter(parameters.split(";")[:_MAX_CODES])
    for each in codes:
        first, *further = each.split(":")
        code = _number(first)
        if code in (38, 48):
            colour = _colour(iter(further), parts=True) if further else _colour(codes, parts=False)
            style = _coloured(style, code - 8, colour)
        elif code == 4 and further[:1] == ["0"]:
            style = style._replace(flags=style.flags - {4})
        else:
            style = _after(style, code)
    return style


def _after(style: Style, code: int) -> Style:
    if code == 0:
        return PLAIN
    if code in _FLAGS:
        return style._replace(flags=style.flags | {code})
    if code in _ENDED_BY:
        return style._replace(flags=style.flags - _ENDED_BY[code])
    if 30 <= code <= 37 or 90 <= code <= 97:
        return style._replace(foreground=code)
    if 40 <= code <= 47 or 100 <= code <= 107:
        return style._replace(background=code)
    return style._replace(foreground=0) if code == 39 else style._replace(background=0) if code == 49 else style


def _coloured(style: Style, base: int, colour: int | None) -> Style:
    """`colour`: 0 to 15, None for none that is known."""
    if colour is None:
        return style
    code = base + colour if colour < 8 else base + 60 + colour - 8
    return style._replace(foreground=code) if base == 30 else style._replace(background=code)


def _colour(parameters: Iterator[str], *, parts: bool) -> int | None:
    """One of the 16 colours, from what follows 38 or 48.

    Args:
        parts: the parameters are parts of one, with colons between them.
    """
    kind = _number(next(parameters, ""))
    if kind == 5:
        return _of_256(_number(next(parameters, "")))
    if kind != 2:
        return None
    # `38;2;r;g;b` takes three of the following parameters; `38:2::r:g:b` has them all, with an empty colour space.
    given = [_number(each) for each in parameters] if parts else [_number(next(parameters, "-")) for _ in range(3)]
    return nearest(*given[-3:]) if len(given) >= 3 and all(0 <= each < 256 for each in given[-3:]) else None


def _of_256(index: int) -> int | None:
    if 0 <= index < 16:
        return index
    if 16 <= index < 232:
        steps = (index - 16) // 36, (index - 16) // 6 % 6, (index - 16) % 6
        return nearest(*(0 if step == 0 else 55 + 40 * step for step in steps))
    return nearest(*[8 + 10 * (index - 232)] * 3) if 232 <= index < 256 else None


def nearest(red: int, green: int, blue: int) -> int:
    """The one of the 16 colours that is meant by an RGB colour. Tones become bright ones where they are light."""
    least, most = min(red, green, blue), max(red, green, blue)
    if most - least < _GRAY_SPREAD:
        return 0 if most < 48 else 8 if most < 144 else 7 if most < 216 else 15
    middle = (least + most) / 2
    colour = (red > middle) + 2 * (green > middle) + 4 * (blue > middle)
    return colour + (8 if least > 80 else 0)


def _number(text: str) -> int:
    """0 for nothing, which is the default of every parameter; -1 for what is no number."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 4 else -1 if text else 0
