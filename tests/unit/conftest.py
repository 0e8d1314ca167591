"""Fixtures of the unit tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.model import VirtualLoop


@pytest.fixture
def loop() -> Iterator[VirtualLoop]:
    """A loop whose clock jumps to the next timer."""
    loop = VirtualLoop()
    yield loop
    loop.finish()
