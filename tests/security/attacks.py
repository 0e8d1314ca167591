"""The table of attacks: a sentence that says what is tried, the answer it must get, and the code that tries it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

import pytest

if TYPE_CHECKING:
    from tests.security.system import System

Act = Callable[["System"], Awaitable[None]]
Target = TypeVar("Target")


class Attack(NamedTuple, Generic[Target]):
    """One attack."""

    sentence: str
    """What is tried. The id of its test."""
    answer: str
    """What must happen instead."""
    act: Callable[[Target], Awaitable[None]]
    """Tries it, and raises AssertionError where it gets through."""


class Table(Generic[Target]):
    """The attacks of one file, on targets of one type."""

    def __init__(self) -> None:
        self._rows: dict[str, Attack[Target]] = {}

    def __iter__(self) -> Iterator[Attack[Target]]:
        return iter(self._rows.values())

    def __len__(self) -> int:
        return len(self._rows)

    def attack(
        self, sentence: str, answer: str
    ) -> Callable[[Callable[[Target], Awaitable[None]]], Callable[[Target], Awaitable[None]]]:
        """Decorates the function that tries it."""

        def add(act: Callable[[Target], Awaitable[None]]) -> Callable[[Target], Awaitable[None]]:
            self.add(sentence, answer, act)
            return act

        return add

    def add(self, sentence: str, answer: str, act: Callable[[Target], Awaitable[None]]) -> None:
        """Adds a row.

        Raises:
            ValueError: there is one of this sentence.
        """
        if sentence in self._rows:
            raise ValueError(f"two attacks are called {sentence!r}")
        self._rows[sentence] = Attack(sentence, answer, act)

    def cases(self) -> pytest.MarkDecorator:
        """Gives a test the argument `attack`: one id for each attack."""
        return pytest.mark.parametrize("attack", list(self), ids=[each.sentence for each in self])


def as_test(table: Table[System]) -> Callable[..., Awaitable[None]]:
    """The test of a file of attacks on the shared system."""

    @table.cases()
    async def test_attack(system: System, attack: Attack[System]) -> None:
        system.mark_log()
        await attack.act(system)
        assert "Traceback" not in system.log(), "an error that nobody expected"

    return test_attack


def gathered(tables: Iterable[Table[Any]]) -> list[Attack[Any]]:
    """All attacks of these tables."""
    return [attack for table in tables for attack in table]
