"""Names of streams, buckets, consumers and subjects on the broker. Pure."""

from __future__ import annotations

from typing import Final

from broker.contract.ids import is_probe_id, is_test_id

EVENTS: Final = "EVENTS"
"""Stream of all events."""
JOBS: Final = "JOBS"
"""Stream behind the work queue."""
RUNS: Final = "RUNS"
"""Bucket of snapshots."""
FRAMES: Final = "FRAMES"
"""Stream of all pictures."""
SHOTS: Final = "SHOTS"
"""Bucket of the newest pictures, as versions before 0.3.0 kept them. It is read, and no longer made."""
PINS: Final = "PINS"
"""Bucket of the runs that are kept for good."""
ACCESS: Final = "ACCESS"
"""Bucket of what every edge must know of access: revoked proofs, share links, tickets that were used."""
HOOKS: Final = "HOOKS"
"""Bucket of the ends of runs that webhooks are to be told of, or were."""
PROJECTOR: Final = "projector"
"""Durable consumer of `EVENTS`, shared by all edges."""
WORKERS: Final = "workers"
"""Durable consumer of `JOBS`, shared by all workers."""
WEBHOOKS: Final = "webhooks"
"""Durable consumer of the bucket `HOOKS`, shared by all edges."""

ALL_EVENTS: Final = "test.*.events"
ALL_LIVE: Final = "test.*.live"
ALL_FRAMES: Final = "test.*.frames"
ALL_STORED_FRAMES: Final = "test.*.frame"
ALL_ALIVE: Final = "test.*.alive"
ALL_CONTROL: Final = "test.*.control"
ALL_JOBS: Final = "jobs.test.*"


def events(test_id: str) -> str:
    """Returns the subject that a run's events are published to and stored under."""
    return f"test.{test_id}.events"


def live(test_id: str) -> str:
    """Returns the subject that the broker republishes a run's stored events to, with their sequences."""
    return f"test.{test_id}.live"


def frames(test_id: str) -> str:
    """Returns the subject that a run's pictures are published to and stored under."""
    return f"test.{test_id}.frames"


def stored_frame(test_id: str) -> str:
    """Returns the subject that the broker republishes the headers of a run's stored pictures to."""
    return f"test.{test_id}.frame"


def control(test_id: str) -> str:
    """Returns the subject of wake-ups for the worker that plays a run: "read the stream now"."""
    return f"test.{test_id}.control"


def alive(test_id: str) -> str:
    """Returns the subject of an agent's signs of life. They are not stored."""
    return f"test.{test_id}.alive"


def job(test_id: str) -> str:
    """Returns the subject of a run's job in the work queue."""
    return f"jobs.test.{test_id}"


def test_id_of(subject: bytes | str) -> str | None:
    """Returns the test id in `test.<id>.*` or `jobs.test.<id>`, None where there is no valid one.

    Args:
        subject: as it came from the broker. It need not be UTF-8: any client may publish under any bytes.
    """
    text = subject.decode("ascii", "replace") if isinstance(subject, bytes) else subject
    tokens = text.split(".")
    if len(tokens) != 3:
        return None
    if tokens[0] == "test":
        candidate = tokens[1]
    elif tokens[:2] == ["jobs", "test"]:
        candidate = tokens[2]
    else:
        return None
    return candidate if is_test_id(candidate) else None


def followed_id_of(subject: bytes | str) -> str | None:
    """Returns the test id, or the id of a probe, in `test.<id>.*`; None where there is neither."""
    return test_id_of(subject) or probe_id_of(subject)


def probe_id_of(subject: bytes | str) -> str | None:
    """Returns the id of a probe in `test.<id>.*`; None where there is none."""
    text = subject.decode("ascii", "replace") if isinstance(subject, bytes) else subject
    tokens = text.split(".")
    found = len(tokens) == 3 and tokens[0] == "test" and is_probe_id(tokens[1])
    return tokens[1] if found else None


test_id_of.__test__ = False  # type: ignore[attr-defined]  # pytest would collect it for its name
