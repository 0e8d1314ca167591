"""What the agent decides (agent_worker/games/policy.py, actions.py, reports.py, loading.py)."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_worker.games import policy
from agent_worker.games.actions import ARROWS, SPACE, WHOLE, Action, can_join, click, groups, key, largest, together
from agent_worker.games.chromium.egress_proxy import Trouble
from agent_worker.games.chromium.loading import explain_failure, explain_status, origin
from agent_worker.games.chromium.reports import MAX_TOLD_PER_KIND, Ledger
from agent_worker.games.errors import PageHung, TimeUp


@given(st.floats(min_value=5, max_value=600))
def test_a_plan_is_in_order_and_within_the_budget(budget_s: float) -> None:
    plan = policy.plan(budget_s)
    assert 0 < plan.load_s <= 15
    assert plan.load_s <= budget_s / 2
    assert plan.discover_until_s < plan.explore_until_s < plan.end_s < budget_s
    assert 0.25 <= plan.trial_s <= 0.35


@pytest.mark.parametrize(
    ("waited_s", "used_s", "left_s", "meaning"),
    [
        (1.0, 0.9, 30.0, type(None)),
        (1.0, 0.9, 0.0, TimeUp),
        (3.2, 3.1, 30.0, PageHung),
        (3.2, 3.1, 0.0, PageHung),  # both at once: it did have the time to answer
        (40.0, 0.5, 30.0, type(None)),  # a busy machine: the page waits for its turn
        (60.0, 0.5, 30.0, PageHung),
        (2.9, None, 30.0, type(None)),  # where processor time cannot be had, it is the time that counts
        (3.0, None, 30.0, PageHung),
    ],
)
def test_a_page_hangs_only_if_it_had_the_time_to_answer(
    waited_s: float, used_s: float | None, left_s: float, meaning: type[object]
) -> None:
    silence = policy.no_reply(waited_s, used_s, left_s, "pressing Space")
    assert type(silence) is meaning and (silence is None or "pressing Space" in str(silence))


def test_an_effect_has_to_exceed_what_happens_anyway() -> None:
    assert policy.threshold([0.0]) == policy.MIN_EFFECT
    assert policy.threshold([0.01, 0.02]) > 0.02
    # a title that faded in during one of the trials is not how the picture is
    assert policy.threshold([0.84, 0.001, 0.002]) < 0.01
    # but one that mostly moves much, moves much
    assert policy.threshold([0.001, 0.5, 0.4]) > 0.5


def test_restless_and_calm() -> None:
    assert policy.restless([0.3, 0.4, 0.35])
    assert not policy.restless([0.01, 0.9, 0.02])
    assert policy.calm([], 0.5) and policy.calm([0.1], 0.2) and not policy.calm([0.001], 0.2)


@pytest.mark.parametrize("words", ["GAME OVER", "Game\nover!", "You died", "you've lost", "Play again?", "Try again"])
def test_the_end_of_a_round_is_read(words: str) -> None:
    assert policy.over_words(f"Score 3\n{words}\nBest 9")


@pytest.mark.parametrize("words", ["", "overgame", "Press R to restart", "New Game", "don't let it be over"])
def test_other_words_are_not_the_end(words: str) -> None:
    assert not policy.over_words(words)


@pytest.mark.parametrize(
    ("words", "score"),
    [("Score 120", 120), ("SCORE:\n7", 7), ("1200 points", 1200), ("Lives 3", None), ("highscore", None)],
)
def test_scores_are_read(words: str, score: int | None) -> None:
    assert policy.score_of(words) == score


def test_what_may_start_and_restart() -> None:
    buttons = [("Privacy", 10.0, 10.0), ("Play now", 640.0, 360.0), ("Try again", 64.0, 72.0)]
    start = policy.start_gestures(buttons, (1280, 720), (0.5, 0.5))
    assert [each.name for each in start] == ['click "Play now"', "Space", "click", "Enter"]
    assert (start[0].x, start[0].y) == (0.5, 0.5)
    again = policy.restart_gestures(buttons, (1280, 720), (0.5, 0.5), key("Enter"))
    assert [each.name for each in again][:3] == ["Enter", 'click "Play now"', 'click "Try again"']
    assert sum(each.name == "Enter" for each in again) == 1


def test_the_watch_tells_a_standstill_from_a_quiet_game() -> None:
    lively = policy.Watch(still_s=2, changed_at=0)
    quiet = policy.Watch(still_s=2, changed_at=0)
    for tick in range(10):
        lively.see(tick / 10, 0.01, alone=True)
        quiet.see(tick / 10, 0.0, alone=True)
    assert lively.lively and not quiet.lively
    assert not lively.stands_still(2.8) and lively.stands_still(2.95)
    assert not lively.stands_still(1.6, error_at=0.05) and lively.stands_still(1.8, error_at=0.5)
    lively.see(3, 0.5, alone=False)
    assert not lively.stands_still(4.9) and lively.still_for(4) == 1


def explored(seed: int, gains: dict[str, float], rounds: int = 200) -> list[str]:
    explorer = policy.Explorer((*ARROWS.actions, *SPACE.actions), {"Space": 1.0}, random.Random(seed))
    names = []
    for _ in range(rounds):
        action, hold_s = explorer.choose()
        assert 0 < hold_s < 1
        names.append(action.name)
        explorer.learn(action, gains.get(action.name, 0.0))
    return names


def test_equal_seeds_explore_equally() -> None:
    assert explored(3, {"ArrowUp": 1.0}) == explored(3, {"ArrowUp": 1.0}) != explored(4, {"ArrowUp": 1.0})


def test_exploring_prefers_what_shows_new_scenes_and_leaves_nothing_out() -> None:
    names = explored(1, {"ArrowUp": 1.0})
    counts = {each.name: names.count(each.name) for each in (*ARROWS.actions, *SPACE.actions)}
    assert counts["ArrowUp"] > 3 * max(count for name, count in counts.items() if name != "ArrowUp")
    assert min(counts.values()) > 0


def test_only_keys_that_do_not_contradict_are_pressed_together() -> None:
    left, right, up, down = ARROWS.actions
    assert can_join(left, up) and together(left, up).keys == ("ArrowLeft", "ArrowUp")
    assert not can_join(left, right) and not can_join(up, down) and not can_join(left, left)
    assert not can_join(left, click(0.5, 0.5))


def test_gestures_stay_within_the_game() -> None:
    box = (0.25, 0.1, 0.5, 0.8)
    pointers = [action for group in groups(box) if group.needs == "pointer" for action in group.actions]
    assert len(pointers) == 8
    for each in pointers:
        assert 0.25 <= each.x <= 0.75 and 0.1 <= each.y <= 0.9
        if each.kind == "drag":
            assert 0.25 <= each.to_x <= 0.75 and 0.1 <= each.to_y <= 0.9
    names = [action.name for group in groups(WHOLE) for action in group.actions]
    assert len(names) == len(set(names)) == 18


def test_the_largest_canvas_is_the_game() -> None:
    assert largest([], (1000, 500)) == WHOLE
    assert largest([(0, 0, 20, 20)], (1000, 500)) == WHOLE  # decoration
    assert largest([(0, 0, 300, 300), (100, 50, 500, 400)], (1000, 500)) == (0.1, 0.1, 0.5, 0.8)
    x, y, width, height = largest([(-100, 0, 2000, 500)], (1000, 500))
    assert (x, y, width, height) == (0, 0, 1, 1)


def test_the_ledger_tells_each_incident_once_and_counts_all() -> None:
    ledger = Ledger()
    assert ledger.enter("pageerror", "TypeError: x") == "Script error: TypeError: x"
    assert all(ledger.enter("pageerror", "TypeError: x") is None for _ in range(60))
    assert ledger.counts["pageerror"] == 61 and ledger.distinct["pageerror"] == 1
    told = [ledger.enter("console", f"complaint {n}") for n in range(50)]
    assert len([each for each in told if each]) == MAX_TOLD_PER_KIND
    assert told[MAX_TOLD_PER_KIND - 1] == "Console error: complaint 7 (more of these are only counted)"
    assert ledger.counts["console"] == 50 and ledger.last_error == "TypeError: x"


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("http://a.example/x", "https://www.a.example/y?z", True),
        ("http://a.example/", "http://b.example/", False),
        ("http://127.0.0.1:3000/", "http://127.0.0.1:3001/", False),
        ("http://a.example/", "about:blank", False),
    ],
)
def test_what_a_game_has_to_stay_on(one: str, other: str, same: bool) -> None:
    assert (origin(one) == origin(other)) is same


def test_why_a_page_could_not_be_opened() -> None:
    url = "http://a.example:3000/game"
    for trouble, code, words in (
        (Trouble("a.example", 3000, "url_refused", "It is private."), "url_refused", "It is private."),
        (Trouble("b.example", 80, "url_refused", "It is private."), "url_refused", "redirects"),
        (Trouble("a.example", 3000, "dns_not_found", "unknown"), "game_unreachable", "host was not found"),
        (Trouble("a.example", 3000, "connection_refused", "refused"), "game_unreachable", "on port 3000?"),
        (Trouble("a.example", 3000, "connection_lost", "closed"), "game_unreachable", "did not answer (closed)."),
        (Trouble("a.example", 3000, "bad_answer", "no HTTP"), "game_unreachable", "cannot be read (no HTTP)."),
    ):
        failed = explain_failure(url, None, trouble, 15)
        assert failed.code == code and words in failed.message
    assert "did not answer within 15 s" in explain_failure(url, None, None, 15, connected=True).message
    assert explain_failure(url, "net::ERR_CERT_DATE_INVALID at x", None, 15).code == "tls_error"
    assert "in a circle" in explain_failure(url, "net::ERR_TOO_MANY_REDIRECTS at x", None, 15).message
    assert "net::ERR_FOO" in explain_failure(url, "Page.goto: net::ERR_FOO at x", None, 15).message


def test_what_is_no_page() -> None:
    assert explain_status(200, "OK", "text/html; charset=utf-8") is None
    assert explain_status(200, "OK", None) is None
    failed = explain_status(404, "", "text/html")
    assert failed and failed.code == "http_404" and "404 (Not Found)" in failed.message
    failed = explain_status(200, "OK", "application/pdf")
    assert failed and failed.code == "not_html" and "application/pdf" in failed.message


def test_an_action_is_a_value() -> None:
    assert key("Space") == Action("Space", "keys", ("Space",))
