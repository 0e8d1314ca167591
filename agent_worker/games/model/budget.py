"""What one run has spent on a model, and what it may still spend. Pure."""

from __future__ import annotations

from agent_worker.games.model.answer import Usage


class Budget:
    """Calls and tokens of one run."""

    __slots__ = ("_max_calls", "_max_tokens", "calls", "input_tokens", "output_tokens")

    def __init__(self, calls: int, tokens: int) -> None:
        self._max_calls = calls
        self._max_tokens = tokens
        self.calls = 0
        """Requests that were sent."""
        self.input_tokens = 0
        """As the endpoint counts them. One that tells no figures is bounded by the number of calls alone."""
        self.output_tokens = 0

    def __repr__(self) -> str:
        return f"<Budget calls={self.calls} tokens={self.input_tokens + self.output_tokens}>"

    @property
    def spent(self) -> str | None:
        """What is used up, in words; None: nothing is."""
        if self.calls >= self._max_calls:
            return f"its {self._max_calls} calls of a run are used up"
        if self.input_tokens + self.output_tokens >= self._max_tokens:
            return f"its {self._max_tokens} tokens of a run are used up"
        return None

    def take_call(self) -> bool:
        """Takes one call; False: none is left."""
        if self.spent is not None:
            return False
        self.calls += 1
        return True

    def add(self, usage: Usage | None) -> None:
        """Adds what a call has used."""
        if usage is not None:
            self.input_tokens += usage.prompt_tokens
            self.output_tokens += usage.completion_tokens
