"""TESTCAST_AGENT_…: wrong values are refused at the start, and the message names the variable."""

from __future__ import annotations

import sys

import pytest

from agent_worker.config import forget_secrets, load
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
            "TESTCAST_AGENT_MEMORY_MB": "1024",
            "TESTCAST_AGENT_PROCESSES": "32",
            "TESTCAST_AGENT_DISK_MB": "100",
            "TESTCAST_AGENT_ALLOW_ROOT": "1",
            "TESTCAST_ALLOW_HOSTS": "demo_game:8080, 10.0.0.1",
            "TESTCAST_NATS_URL": "nats://user:secret@127.0.0.1",
            "LANG": "C.UTF-8",
        }
    )
    assert config[:4] == (4, True, sys.executable, "blue")
    assert config[4:9] == (frozenset({"demo_game:8080", "10.0.0.1"}), 1024, 32, 100, True)
    assert config.browser_environment == {"LANG": "C.UTF-8"}


def test_the_way_to_the_broker_is_not_passed_on() -> None:
    environ = {"TESTCAST_NATS_URL": "nats://a:b@c", "TESTCAST_NATS_CREDS": "/x", "PATH": "/bin"}
    forget_secrets(environ)
    assert environ == {"PATH": "/bin"}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CONCURRENCY", "0"),
        ("CONCURRENCY", "65"),
        ("CONCURRENCY", "1.5"),
        ("CONCURRENCY", "many"),
        ("CONCURRENCY", "nan"),
        ("ALLOW_PRIVATE", "maybe"),
        ("ALLOW_ROOT", "perhaps"),
        ("MEMORY_MB", "100"),
        ("PROCESSES", "2"),
        ("DISK_MB", "0"),
        ("CHROMIUM", "/no/such/browser"),
        ("NAME", "x" * 65),
        ("NAME", "two\nlines"),
        ("NAME", "  "),
    ],
)
def test_wrong_values_are_refused_by_name(name: str, value: str) -> None:
    with pytest.raises(InvalidSetting, match=f"^TESTCAST_AGENT_{name}: "):
        load({f"TESTCAST_AGENT_{name}": value})
