"""What is told of a fault (finding.py), what a page reports as one (sightings.py), and reading it of strangers."""

from __future__ import annotations

import contextlib
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_worker.games.actions import click, key
from agent_worker.games.chromium.page_state import REJECTION, Incident
from agent_worker.games.findings.finding import MAX_DETAIL_CHARS, Candidate, error_signature, finding, line, top_frame
from agent_worker.games.findings.replay_request import MAX_FRAMES, MAX_STEPS, read_replay
from agent_worker.games.findings.sightings import candidate_of, candidates_of
from agent_worker.games.inputs import Inputs, Step
from agent_worker.games.screen import Screen
from broker.contract.errors import BadInput

URL = "http://game.example/play?x=1"
STACK = "TypeError: x\n    at Ship.hit (http://game.example/js/ship.js?v=3:10:22)\n    at frame (http://game.example/a.js:4:1)"
INPUTS = Inputs((Step(3, key("Space"), 4), Step(9, click(0.25, 0.5), 2)))


def test_what_is_told() -> None:
    candidate = Candidate("error", "Uncaught x", INPUTS, 20, "x", "d" * 900, STACK, severity="high")
    told = finding("f1", candidate, seed=7, frame=12, seen=(5, 5)).as_json()
    assert told == {
        "id": "f1",
        "kind": "error",
        "severity": "high",
        "title": "Uncaught x",
        "frame": 12,
        "atMs": 200,
        "seen": [5, 5],
        "seed": 7,
        "until": 20,
        "real": False,
        "signature": "x",
        "stack": STACK,
        "detail": "d" * (MAX_DETAIL_CHARS - 1) + "…",
        "inputs": INPUTS.as_json(),
    }
    listed = finding("f1", candidate, 7, 12, (5, 5))
    assert "stack" not in listed.as_json(stack=False)
    assert line(listed) == "Uncaught x (5 of 5 times after 0.2 s of the game's time, 2 inputs)"


SCREENS = st.builds(Screen, st.booleans(), st.booleans())


@given(st.integers(0, 10**9), st.integers(0, 500), st.sampled_from(["F5", "Space", "a", "ArrowLeft"]), SCREENS)
def test_what_is_told_can_be_read(seed: int, at: int, name: str, screen: Screen) -> None:
    inputs = Inputs((Step(at, key(name), 3), Step(at + 1, click(0.1, 0.9), 1)))
    told = finding("f1", Candidate("freeze", "It freezes", inputs, at + 60), seed, at, (5, 5), screen).as_json()
    read = read_replay(told)
    assert read.screen == screen
    assert (read.kind, read.seed, read.until, read.inputs, read.real) == ("freeze", seed, at + 60, inputs, False)


GOOD: dict[str, Any] = {"kind": "error", "seed": 1, "until": 10, "inputs": [{"at": 1, "kind": "keys", "keys": ["a"]}]}
HOSTILE: list[tuple[object, str]] = [
    (None, "no object"),
    ([], "no object"),
    ({}, "kind is None"),
    (GOOD | {"kind": ["error"]}, "kind is"),
    (GOOD | {"kind": "error\n"}, "kind is"),
    (GOOD | {"seed": -1}, "seed is -1"),
    (GOOD | {"seed": True}, "seed is True"),
    (GOOD | {"seed": 1e300}, "seed is"),
    (GOOD | {"until": MAX_FRAMES + 1}, "until is"),
    (GOOD | {"until": "9" * 5000}, "until is"),
    (GOOD | {"inputs": "ab"}, "no list"),
    (GOOD | {"inputs": [{}] * 1_000_000}, f"at most {MAX_STEPS} are played"),
    (GOOD | {"inputs": [None]}, "input 1 is no object"),
    (GOOD | {"inputs": [{"at": 0, "kind": "fetch"}]}, "input 1: its kind is 'fetch'"),
    (GOOD | {"inputs": [{"at": 0, "kind": {}}]}, "input 1: its kind is {}"),
    (GOOD | {"inputs": [{"at": 1.5, "kind": "click"}]}, "at is 1.5"),
    (GOOD | {"inputs": [{"at": 1, "hold": 0, "kind": "click"}]}, "hold is 0"),
    (GOOD | {"inputs": [{"at": 1, "kind": "keys", "keys": "Enter"}]}, "keys are a list"),
    (GOOD | {"inputs": [{"at": 1, "kind": "keys", "keys": ["Space\x1b[2J"]}]}, "is no key"),
    (GOOD | {"inputs": [{"at": 1, "kind": "keys", "keys": ["a"] * 9}]}, "keys are a list of at most 8"),
    (GOOD | {"inputs": [{"at": 1, "kind": "click", "x": math.nan}]}, "x is nan"),
    (GOOD | {"inputs": [{"at": 1, "kind": "click", "y": 1e9}]}, "y is"),
]


@pytest.mark.parametrize(("given_", "said"), HOSTILE)
def test_what_strangers_tell_is_refused_in_a_line(given_: object, said: str) -> None:
    with pytest.raises(BadInput) as refused:
        read_replay(given_)
    assert said in refused.value.message
    assert len(refused.value.message) < 200 and refused.value.message.isprintable()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)


@given(
    st.dictionaries(st.sampled_from(["kind", "seed", "until", "inputs", "signature", "title", "real", "touch"]), JSON)
)
def test_whatever_is_told_is_read_or_refused(told: dict[str, Any]) -> None:
    for each in (told, GOOD | told, GOOD | {"inputs": [GOOD["inputs"][0] | told]}):
        with contextlib.suppress(BadInput):
            read_replay(each)


def test_errors_are_one_where_numbers_differ_and_two_where_places_do() -> None:
    first = error_signature("TypeError: no ship 12 at 0x3f", STACK)
    assert first == error_signature("TypeError:  no ship 9 at 0x1", STACK.replace("game.example", "other.example:81"))
    assert first != error_signature("TypeError: no ship 12 at 0x3f", STACK.replace("ship.js", "boat.js"))
    assert top_frame(STACK) == "Ship.hit /js/ship.js:10"
    assert top_frame("Error: x\n    at http://game.example/a.js:3:4") == "(anonymous) /a.js:3"
    assert top_frame("") == top_frame("Error: x\n    at native code") == ""


REQUESTS = [
    ("http://game.example/a.png: HTTP 404", "medium"),
    ("http://game.example/a.js: HTTP 500", "high"),
    ("http://game.example/a.png: net::ERR_EMPTY_RESPONSE", "medium"),
    ("https://cdn.example/three.module.js: HTTP 404", "high"),
    ("https://cdn.example/font.woff2: net::ERR_NAME_NOT_RESOLVED", None),
    ("https://ads.example/pixel: HTTP 403", None),
    ("http://game.example/favicon.svg: HTTP 404", None),
    ("http://game.example/game.js.map: HTTP 404", None),
    ("http://game.example/manifest.json: HTTP 404", None),
]


@pytest.mark.parametrize(("detail", "severity"), REQUESTS)
def test_which_requests_that_fail_are_faults(detail: str, severity: str | None) -> None:
    found = candidate_of(Incident("request", detail), URL)
    assert (found is None) == (severity is None)
    if found is not None:
        assert (found.severity or "medium") == severity


def test_each_is_told_once_with_what_was_done_before() -> None:
    seen = [
        (5, Incident("pageerror", "TypeError: no 1", STACK)),
        (8, Incident("pageerror", "TypeError: no 2", STACK)),
        (8, Incident("pageerror", f"{REJECTION}Error: x")),
        (9, Incident("dialog", "alert: hello")),
    ]
    first, second = candidates_of(seen, INPUTS, URL)
    assert (first.title, first.until, first.inputs) == ("Uncaught TypeError: no 1", 5, INPUTS.before(5))
    assert second.title == "Unhandled promise rejection: Error: x"
