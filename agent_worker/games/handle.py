"""What playing needs from the rest of the worker, and nothing more: a job to play and a place to tell of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class GameJob:
    """One game to play once.

    Attributes:
        test_id: The run's id, for logs.
        game_url: An address that `broker.gameurl.check_game_url` returned.
        budget_s: Seconds from the start of `play` within which the verdict is published.
        seed: What the exploring's choices follow from.
    """

    test_id: str
    game_url: str
    budget_s: float
    seed: int


class RunHandle(Protocol):
    """Where a run is told, event by event.

    Every method returns when the event is safe (stored, or kept to be stored) and may wait for that. None is
    called after `complete` or `fail`. Calls come from one task, one at a time.
    """

    async def phase(self, n: int, message: str = ...) -> None:
        """The run enters phase `n`, 1 to 4."""

    async def progress(self, message: str, **data: object) -> None:
        """Something worth a line in the feed."""

    async def action(self, action: str, message: str | None = None) -> None:
        """The agent does something to the game, such as "Testing WASD movement"."""

    async def complete(self, score: int, metrics: dict[str, object], message: str | None = None) -> None:
        """The verdict: `score` 0 to 100, and what it rests on."""

    async def fail(self, message: str, code: str) -> None:
        """There is no verdict on the game: it could not be played at all."""

    async def shot(self, jpeg: bytes) -> None:
        """The newest picture of the game, at most 64 KiB."""
