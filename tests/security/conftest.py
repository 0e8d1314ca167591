"""The system that attacks share."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from tests.security.system import System


@pytest.fixture(scope="session")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """Started once per process of tests."""
    system = System(tmp_path_factory.mktemp("security"))
    try:
        asyncio.run(system.start())
        yield system
    finally:
        asyncio.run(system.stop())
