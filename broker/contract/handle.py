"""What both handles of a run do alike, `TestRun` over NATS and `HttpRun` through an edge. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from broker.contract.errors import BadInput, TestcastError
from broker.contract.events import PHASES, Phase

DEFAULT_PHASES: Final = ("Loading", "Discovering controls", "Exploring gameplay", "Evaluating")
"""Titles of a run's phases where it is given no others. On the wire they are `phase1` to `phase4`."""
MAX_REASON_CHARS: Final = 1_000


def check_phases(titles: Sequence[str]) -> tuple[str, ...]:
    """Returns the titles of a run's phases.

    Raises:
        BadInput: there are none, more than four, or one is empty.
    """
    if isinstance(titles, str) or not 1 <= len(titles) <= len(PHASES) or not all(each.strip() for each in titles):
        raise BadInput(f"phases: expected 1 to {len(PHASES)} titles, got {titles!r}")
    return tuple(titles)


def phase_of(number: int, titles: Sequence[str]) -> Phase:
    """Returns the phase of a number, counted from 1.

    Raises:
        BadInput: the run has no such phase.
    """
    if not isinstance(number, int) or not 1 <= number <= len(titles):
        raise BadInput(f"phase: expected 1 to {len(titles)}, got {number!r}")
    return PHASES[number - 1]


def result(score: float, metrics: Mapping[str, object] | None, message: str | None) -> tuple[str, dict[str, Any]]:
    """Returns the message and the data of a run's `complete` event.

    Raises:
        BadInput: the score is none.
    """
    if isinstance(score, bool) or not isinstance(score, (int, float)) or not 0 <= score <= 100:
        raise BadInput(f"score: expected 0 to 100, got {score!r}")
    return message or f"Test complete! Score {score:g}/100", {"score": score, "metrics": dict(metrics or {})}


def public_reason(error: BaseException) -> str:
    """What viewers may read of `error`: the broker's address and its own words stay in the log."""
    return (error.public_message if isinstance(error, TestcastError) else str(error)) or type(error).__name__


def failure(error: BaseException | None) -> tuple[str, str]:
    """Returns the message and the code of a run whose block was left before its end.

    Args:
        error: what has left the block; None: nothing.
    """
    if error is None:
        return "The agent ended without a result", "no_result"
    if isinstance(error, Exception):
        return f"The agent failed: {public_reason(error)}", "agent_error"
    return "The agent was interrupted", "interrupted"
