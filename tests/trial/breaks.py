"""Bugs as small scripts and lines of text that are put into a game's page.

A bug that needs to know the game (an error at a score) is a change of its own files, in its table; those here are the
same everywhere: a key is taken away before the game hears it, the loop is no longer called, what was allocated is kept.
"""

from __future__ import annotations

import html
import json
import re
from typing import Final

_INPUT: Final = "['keydown','mousedown','pointerdown','touchstart']"
_ALL_INPUT: Final = (
    "['keydown','keypress','keyup','mousedown','mouseup','mousemove','click','dblclick','pointerdown','pointerup',"
    "'pointermove','touchstart','touchmove','touchend','wheel']"
)


def deaf_to(key: str) -> str:
    """The game never hears this key, as Playwright and `KeyboardEvent.key` name it."""
    return (
        "for (const kind of ['keydown', 'keypress', 'keyup']) window.addEventListener(kind, (event) => {"
        f"if ({_is(key)}) event.stopImmediatePropagation(); }}, true);"
    )


def hears_once(key: str) -> str:
    """The game hears the first press of this key and no other."""
    return (
        "{ let pressed = 0; window.addEventListener('keydown', (event) => {"
        f"if ({_is(key)} && !event.repeat && ++pressed > 1) event.stopImmediatePropagation(); }}, true); }}"
    )


def locks_after(presses: int) -> str:
    """From then on the game hears nothing more; it runs on."""
    return (
        "{ let presses = 0, locked = false;"
        f"for (const kind of {_INPUT}) window.addEventListener(kind, () => {{"
        f"if (++presses > {presses}) locked = true; }}, true);"
        f"for (const kind of {_ALL_INPUT}) window.addEventListener(kind, (event) => {{"
        "if (locked) { event.stopImmediatePropagation(); } }, true); }"
    )


def freezes_after(presses: int) -> str:
    """From then on nothing that the game has asked to be called later is called: its loop has stopped."""
    return (
        "{ let presses = 0;"
        f"for (const kind of {_INPUT}) window.addEventListener(kind, () => presses++, true);"
        "for (const name of ['requestAnimationFrame', 'setInterval', 'setTimeout']) {"
        "const real = window[name].bind(window);"
        "window[name] = (call, ...rest) => real((...given) => {"
        f"if (presses <= {presses}) typeof call === 'function' ? call(...given) : (0, eval)(call); }}, ...rest); }} }}"
    )


def leaks(kilobytes_per_s: int) -> str:
    """Keeps that much more every second of the game's time."""
    numbers = kilobytes_per_s * 1024 // 8 // 10
    return (
        "{ const kept = []; setInterval(() => {"
        f"kept.push(new Array({numbers}).fill(0).map((_, at) => at + kept.length / 3)); }}, 100); }}"
    )


def with_script(page: str, script: str) -> str:
    """The page with a script that runs before its own."""
    return _after(r"<head[^>]*>", page, f"<script>{script}</script>")


def with_line(page: str, line: str) -> str:
    """The page with a line of text on its top edge."""
    style = "position:fixed;top:0;left:0;margin:0;padding:2px 6px;z-index:9;font:14px sans-serif;color:#888"
    return _after(r"<body[^>]*>", page, f'<p style="{style}">{html.escape(line)}</p>')


def with_style(page: str, style: str) -> str:
    """The page with rules of style of a bug."""
    return _after(r"<head[^>]*>", page, f"<style>{style}</style>")


def _is(key: str) -> str:
    named = " " if key == "Space" else key
    return f"event.key.toLowerCase() === {json.dumps(named.lower())}"


def _after(tag: str, page: str, what: str) -> str:
    found = re.search(tag, page, re.IGNORECASE)
    if found is None:
        raise ValueError(f"the page has no {tag}")
    return page[: found.end()] + what + page[found.end() :]
