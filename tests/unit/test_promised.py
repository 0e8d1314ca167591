"""Which keys a game's text promises. What it must not promise counts more: a promise that is none becomes a fault."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from agent_worker.games.controls.promised import MAX_TEXT, Promise, promised


def keys(text: str) -> str:
    return " ".join(promise.key for promise in promised(text))


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("Press SPACE to start", "Space"),
        ("hit the space bar", "Space"),
        ("Hit ENTER", "Enter"),
        ("Press Enter key", "Enter"),
        ("Tap or press space to flap", "Space"),
        ("ArrowLeft and ArrowRight move the paddle, Space serves the ball", "ArrowLeft ArrowRight Space"),
        ("Arrow left moves, arrow up rotates", "ArrowLeft ArrowUp"),
        ("Space jumps", "Space"),
        ("P - pause", "P"),
        ("Pause = P", "P"),
        ("Jump: Space", "Space"),
        ("(R)estart", "R"),
        ("[P] Pause", "P"),
        ("<kbd>P</kbd>", "P"),
        ("Space\tJump", "Space"),
        ("Press 'p' to pause", "P"),
        ("Press the A key to jump", "A"),
        ("Press F2 to restart", "F2"),
        ("Press 1 or 2 to choose", "1 2"),
        ("Use Z and X to rotate", "Z X"),
        ("A/D to move", "A D"),
        ("Use ← → to steer", "ArrowLeft ArrowRight"),
        ("Left/Right: move", "ArrowLeft ArrowRight"),
        ("Use the UP and DOWN arrow keys", "ArrowUp ArrowDown"),
        ("WASD or arrow keys to move", "W A S D ArrowLeft ArrowRight ArrowUp ArrowDown"),
        ("W, A, S, D: move", "W A S D"),
        ("Hold Shift to run", "Shift"),
        ("ESC to pause", "Escape"),
        ("Drücke die Leertaste zum Starten", "Space"),
        ("Drücke die Pfeiltasten", "ArrowLeft ArrowRight ArrowUp ArrowDown"),
        ("Appuyez sur Entrée pour jouer", "Enter"),
        ("Pulsa espacio para saltar", "Space"),
        ("Нажмите пробел чтобы начать", "Space"),
        ("按空格键开始", "Space"),
        ("使用方向键或WASD控制蛇的移动", "ArrowLeft ArrowRight ArrowUp ArrowDown W A S D"),
        ("<kbd>↑</kbd> <kbd>↓</kbd> 或 <kbd>W</kbd> <kbd>S</kbd>", "ArrowUp ArrowDown W S"),
        ("ArrowDown: fall faster", "ArrowDown"),
        ("<kbd>W</kbd><kbd>A</kbd><kbd>S</kbd><kbd>D</kbd> Move", "W A S D"),
        ("<kbd>Shift</kbd> run", "Shift"),
    ],
)
def test_what_is_promised(text: str, named: str) -> None:
    assert keys(text) == named
    assert all(promise.quote == text.replace("<kbd>", "").replace("</kbd>", "") for promise in promised(text))


@pytest.mark.parametrize(
    "text",
    [
        *("press any key", "Press a button", "PRESS A BUTTON", "PRESS A KEY TO START", "A new game", "I run fast"),
        *("Deep space flies by", "Space runs out of time", "Space - news"),
        *("Enter your name", "Space Invaders", "Return to menu", "Outer space: the final", "Grade A: excellent"),
        *("press up to 3 times", "Hold down to charge", "Level 1 - start", "Level A - start", "Press 1-4"),
        *("<kbd>Ctrl</kbd> <kbd>K</kbd>", "More coins → faster ship", "Space falls silent", "control falls to you"),
        *("Next →", "← Back", "You have 3 arrows left", "Ctrl+Z to undo", "Ctrl-C to copy", "Shift + click to select"),
        *(
            "Don't press X",
            "Press A on the gamepad",
            "Score: 100",
            "SPACE DROPS",
            "Space Walks",
            "HP 3 / 5",
            "e-mail",
            "Plan B: go",
        ),
    ],
)
def test_what_is_not(text: str) -> None:
    assert not promised(text)


@pytest.mark.parametrize(
    ("text", "when"),
    [
        *(
            (f"Enter: {what}", "over")
            for what in ("begin again", "start over", "new round", "try once more", "respawn")
        ),
        *(("Z rotates", "playing"), ("P: pauses", "playing"), ("R: restarts", "over"), ("Enter: noch einmal", "over")),
        *(("Press SPACE to start", "title"), ("Press R to restart", "over"), ("← → to steer", "playing")),
        *(("Press E to open doors", "sometimes"), ("M - mute", "unseen"), ("Press F to fullscreen", "unseen")),
        *(("Space - jump again in the air", "playing"), ("X: fire again", "playing"), ("N: start a new game", "over")),
        *(("<kbd>E</kbd>", "sometimes"), ("<kbd>E</kbd> Open doors", "sometimes"), ("ArrowDown: fall", "sometimes")),
        *(("<kbd>M</kbd>Mute", "unseen"), ("<kbd>R</kbd> Restart", "over"), ("Pause: <kbd>P</kbd>", "playing")),
        *(("Hit ENTER", ""), ("Press Q to whistle", "sometimes")),
    ],
)
def test_where_a_promise_has_to_hold(text: str, when: str) -> None:
    assert {promise.when for promise in promised(text)} == {when}


def test_a_name_for_several_keys_promises_some_of_them() -> None:
    arrows = ("ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown")
    assert {promise.group for promise in promised("arrow keys to move")} == {arrows}
    assert {promise.group for promise in promised("← → to move")} == {()}
    drawn = ("ArrowLeft", "ArrowUp", "ArrowRight", "ArrowDown")
    assert {each.group for each in promised("<kbd>←</kbd><kbd>↑</kbd><kbd>→</kbd><kbd>↓</kbd> Move")} == {drawn}
    named = promised("arrow keys to move\nLeft arrow to turn")
    assert named[0] == Promise("ArrowLeft", "Left arrow to turn", "playing")  # said by name: that counts more


_TEXT = """press Press hit SPACE space a A I P to start → (R) estart <kbd> </kbd> or and , / - : = + Ctrl 1 F5 enter
any WASD arrow keys key don't Shift up"""
_WORDS = st.sampled_from(re.findall(r"\S+", _TEXT))


@example('0<kbd0>PRESS"0"')
@given(st.one_of(st.text(max_size=200), st.lists(_WORDS, max_size=25).map(" ".join)))
def test_any_text_is_read(text: str) -> None:
    found = promised(text)
    assert len({promise.key for promise in found}) == len(found)
    plain = re.sub(r"</?kbd(\s[^>]*)?>", "", text)
    for promise in found:
        assert len(promise.quote) <= 80 and promise.quote in plain
        assert not promise.group or promise.key in promise.group


@given(st.text(alphabet="abcdefghijklmnopqrstuvwxyz .,!?'", max_size=300))
def test_prose_in_small_letters_names_no_letter(text: str) -> None:
    marked = {"'", '"'}
    if not marked & set(text):
        assert not [promise for promise in promised(text) if len(promise.key) == 1 and not promise.group]


def test_a_long_text_is_read_in_part() -> None:
    assert promised("x " * MAX_TEXT + "\nPress SPACE to start") == ()
