"""There are enough attacks, and each has a sentence and an answer."""

from __future__ import annotations

from typing import Final

from tests.security.__main__ import tables
from tests.security.attacks import gathered

_AT_LEAST: Final = 90


def test_there_are_at_least_ninety_attacks() -> None:
    attacks = gathered(tables().values())
    assert len(attacks) >= _AT_LEAST
    assert len({attack.sentence for attack in attacks}) == len(attacks), "a sentence names one attack"
    assert all(attack.answer for attack in attacks)
