"""Fixtures of the unit tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bench import host
from tests.model import VirtualLoop


@pytest.fixture
def loop() -> Iterator[VirtualLoop]:
    """A loop whose clock jumps to the next timer."""
    loop = VirtualLoop()
    yield loop
    loop.finish()


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The C programs of the benchmark."""
    built = tmp_path_factory.mktemp("bench")
    host.build(built)
    return built
