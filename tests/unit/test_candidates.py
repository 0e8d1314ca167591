"""What is tried to find controls, and in which order."""

from __future__ import annotations

import pytest

from agent_worker.games.chromium.page_state import Field, PageState
from agent_worker.games.controls import candidates
from agent_worker.games.controls.candidates import known_keys
from agent_worker.games.controls.opening import asked, fields, for_fingers, restarters, starters

VIEWPORT = (1280, 720)


@pytest.mark.parametrize(
    ("source", "named"),
    [
        ('if (e.code === "KeyP") pause();', "P"),
        ("case 'ArrowLeft': left(); case ' ': jump();", "ArrowLeft Space"),
        ("if (e.keyCode == 37) x(); if (e.which === 80) p();", "ArrowLeft P"),
        ("const map = {\n  38: 0, // Up\n  75: 1,\n}; go(map[event.which]);", "ArrowUp K"),
        ("const sizes = { 38: 0, 75: 1 };", ""),
        ("switch (e.keyCode) { case 32: a(); case 39: b(); }", "Space ArrowRight"),
        ("switch (n) { case 32: a(); case 39: b(); }", ""),
        ("e.key.toLowerCase() === 'r'", "R"),
        ("const KEYS = { ArrowUp: 1, KeyW: 1, Escape: 2 };", "ArrowUp W Escape"),
        ("if (keys['a']) left(); if (keys.d) right();", "A D"),
        ("this.input.keyboard.on('keydown-SPACE', f)", "Space"),
        ("this.input.keyboard.addKeys('W,A')", "W A"),
        (
            "this.cursors = this.input.keyboard.createCursorKeys();",
            "ArrowLeft ArrowRight ArrowUp ArrowDown Space Shift",
        ),
        ("const x = 'a' + 'b';", ""),
    ],
)
def test_keys_that_scripts_know(source: str, named: str) -> None:
    assert set(known_keys([source])) == set(named.split())


def test_a_library_with_a_table_of_all_keys_says_nothing() -> None:
    table = ",".join(f'"Key{chr(code)}"' for code in range(65, 91))
    assert known_keys([table, 'e.code === "KeyP"']) == ("P",)


def test_the_likely_keys_come_first_and_each_once() -> None:
    likely, rest = candidates.keys(["K"], ["P", "ArrowLeft"])
    names = [each.name for each in (*likely, *rest)]
    assert names[:3] == ["K", "ArrowLeft", "P"]
    assert len(set(names)) == len(names) and {"Space", "Escape", "Z"} <= set(names)
    assert candidates.action_of("K").keys == ("k",)


def test_buttons_that_lead_away_are_not_pressed() -> None:
    state = PageState(buttons=(("Start", 640, 360), ("Credits", 10, 10), ("View source on GitHub", 20, 20)))
    assert [(each.name, each.x) for each in candidates.buttons(state, VIEWPORT)] == [('click "Start"', 0.5)]


def test_what_a_page_asks_for() -> None:
    assert asked(PageState(words="SHIP\npress N to start\nlives: 3")) == {"press N to start"}
    assert asked(PageState(words="click the boxes to win", buttons=(("Accept", 1, 1), ("Mute", 1, 1)))) == {"Accept"}
    assert not asked(PageState(words="Score: 3\nGo left"))


def test_what_a_page_names_is_tried_first() -> None:
    state = PageState(words="press N to start", buttons=(("Accept cookies", 1, 1),))
    assert [each.name for each in starters(state, VIEWPORT)][:3] == ['click "Accept cookies"', "N", "Space"]
    over = PageState(words="GAME OVER\npress R to restart")
    assert [each.name for each in restarters(over, [candidates.action_of("N")], VIEWPORT)][:3] == ["R", "N", "Space"]


def test_fields_for_a_name() -> None:
    name, full = (Field("text", "Your name", value, False, (), 640, 360) for value in ("", "Ann"))
    assert [(each.x, each.y) for each in fields(PageState(fields=(name, full)), VIEWPORT)] == [(0.5, 0.5)]


def test_pages_for_fingers() -> None:
    assert for_fingers(PageState(listens=frozenset({"touchstart", "touchmove"})))
    assert not for_fingers(PageState(listens=frozenset({"touchstart", "mousedown"})))
    assert not for_fingers(PageState())
