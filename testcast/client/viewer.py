"""What a viewer of an edge knows, and what follows from each message: positions, items to hand out, what to send. Pure.

The same for a socket and for polling: a page of `getEvents` is a `sync` with its events, `listTests` a `tests`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
import orjson

from broker.contract.errors import NotFound, TestcastError
from testcast.client.backoff import retry_after_s
from testcast.client.errors import EdgeRefused
from testcast.client.events import Item, Reset, Verdict, from_edge

_ENDED: Final = ("completed", "failed")
_CHANNEL: Final = {"type": "subscribe", "channel": "tests"}


@dataclass(slots=True)
class Seen:
    """What was seen of one run."""

    after: int = 0
    """Position: everything up to it was handed out, or is not wanted."""
    epoch: str | None = None
    """None until the edge named it; a position goes out with the epoch it belongs to."""
    head: int = 0
    """What the edge has at least."""
    known: int = 0
    """Position of the newest event or snapshot that was read: an end after it would not be known."""
    verdict: Verdict | None = None
    resumes: bool = False
    """`after` is a position of the reader's, to be sent; not just where showing begins."""

    @property
    def done(self) -> bool:
        """It has ended, and all of it was handed out."""
        return self.verdict is not None and self.after >= self.head


@dataclass(slots=True)
class Taken:
    """What follows from a message."""

    items: list[Item] = field(default_factory=list)
    send: list[bytes] = field(default_factory=list)
    """Messages for the socket they came on; nothing to a poll."""
    delivered: bool = False
    """An event, a sync, the list or a heartbeat came: the connection works."""
    retry_after_s: float | None = None
    """From a goodbye: the edge is going, come back after so long."""


class Viewer:
    """Follows one run, or (`test_id` None) every run that goes on now or is submitted later.

    Args:
        test_id: the run.
        after: the position to go on after; None: from the first event.
        epoch: the life of the stream that `after` belongs to; None: the current one.
    """

    def __init__(self, test_id: str | None, after: int | None = None, epoch: str | None = None) -> None:
        self.test_id = test_id
        self.runs: dict[str, Seen] = {}
        self._listed = False
        if test_id is not None:
            self.runs[test_id] = Seen(after=after or 0, epoch=epoch, resumes=bool(after))

    def __repr__(self) -> str:
        return f"<Viewer {self.test_id or 'all'} runs={len(self.runs)} done={self.done}>"

    @property
    def done(self) -> bool:
        """Nothing more will come: the one run has ended and all of it was handed out."""
        return self.test_id is not None and self.runs[self.test_id].done

    @property
    def verdict(self) -> Verdict | None:
        """How the one run ended."""
        return None if self.test_id is None else self.runs[self.test_id].verdict

    @property
    def position(self) -> int:
        """Of the one run; 0 for all runs."""
        return 0 if self.test_id is None else self.runs[self.test_id].after

    def hello(self) -> list[bytes]:
        """What to send on a new socket: each interest with its position."""
        opening = [] if self.test_id is not None else [orjson.dumps(_CHANNEL)]
        return opening + [self._subscribe(each) for each, seen in self.runs.items() if not seen.done]

    def _subscribe(self, test_id: str) -> bytes:
        return orjson.dumps({"type": "subscribe", "testId": test_id, **self.resume(test_id)})

    def resume(self, test_id: str) -> dict[str, Any]:
        """The position of one run as `after` and `epoch`; empty while there is none."""
        seen = self.runs[test_id]
        if not seen.resumes or not seen.after:
            return {}
        return {"after": seen.after} | ({} if seen.epoch is None else {"epoch": seen.epoch})

    def take(self, frame: str | bytes) -> Taken:
        """One WebSocket message: an object, or an array of events.

        Raises:
            NotFound: the edge does not know the one run.
            EdgeRefused: the edge does not take what we sent, or this is no edge.
        """
        taken = Taken()
        try:
            data = frame.encode() if isinstance(frame, str) else frame
            several = msgspec.json.decode(data, type=list[msgspec.Raw]) if data[:1] == b"[" else [data]
            for raw in map(bytes, several):
                self._take(raw, orjson.loads(raw), taken)
        except (ValueError, KeyError, TypeError, msgspec.MsgspecError) as error:
            raise EdgeRefused(f"what answers there speaks another language: {error!r}", "bad_answer", 0) from None
        return taken

    def take_page(self, test_id: str, answer: Mapping[str, Any]) -> Taken:
        """An answer to `getEvents`.

        Raises:
            EdgeRefused: it is none.
        """
        taken = Taken()
        try:
            self._sync({"testId": test_id, **answer}, taken)
            for event in answer["events"]:
                self._event(orjson.dumps(event), event, taken)
            if not answer.get("more"):  # malformed messages count as seen, and have no event that would say so
                self._beat(test_id, answer.get("head"))
        except (ValueError, KeyError, TypeError) as error:
            raise EdgeRefused(f"what answers there speaks another language: {error!r}", "bad_answer", 0) from None
        return taken

    def take_list(self, answer: Mapping[str, Any]) -> Taken:
        """An answer to `listTests`."""
        taken = Taken()
        self._tests({"upserts": answer.get("tests", ())}, taken)
        return taken

    def behind(self) -> list[str]:
        """The runs to ask `getEvents` for when there is no socket."""
        if self.test_id is not None:
            return [] if self.done else [self.test_id]
        return [each for each, seen in self.runs.items() if not seen.done and seen.head > seen.after]

    def _take(self, raw: bytes, message: dict[str, Any], taken: Taken) -> None:
        if "seq" in message and "testId" in message:
            self._event(raw, message, taken)
            return
        match message.get("type"):
            case "sync":
                self._sync(message, taken)
            case "heartbeat":
                taken.delivered = True
                self._beat(message.get("testId"), message.get("head"))
                self._doubt(message.get("testId"), taken)
            case "tests" if self.test_id is None:
                self._tests(message, taken)
            case "goodbye":
                taken.retry_after_s = retry_after_s(message.get("retryAfterMs"))
            case "error":
                self._error(message)
        # Anything else is younger than this version: not ours to judge.

    def _event(self, raw: bytes, message: dict[str, Any], taken: Taken) -> None:
        taken.delivered = True
        seen = self.runs.get(message["testId"])
        if seen is None or message["seq"] <= seen.after:
            return
        seen.after = seen.known = message["seq"]
        seen.resumes = True
        event = from_edge(raw)
        if event is None:
            return
        taken.items.append(event)
        seen.verdict = seen.verdict or event.ends
        self._leave(event.test_id, seen, taken)

    def _sync(self, message: dict[str, Any], taken: Taken) -> None:
        taken.delivered = True
        test_id = message["testId"]
        seen = self.runs.get(test_id)
        if seen is None:
            return
        epoch = message.get("epoch", seen.epoch)
        if seen.epoch not in (None, epoch):
            seen.after, seen.resumes = 0, False
        seen.epoch = epoch
        snapshot = message.get("snapshot") or {}
        # The snapshot may be ahead of what the edge has released to its viewers: what it counts is still to come.
        seen.head = max(message.get("head") or 0, snapshot.get("seq") or 0)
        if message["outcome"] == "reset":
            seen.after, seen.verdict, seen.resumes = 0, None, False
            taken.items.append(Reset(test_id, message.get("reason", "expired"), seen.epoch))
        seen.known = max(seen.known, snapshot.get("seq") or 0)
        if snapshot.get("status") in _ENDED:
            seen.verdict = snapshot["status"]
        self._leave(test_id, seen, taken)

    def _beat(self, test_id: str | None, head: int | None) -> None:
        if test_id is not None and head is not None and (seen := self.runs.get(test_id)) is not None:
            seen.after = max(seen.after, head)

    def _doubt(self, test_id: str | None, taken: Taken) -> None:
        """Resumed at the head, with a snapshot from before it, and silence since: has it ended? The answer has one."""
        seen = self.runs.get(test_id) if test_id is not None else None
        if test_id is not None and seen is not None and seen.verdict is None and seen.known < seen.after:
            taken.send.append(self._subscribe(test_id))

    def _tests(self, message: Mapping[str, Any], taken: Taken) -> None:
        """Every run that is new to us is followed: from now on if it was there before us, else from its first event."""
        taken.delivered = True
        upserts: Iterable[dict[str, Any]] = message.get("upserts", ())
        for snapshot in upserts:
            test_id, seq = snapshot["testId"], snapshot["seq"]
            if (seen := self.runs.get(test_id)) is not None:
                seen.head = max(seen.head, seq)
                continue
            self.runs[test_id] = seen = Seen(head=seq)
            if not self._listed:
                seen.after = seq
                seen.verdict = snapshot["status"] if snapshot.get("status") in _ENDED else None
            if not seen.done:
                taken.send.append(self._subscribe(test_id))
        self._listed = True

    def _leave(self, test_id: str, seen: Seen, taken: Taken) -> None:
        if self.test_id is None and seen.done:
            taken.send.append(orjson.dumps({"type": "unsubscribe", "testId": test_id}))

    def _error(self, message: dict[str, Any]) -> None:
        data = message.get("data") or {}
        code = str(data.get("code", "error"))
        test_id = message.get("testId")
        if code == "broker_unavailable":  # it will be back; the edge says stale meanwhile
            return
        if code == "not_found" and test_id is not None:
            if test_id == self.test_id:
                raise NotFound(test_id)
            if (seen := self.runs.get(test_id)) is not None:  # gone since it was listed: nothing more to come
                seen.verdict, seen.head = "failed", seen.after
            return
        raise refused(code, str(message.get("message", code)), 4400)


def refused(code: str, message: str, status: int, test_id: str | None = None) -> TestcastError:
    """The error for an edge's refusal."""
    return NotFound(test_id) if code == "not_found" and test_id is not None else EdgeRefused(message, code, status)
