"""A fault in place."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import NamedTuple


class Strike(NamedTuple):
    """A fault in place: its target, and the function that heals it."""

    target: str
    heal: Callable[[], Awaitable[None]]
