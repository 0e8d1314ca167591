"""Key-value buckets: how JetStream lays one out over a stream. Pure."""

from __future__ import annotations

from typing import Final

OPERATION_HEADER: Final = "KV-Operation"
"""On an entry that deletes or purges its key; a value has none."""


def stream(bucket: str) -> str:
    """Returns the name of the stream behind a bucket."""
    return f"KV_{bucket}"


def subject(bucket: str, key: str) -> str:
    """Returns the subject that a bucket stores `key` under; `>` stands for every key."""
    return f"$KV.{bucket}.{key}"


def is_entry(subject: str) -> bool:
    """Returns whether the subject is one of a bucket."""
    return subject.startswith("$KV.")


def key_of(subject: str) -> str:
    """Returns the key of an entry's subject."""
    return subject.split(".", 2)[2]
