"""The table of attacks: a sentence that says what is tried, the answer it must get, and the code that tries it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple

import pytest

if TYPE_CHECKING:
    from tests.security.system import System

Act = Callable[["System"], Awaitable[None]]


class Attack(NamedTuple):
    """One attack."""

    sentence: str
    """What is tried. The id of its test."""
    answer: str
    """What must happen instead."""
    act: Act
    """Tries it, and raises AssertionError where it gets through."""


class Table:
    """The attacks of one file."""

    def __init__(self) -> None:
        self._rows: dict[str, Attack] = {}

    def __iter__(self) -> Iterator[Attack]:
        return iter(self._rows.values())

    def __len__(self) -> int:
        return len(self._rows)

    def attack(self, sentence: str, answer: str) -> Callable[[Act], Act]:
        """Decorates the function that tries it."""

        def add(act: Act) -> Act:
            self.add(sentence, answer, act)
            return act

        return add

    def add(self, sentence: str, answer: str, act: Act) -> None:
        """Adds a row.

        Raises:
            ValueError: there is one of this sentence.
        """
        if sentence in self._rows:
            raise ValueError(f"two attacks are called {sentence!r}")
        self._rows[sentence] = Attack(sentence, answer, act)

    def test(self) -> Callable[..., Awaitable[None]]:
        """The test of a file: one id for each attack."""

        @pytest.mark.parametrize("attack", list(self), ids=[each.sentence for each in self])
        async def test_attack(system: System, attack: Attack) -> None:
            system.mark_log()
            await attack.act(system)
            assert "Traceback" not in system.log(), "an error that nobody expected"

        return test_attack


def gathered(tables: Iterable[Table]) -> list[Attack]:
    """All attacks of these tables."""
    return [attack for table in tables for attack in table]
