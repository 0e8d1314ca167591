"""The resume table and the gap check, row by row."""

from __future__ import annotations

import pytest

from broker.contract.position import Decision, Position, decide, link


@pytest.mark.parametrize(
    ("asked", "retained", "answer"),
    [
        (None, True, Decision("live", None, 0)),
        (Position("e", 0), True, Decision("live", None, 0)),
        (Position("e", 100), True, Decision("recovered", None, 100)),
        (Position("e", 100), False, Decision("recovered", None, 100)),  # the head needs no looking up
        (Position("e", 40), True, Decision("recovered", None, 40)),
        (Position("e", 40), False, Decision("reset", "expired", 0)),
        (Position("e", 101), True, Decision("reset", "ahead", 0)),
        (Position("old", 100), True, Decision("reset", "epoch", 0)),
        (Position("old", 0), True, Decision("reset", "epoch", 0)),
        (Position(None, 40), True, Decision("recovered", None, 40)),
    ],
)
def test_the_resume_table(asked: Position | None, retained: bool, answer: Decision) -> None:
    assert decide(asked, "e", 100, retained=retained) == answer


@pytest.mark.parametrize(
    ("seq", "predecessor", "expected"),
    [(11, 10, "next"), (10, 9, "old"), (3, 0, "old"), (14, 12, "gap"), (14, 0, "gap"), (200, 10, "next")],
)
def test_the_gap_check(seq: int, predecessor: int, expected: str) -> None:
    assert link(10, seq, predecessor) == expected
