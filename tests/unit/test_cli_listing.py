"""Which runs `list` shows, in which order, and as what."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec
import pytest

from broker.contract.events import Status
from broker.contract.snapshot import ListStatus, Snapshot
from testcast.cli.listing import Runs, Selection, changed, stale_reason
from testcast.cli.rows import header, layout_for, row

NOW_MS = 100_000
ID = "4f9c2d3e-8a51-4c0b-9d57-2f1f6f0a7b11"


def run(number: int, status: Status = "running", **fields: Any) -> Snapshot:
    """The run of a number; the higher, the newer."""
    made = Snapshot(
        test_id=f"run-{number}",
        title="Game",
        game_url="",
        status=status,
        phase=None,
        message="",
        seq=number,
        created_at=number,
        updated_at=number,
        attempt=1,
    )
    return msgspec.structs.replace(made, **fields)


def choose(runs: Iterable[Snapshot], status: ListStatus | None, limit: int) -> Runs:
    return Selection(status, limit).choose(runs)


def test_the_newest_come_first_and_a_tie_has_one_order() -> None:
    runs = [run(1), run(3), run(2), run(4, created_at=3)]
    assert [each.test_id for each in choose(runs, None, 3)] == ["run-4", "run-3", "run-2"]
    assert choose(reversed(runs), None, 3) == choose(runs, None, 3)


def test_a_status_is_chosen_before_the_limit() -> None:
    runs = [run(3, "queued"), run(2, "completed"), run(1, "completed")]
    assert [each.test_id for each in choose(runs, "completed", 1)] == ["run-2"]


def test_what_changed_comes_oldest_first() -> None:
    before = choose([run(1), run(2), run(3)], None, 9)
    after = choose([run(1, "completed"), run(2), run(3), run(4)], None, 9)
    assert [each.test_id for each in changed(before, after)] == ["run-1", "run-4"]
    assert changed(after, after) == []


def test_a_cancelled_run_is_not_a_failed_one() -> None:
    runs = [run(1, "failed"), run(2, "failed", error_code="cancelled"), run(3, "failed", error_code="lost")]
    assert [each.test_id for each in choose(runs, "cancelled", 9)] == ["run-2"]
    assert [each.test_id for each in choose(runs, "failed", 9)] == ["run-3", "run-1"]


def test_a_moment_chooses_what_came_then_or_later() -> None:
    runs = [run(1), run(2), run(3)]
    assert [each.test_id for each in Selection(since_ms=2).choose(runs)] == ["run-3", "run-2"]


@pytest.mark.parametrize(
    ("snapshot", "columns"),
    [
        (run(1, "queued", created_at=40_000), "queued                      1:00    1m ago  run-1  Game"),
        (
            run(1, created_at=1, started_at=95_000, phase="phase2"),
            "running    2/4              0:05    1m ago  run-1  Game",
        ),
        (run(1, started_at=95_000, stalled=True), "stalled                     0:05    1m ago  run-1  Game"),
        (
            run(1, "completed", started_at=1000, finished_at=63_000, score=78.5, phase="phase4"),
            "completed  4/4     78.5     1:02    1m ago  run-1  Game",
        ),
        (
            run(1, "failed", finished_at=63_000, error_code="cancelled", message="Cancelled"),
            "cancelled                   1:02    1m ago  run-1  Game  Cancelled",
        ),
        (
            run(1, "queued", created_at=99_000, queue_place=2),
            "queued                      0:01    1s ago  run-1  Game  number 2 in the queue",
        ),
        (
            run(1, "queued", created_at=100_500, no_agent=True, message="Queued"),
            "queued                      0:00       now  run-1  Game  no agent is running",
        ),
        (run(1, "queued", created_at=0), "queued                         -         -  run-1  Game"),
    ],
)
def test_a_row_has_the_columns_of_the_header(snapshot: Snapshot, columns: str) -> None:
    (line,) = row(snapshot, NOW_MS)
    assert line.plain.replace(f"{'run-1':36}", "run-1") == columns


def test_a_row_holds_nothing_that_controls_a_terminal() -> None:
    (line,) = row(run(1, title="a\x1b[2Jb", message="c\nd"), NOW_MS)
    assert line.plain.endswith("ab  c ⏎ d")


@pytest.mark.parametrize("width", [40, 50, 60, 79, 80, 99, 100, 120, 200, None])
def test_at_every_width_the_id_is_whole_and_the_title_begins(width: int | None) -> None:
    layout = layout_for(width)
    shown = run(1, "completed", score=78.5, test_id=ID, title="Star Hopper and more than fits")
    lines = row(shown, NOW_MS, layout)
    for line in lines:
        line.truncate(width or 1000)
    assert sum(ID in line.plain for line in lines) == 1
    assert "Star Hopper" in lines[0].plain
    assert lines[0].plain.index("Star") == header(layout).index("TITLE")


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ({}, ""),
        ({"stale": True, "ageMs": 12_900}, "the edge has lost its broker 12 s ago"),
        ({"stale": True}, "the edge has lost its broker"),
        ({"stale": True, "degraded": ["the disk is full"]}, "the disk is full"),
        ({"degraded": ["one", "two\x1b[2J", 3]}, "one; two"),
        ({"degraded": "?"}, ""),
    ],
)
def test_a_list_that_may_be_old_says_why(answer: dict[str, Any], told: str) -> None:
    assert stale_reason(answer) == told
