"""Names of streams, consumers and subjects on the broker. Pure."""

from __future__ import annotations

from typing import Final

from broker.contract.ids import is_test_id

EVENTS: Final = "EVENTS"
JOBS: Final = "JOBS"
RUNS: Final = "RUNS"
SHOTS: Final = "SHOTS"
PROJECTOR: Final = "projector"
WORKERS: Final = "workers"

ALL_EVENTS: Final = "test.*.events"
ALL_LIVE: Final = "test.*.live"
ALL_ALIVE: Final = "test.*.alive"
ALL_CONTROL: Final = "test.*.control"
ALL_JOBS: Final = "jobs.test.*"


def events(test_id: str) -> str:
    """Where a run's events are published and stored."""
    return f"test.{test_id}.events"


def live(test_id: str) -> str:
    """Where the broker republishes what it has stored, with its sequence and its predecessor's."""
    return f"test.{test_id}.live"


def control(test_id: str) -> str:
    """Wake-ups for the worker that plays the run: "look at the stream"."""
    return f"test.{test_id}.control"


def alive(test_id: str) -> str:
    """Signs of life of the agent that plays the run; not stored."""
    return f"test.{test_id}.alive"


def job(test_id: str) -> str:
    """A run's place in the work queue."""
    return f"jobs.test.{test_id}"


def kv(bucket: str, key: str) -> str:
    """The subject under which a KV bucket keeps `key`."""
    return f"$KV.{bucket}.{key}"


def kv_stream(bucket: str) -> str:
    """The stream behind a KV bucket."""
    return f"KV_{bucket}"


def test_id_of(subject: bytes | str) -> str | None:
    """The test id in `test.<id>.*`, `jobs.test.<id>` or `$KV.<bucket>.<id>`; None where there is no valid one.

    Takes bytes because a subject need not be UTF-8, and one that is not must not stop a reader.
    """
    text = subject.decode("ascii", "replace") if isinstance(subject, bytes) else subject
    tokens = text.split(".")
    if len(tokens) != 3:
        return None
    candidate = tokens[1] if tokens[0] == "test" else tokens[2]
    return candidate if is_test_id(candidate) else None


test_id_of.__test__ = False  # type: ignore[attr-defined]  # not a test, whatever pytest thinks of its name
