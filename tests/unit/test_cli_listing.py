"""Which runs `list` shows, in which order, and as what."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from broker.contract.events import Status
from broker.contract.snapshot import Snapshot
from testcast.cli.listing import changed, choose, row

NOW_MS = 100_000


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


@pytest.mark.parametrize(
    ("snapshot", "columns"),
    [
        (run(1, "queued", created_at=40_000), "queued                      1:00  run-1  Game"),
        (run(1, created_at=1, started_at=95_000, phase="phase2"), "running    2/4              0:05  run-1  Game"),
        (run(1, started_at=95_000, stalled=True), "stalled                     0:05  run-1  Game"),
        (
            run(1, "completed", started_at=1000, finished_at=63_000, score=78.5, phase="phase4"),
            "completed  4/4     78.5     1:02  run-1  Game",
        ),
    ],
)
def test_a_row_has_the_columns_of_the_header(snapshot: Snapshot, columns: str) -> None:
    assert row(snapshot, NOW_MS).plain.rstrip() == columns


def test_a_row_holds_nothing_that_controls_a_terminal() -> None:
    assert row(run(1, title="a\x1b[2Jb", message="c\nd"), NOW_MS).plain.endswith("ab  c ⏎ d")
