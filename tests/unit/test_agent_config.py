"""TESTCAST_AGENT_…: wrong values are refused at the start, and the message names the variable."""

from __future__ import annotations

import sys

import pytest

from agent_worker.config import load
from broker.contract.errors import InvalidSetting


def test_defaults() -> None:
    config = load({})
    assert (config.concurrency, config.allow_private, config.chromium) == (2, None, None)
    assert config.name.rpartition("-")[2].isdigit()


def test_everything_set() -> None:
    config = load(
        {
            "TESTCAST_AGENT_CONCURRENCY": "4",
            "TESTCAST_AGENT_ALLOW_PRIVATE": "1",
            "TESTCAST_AGENT_CHROMIUM": sys.executable,
            "TESTCAST_AGENT_NAME": "blue",
        }
    )
    assert config == (4, True, sys.executable, "blue")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CONCURRENCY", "0"),
        ("CONCURRENCY", "65"),
        ("CONCURRENCY", "1.5"),
        ("CONCURRENCY", "many"),
        ("CONCURRENCY", "nan"),
        ("ALLOW_PRIVATE", "maybe"),
        ("CHROMIUM", "/no/such/browser"),
        ("NAME", "x" * 65),
        ("NAME", "two\nlines"),
        ("NAME", "  "),
    ],
)
def test_wrong_values_are_refused_by_name(name: str, value: str) -> None:
    with pytest.raises(InvalidSetting, match=f"^TESTCAST_AGENT_{name}: "):
        load({f"TESTCAST_AGENT_{name}": value})
