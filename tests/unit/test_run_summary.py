"""How a run's time is divided, what is measured, and what its verdict carries (agent_worker/games/)."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_worker.games.actions import key
from agent_worker.games.chromium.page_state import Loading
from agent_worker.games.findings import heap
from agent_worker.games.findings.heap import Heap
from agent_worker.games.inputs import Inputs
from agent_worker.games.realtime import stretch
from agent_worker.games.realtime.stretch import Processors, Stretch
from agent_worker.games.run import gathering, schedule, scoring, summary
from agent_worker.games.run.summary import Summary

SLOW = {"since": 0.0, "now": 5000.0, "frames": [50.0 * n for n in range(100)], "long": [[0, 120.5]]}
TOLD: dict[str, Any] = {**SLOW, "inputs": [[1010.0, 20], [2020.0, 40]], "loaded": 310.4, "painted": 205.2}


def finding(number: int, kind: str = "error", inputs: int = 1) -> dict[str, Any]:
    steps = [{"at": n, "hold": 4, "kind": "keys", "name": "Space", "keys": ["Space"]} for n in range(inputs)]
    title = f"{kind} {number}"
    return {
        "id": f"f{number}",
        "kind": kind,
        "severity": "medium",
        "title": title,
        "detail": "x" * 400,
        "inputs": steps,
    }


# -- the schedule ---------------------------------------------------------------------------------------------------


@given(st.floats(5, 600))
def test_a_schedule_is_in_order_and_leaves_time_for_the_verdict(budget_s: float) -> None:
    plan = schedule.schedule(budget_s)
    assert 0 < plan.load_s <= min(15, budget_s / 2)
    assert plan.in_by < plan.controls_by < plan.findings_by < plan.end_s < budget_s
    assert plan.explore_by < plan.real_by < plan.standing_by < plan.rest_by < plan.stress_by < plan.findings_by
    assert budget_s - plan.findings_by >= 1.29


@given(st.floats(5, 600), st.floats(0, 600))
def test_a_longer_budget_gives_no_step_less(budget_s: float, more_s: float) -> None:
    one, other = schedule.schedule(budget_s), schedule.schedule(budget_s + more_s)
    steps = ("load_s", "in_by", "real_s", "rest_by", "explore_by", "findings_by", "end_s")
    assert all(getattr(other, name) >= getattr(one, name) - 1e-9 for name in steps)


def test_a_short_budget_has_no_time_at_true_speed() -> None:
    assert schedule.schedule(9).real_s == 0 and schedule.schedule(10).real_s >= 2


# -- loading ----------------------------------------------------------------------------------------------------------


def test_a_load_is_slow_only_where_each_was_and_the_machine_waited() -> None:
    slow, quick, busy = Loading(6.2, 0.8), Loading(0.3, 0.5), Loading(6.2, 0.1)
    found = gathering.slow_load([slow, slow, Loading(7.0, 0.9)])
    assert found is not None and (found.kind, found.measured, found.title) == (
        "slowload",
        (3, 3),
        "It loads slowly: in 6 s",
    )
    for loads in ([], [slow], [slow, quick], [slow, busy], [slow, Loading(6.2, None)]):
        assert gathering.slow_load(loads) is None


# -- true speed -----------------------------------------------------------------------------------------------------


def test_what_was_measured_while_others_used_the_processors_is_left_out() -> None:
    calm, busy = (stretch.read(TOLD, 1, idle, 0.5) for idle in (0.5, 0.01))
    assert (calm.fps, calm.long_tasks_ms, calm.load_ms, calm.picture_ms, calm.busy) == (20.0, 120, 310, 205, "")
    assert (busy.fps, busy.long_tasks_ms, busy.input_ms, busy.load_ms) == (None, None, None, 310)
    assert "busy" in busy.line() and "busy" not in calm.line()
    assert stretch.read(TOLD, 1, None, 0.5).busy  # not known is not calm


def test_the_delay_of_an_input_counts_to_the_frame_that_shows_it() -> None:
    told = TOLD | {"inputs": [[990.0, 20]]}
    assert stretch.read(told, 1, 0.5, 0.5).input_ms == 10
    assert stretch.read(told, 3, 0.5, 0.5).input_ms == 110
    assert stretch.read(told, None, 0.5, 0.5).input_ms is None  # in which frame an input shows is not known
    assert stretch.read(told | {"inputs": [[4990.0, 100]]}, 1, 0.5, 0.5).input_ms is None


def test_few_frames_are_the_games_fault_only_where_its_scripts_take_the_time() -> None:
    assert stretch.read(TOLD, 1, 0.5, 4.0).drops_frames  # 40 ms for each of 100
    assert not stretch.read(TOLD, 1, 0.5, 0.2).drops_frames
    assert not stretch.read(TOLD, 1, 0.01, 4.0).drops_frames
    assert not Stretch(5.0, fps=60.0, script_ms=30.0).drops_frames


def test_the_unused_part_of_the_processors() -> None:
    assert Processors(150, 400).idle_share(Processors(100, 200)) == 0.25
    assert Processors(1, 1).idle_share(Processors(1, 1)) is None


# -- memory ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kb", "leaks"),
    [
        ((1000, 2000, 3000, 4000, 5000, 6000), True),
        ((1000, 3000, 3500, 4000, 4300, 4600), False),  # less and less
        ((1000, 1100, 1200, 1300, 1400, 1500), False),  # too little
        ((1000, 3000, 2000, 5000, 6000, 7000), False),  # given back once
        ((1000, 9000), False),  # too short
    ],
)
def test_memory_leaks_only_where_it_grows_in_every_stretch(kb: tuple[int, ...], leaks: bool) -> None:
    assert Heap(kb, Inputs(), 0, 100).leaks is leaks


def test_the_play_for_the_memory_uses_all_gestures_in_turn() -> None:
    steps = heap.playing([key("A"), key("B")], 100, 300)
    assert {step.action.name for step in steps} == {"A", "B"}
    assert all(step.at >= 100 and step.end <= 300 for step in steps) and heap.playing([], 0, 300) == []


# -- the metrics ----------------------------------------------------------------------------------------------------


def test_findings_become_lost_points_with_their_ids() -> None:
    found = Summary(findings=[finding(1)], tried=["Space"], controls=[{"control": "Space"}], searched=True)
    metrics: dict[str, Any] = found.metrics()
    assert {each["finding"] for each in metrics["lost"]} == {"f1"}
    score = sum(part["score"] for part in metrics["rubric"])
    assert score == 100 - sum(each["points"] for each in metrics["lost"])
    assert metrics["problems"] == [{"kind": "error", "detail": "error 1"}]


def test_a_game_that_was_stopped_says_so_first() -> None:
    found = Summary(findings=[finding(1)], stopped="the game was stopped: it took more than 2048 MB of memory")
    assert found.problems()[0] == {"kind": "limit", "detail": found.stopped}
    assert any(each.why == found.stopped for each in found.evidence.faults)


def test_errors_that_were_not_shown_again_cost_less_than_findings() -> None:
    found = Summary()
    found.incidents.update(pageerror=5)
    found.told = [("pageerror", "TypeError"), ("dialog", "alert: hi")]
    lost = [each.points for each in scoring.deductions(found.evidence)]
    found.findings = [finding(1)]
    assert 0 < sum(lost) < sum(each.points for each in scoring.deductions(found.evidence))
    found.findings = []
    assert found.problems() == [{"kind": "dialog", "detail": "alert: hi"}]


@given(st.integers(0, 20), st.integers(0, 80), st.integers(0, 20))
def test_metrics_stay_small_and_lose_the_least_first(number: int, inputs: int, seen: int) -> None:
    found = Summary(
        findings=[finding(n, inputs=inputs) for n in range(number)],
        seen_once=[finding(n, inputs=inputs) for n in range(seen)],
    )
    metrics: dict[str, Any] = found.metrics()
    assert len(msgspec.json.encode(metrics)) <= summary.MAX_METRICS_BYTES
    assert found.findings == [finding(n, inputs=inputs) for n in range(number)]  # what was found is not changed
    if len(metrics["findings"]) < number:
        assert not metrics["seenOnce"] and not any(each["inputs"] for each in metrics["findings"])
    assert ("cut" in metrics) == (metrics["findings"] != found.findings or metrics["seenOnce"] != found.seen_once)


def test_what_a_model_has_done_is_told_where_there_was_one() -> None:
    assert "model" not in Summary().metrics()
    told: dict[str, object] = {"name": "see-4b", "choices": 3, "fallbacks": 1}
    assert Summary(model=told).metrics()["model"] == told
