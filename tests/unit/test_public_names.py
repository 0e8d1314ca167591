"""What `from testcast import …` gives, and that it costs nothing before it is used."""

from __future__ import annotations

import subprocess
import sys

import pytest

import testcast


@pytest.mark.parametrize("name", testcast.__all__)
def test_every_public_name_can_be_imported(name: str) -> None:
    assert getattr(testcast, name).__name__ == name


def test_another_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'frobnicate'"):
        testcast.frobnicate  # type: ignore[attr-defined]  # noqa: B018


def test_a_name_is_imported_when_it_is_used() -> None:
    program = """
import sys, testcast
assert "websockets" not in sys.modules
testcast.watch
assert "websockets" in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True)
