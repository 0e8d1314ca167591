"""What a viewer that polls is given: the events after a position, in the forms that it can be sent in. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from hashlib import blake2b
from typing import Any, NamedTuple

import orjson

from broker.contract.position import Position


class Stretch(NamedTuple):
    """What was collected after a position."""

    events: list[bytes]
    unreadable: dict[str, Any] | None
    after: int
    head: int
    more: bool
    ended: bool


class Answer:
    """What comes after a position. Never changes; its forms are made once, for all who are given it."""

    def __init__(self, sync: dict[str, Any], run: Stretch, asked: Position | None = None) -> None:
        self.sync = sync
        self.asked = asked
        self.events: Sequence[bytes] = run.events
        self.unreadable: dict[str, Any] | None = run.unreadable
        self.after = run.after
        """The position that a client has with it."""
        self.head = max(run.head, run.after)
        self.more = run.more
        """There is more already."""
        self.ended = run.ended
        """The run has ended, and nothing follows."""

    def __repr__(self) -> str:
        return f"<Answer {self.outcome} events={len(self.events)} after={self.after}>"

    @property
    def outcome(self) -> str:
        """Of the resume."""
        return str(self.sync["outcome"])

    @property
    def epoch(self) -> str:
        """The life of the stream that its positions belong to."""
        return str(self.sync["epoch"])

    @property
    def immutable(self) -> bool:
        """The same question will always have this answer: what lies between two positions never changes.

        An answer that leads nowhere, as of a node that goes away, is none: whoever got it again would ask for ever.
        """
        leads_on = self.asked is not None and self.after > self.asked.seq
        return self.outcome == "recovered" and not self.sync.get("stale") and (self.ended or (self.more and leads_on))

    @property
    def size(self) -> int:
        """What it takes of memory, about: its events, and its body."""
        return 1000 + 2 * sum(map(len, self.events))

    @cached_property
    def body(self) -> bytes:
        """As JSON."""
        sync = self.sync
        said: dict[str, Any] = {"testId": sync["testId"], "outcome": sync["outcome"], "epoch": sync["epoch"]}
        if "reason" in sync:
            said["reason"] = sync["reason"]
        said |= {"head": self.head, "events": [orjson.Fragment(each) for each in self.events], "after": self.after}
        said |= {"more": self.more, "ended": self.ended}
        if self.outcome != "recovered":
            said["snapshot"] = sync.get("snapshot")
        if self.unreadable is not None:
            said["unreadable"] = self.unreadable
        if sync.get("stale"):
            said["stale"] = True
        return orjson.dumps(said)

    @cached_property
    def etag(self) -> str:
        """Of the body."""
        return f'"{blake2b(self.body, digest_size=12).hexdigest()}"'

    @cached_property
    def array(self) -> bytes:
        """The events alone, as one JSON array."""
        return b"[" + b",".join(self.events) + b"]"

    @cached_property
    def array_mark(self) -> str:
        """Names the array in this life of the stream."""
        return blake2b(self.array, digest_size=8, key=self.epoch.encode()[:64]).hexdigest()
