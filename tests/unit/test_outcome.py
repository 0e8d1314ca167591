"""What becomes of a job (agent_worker/work/outcome.py), case by case."""

from __future__ import annotations

import pytest

from agent_worker.publish.writer import History
from agent_worker.work.outcome import (
    MAX_LOST_ATTEMPTS,
    Decision,
    End,
    Failure,
    Stopped,
    TryAgain,
    after_playing,
    before_playing,
    end_of,
)
from broker.contract.errors import BrokerUnavailable, Fenced


def attempts(*lost: int, handed_on: tuple[int, ...] = ()) -> History:
    return History(9, False, frozenset(lost + handed_on), frozenset(handed_on))


@pytest.mark.parametrize(
    "history",
    [History(), History(1), attempts(1), attempts(1, 2), attempts(handed_on=tuple(range(1, 20))), attempts(2, 9)],
)
def test_a_run_that_is_played(history: History) -> None:
    assert before_playing(history) is None


def test_a_run_that_has_ended_is_not_played_whatever_else_is_known_of_it() -> None:
    assert before_playing(History(9, ended=True)) == Decision(End.ENDED)
    assert before_playing(attempts(1, 2, 3)._replace(ended=True)) == Decision(End.ENDED)


def test_a_run_that_has_cost_three_workers_is_given_up() -> None:
    given_up = before_playing(attempts(1, 4, 7, handed_on=(2, 3)))
    message = "Given up: three workers were lost on this run (attempts 1, 4, 7)"
    assert given_up == Decision(End.STORED, Failure(message, "lost"))
    assert before_playing(attempts(*range(1, MAX_LOST_ATTEMPTS))) is None


BROKER = BrokerUnavailable("nats://user:secret@10.0.0.1 does not answer")
NO_RESULT = Decision(End.STORED, Failure("The agent ended without a result", "no_result"))
TIMEOUT = Decision(End.STORED, Failure("The agent was still busy after 90 s and was stopped", "agent_timeout"))
AGAIN = Decision(End.AGAIN, remark="This worker cannot play on: No Chromium")
TRY_AGAIN = TryAgain("No Chromium")


def failed(reason: str) -> Decision:
    return Decision(End.STORED, Failure(f"The agent failed: {reason}", "agent_error"))


@pytest.mark.parametrize(
    ("published_end", "worker_stops", "in_time", "error", "decision"),
    [
        # A terminal event that was published counts, whatever happened besides.
        (True, False, True, None, Decision(End.STORED)),
        (True, True, True, None, Decision(End.STORED)),
        (True, False, False, None, Decision(End.STORED)),
        (True, False, True, ValueError("late"), Decision(End.STORED)),
        (True, False, True, TRY_AGAIN, Decision(End.STORED)),
        # A worker that stops hands on; what stopped it may have stopped its browser.
        (False, True, True, None, Decision(End.HANDED_ON)),
        (False, True, False, None, Decision(End.HANDED_ON)),
        (False, True, True, ValueError("browser died"), Decision(End.HANDED_ON)),
        (False, True, True, TRY_AGAIN, Decision(End.HANDED_ON)),
        # Another attempt may succeed.
        (False, False, True, TRY_AGAIN, AGAIN),
        (False, False, False, TRY_AGAIN, AGAIN),
        # The run fails.
        (False, False, False, None, TIMEOUT),
        (False, False, False, ValueError("raised when cancelled"), TIMEOUT),
        (False, False, True, ValueError("out of ideas"), failed("out of ideas")),
        (False, False, True, ValueError(), failed("ValueError")),
        (False, False, True, BROKER, failed(BROKER.public_message)),
        (False, False, True, None, NO_RESULT),
    ],
)
def test_what_a_worker_does_about_a_run_it_owns(
    published_end: bool, worker_stops: bool, in_time: bool, error: Exception | None, decision: Decision
) -> None:
    decided = after_playing(Stopped(published_end, worker_stops, in_time, 90.0, error))
    assert decided == decision
    assert "secret" not in repr(decided)


@pytest.mark.parametrize(("reason", "end"), [("ended", End.ENDED), ("attempt", End.FENCED)])
def test_how_a_fenced_job_ends(reason: str, end: End) -> None:
    assert end_of(Fenced("no", reason)) is end


def test_a_run_that_its_game_ended_three_times_fails_with_that_reason() -> None:
    died = "the game's browser died"
    again = after_playing(Stopped(False, False, True, 60, TryAgain(died, suspect=True)))
    assert again == Decision(End.AGAIN, remark=f"This worker cannot play on: {died}", lost_to=died)
    history = attempts(1, 2, 3)._replace(lost_to=(died, died, died))
    message = f"Given up after 3 attempts (1, 2, 3): each time, {died}"
    assert before_playing(history) == Decision(End.STORED, Failure(message, "lost_to_game"))
    mixed = before_playing(history._replace(lost_to=(died,)))
    assert mixed is not None and mixed.failure is not None and mixed.failure.message.endswith(f": once, {died}")
