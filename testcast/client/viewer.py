"""The viewer's side of the edge protocol: what each message changes, delivers and requires to be sent. Pure.

Polling uses the same code: a page of `getEvents` is a `sync` with its events, and `listTests` is a `tests` message.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
import orjson

from broker.contract.errors import NotFound
from broker.contract.snapshot import CANCELLED
from testcast.client.backoff import retry_after_s
from testcast.client.errors import EdgeRefused, refused
from testcast.client.events import Item, Reset, Unreadable, Verdict, from_edge
from testcast.client.unreadable import from_answer

_ENDED: Final = ("completed", "failed")
_TOKEN_ENDS: Final = ("token_expired", "token_revoked")
_SUBSCRIBE_LIST: Final = {"type": "subscribe", "channel": "tests"}


@dataclass(slots=True)
class RunState:
    """What a viewer knows of one run."""

    after: int = 0
    """Position: every event up to it was delivered, or is not wanted."""
    epoch: str | None = None
    """The epoch of `after`; None until the edge has named it."""
    head: int = 0
    """Newest position of the run that the edge is known to have."""
    known: int = 0
    """Position of the newest event or snapshot that was read. Whether the run ended after it is unknown."""
    verdict: Verdict | None = None
    cancelled: bool = False
    """A person has ended the run, as far as its snapshot was read."""
    unreadable: int = 0
    """Position of the newest message that is known to be no event."""
    resumes: bool = False
    """`after` is a position to resume, and is sent. Otherwise it only hides older events."""

    @property
    def done(self) -> bool:
        """The run has ended and all its events were delivered."""
        return self.verdict is not None and self.after >= self.head


@dataclass(slots=True)
class Effects:
    """What follows from a message."""

    items: list[Item] = field(default_factory=list)
    """What the caller delivers, in order."""
    send: list[bytes] = field(default_factory=list)
    """Messages to send on the same socket. A poll ignores them."""
    delivered: bool = False
    """The message shows that the connection works: an event, a sync, the list or a heartbeat."""
    unreadable: list[Unreadable] = field(default_factory=list)
    """Messages that were passed over, as far as they were not told before."""
    renew: bool = False
    """The token that opened the socket is no good any more: another one has to be sent, or the edge closes."""
    retry_after_s: float | None = None
    """The delay that a `goodbye` asks for: the edge is about to close the connection."""


class Viewer:
    """Follows one run, or (`test_id` None) every run that is running now or submitted later.

    Args:
        test_id: the run.
        after: the position to resume after; None: from the first event.
        epoch: the epoch that `after` belongs to; None: the current one.
    """

    def __init__(self, test_id: str | None, after: int | None = None, epoch: str | None = None) -> None:
        self.test_id = test_id
        self.runs: dict[str, RunState] = {}
        self._listed = False
        if test_id is not None:
            self.runs[test_id] = RunState(after=after or 0, epoch=epoch, resumes=bool(after))

    def __repr__(self) -> str:
        return f"<Viewer {self.test_id or 'all'} runs={len(self.runs)} position={self.position} done={self.done}>"

    @property
    def done(self) -> bool:
        """The run has ended and all its events were delivered. Never true for all runs."""
        return self.test_id is not None and self.runs[self.test_id].done

    @property
    def verdict(self) -> Verdict | None:
        """How the run ended; None before that, and for all runs."""
        return None if self.test_id is None else self.runs[self.test_id].verdict

    @property
    def cancelled(self) -> bool:
        """A person has ended the run, as far as its snapshot was read; its end event says so too."""
        return self.test_id is not None and self.runs[self.test_id].cancelled

    @property
    def position(self) -> int:
        """Position of the run; 0 for all runs."""
        return 0 if self.test_id is None else self.runs[self.test_id].after

    def opening(self) -> list[bytes]:
        """The messages to send on a new socket: each subscription with its position."""
        opening = [] if self.test_id is not None else [orjson.dumps(_SUBSCRIBE_LIST)]
        return opening + [self._subscribe(test_id) for test_id, run in self.runs.items() if not run.done]

    def _subscribe(self, test_id: str) -> bytes:
        return orjson.dumps({"type": "subscribe", "testId": test_id, **self.resume(test_id)})

    def resume(self, test_id: str) -> dict[str, Any]:
        """The position of a run as the parameters `after` and `epoch`; empty while there is no position to resume."""
        run = self.runs[test_id]
        if not run.resumes or not run.after:
            return {}
        return {"after": run.after} | ({} if run.epoch is None else {"epoch": run.epoch})

    def receive(self, frame: str | bytes) -> Effects:
        """Takes one WebSocket message: an object, or an array of events.

        Raises:
            NotFound: the edge does not know the run.
            EdgeRefused: the edge refuses what was sent, or the server is not an edge.
        """
        effects = Effects()
        try:
            data = frame.encode() if isinstance(frame, str) else frame
            several = msgspec.json.decode(data, type=list[msgspec.Raw]) if data[:1] == b"[" else [data]
            for raw in map(bytes, several):
                self._message(raw, orjson.loads(raw), effects)
        except (ValueError, KeyError, TypeError, msgspec.MsgspecError) as error:
            raise _not_the_protocol(error) from None
        return effects

    def receive_page(self, test_id: str, answer: Mapping[str, Any]) -> Effects:
        """Takes a result of `getEvents`.

        Raises:
            EdgeRefused: it has not the form of such a result.
        """
        effects = Effects()
        try:
            self._sync({"testId": test_id, **answer}, effects)
            for event in answer["events"]:
                self._event(orjson.dumps(event), event, effects)
            self._unreadable(test_id, answer.get("unreadable"), effects)
            if not answer.get("more"):  # malformed messages have a position and no event, so the head is the position
                self._heartbeat(test_id, answer.get("head"))
        except (ValueError, KeyError, TypeError) as error:
            raise _not_the_protocol(error) from None
        return effects

    def receive_list(self, answer: Mapping[str, Any]) -> Effects:
        """Takes a result of `listTests`."""
        effects = Effects()
        self._tests({"upserts": answer.get("tests", ())}, effects)
        return effects

    def runs_to_poll(self) -> list[str]:
        """The runs that have, or may have, events to fetch with `getEvents` while there is no socket."""
        if self.test_id is not None:
            return [] if self.done else [self.test_id]
        return [test_id for test_id, run in self.runs.items() if not run.done and run.head > run.after]

    def _message(self, raw: bytes, message: dict[str, Any], effects: Effects) -> None:
        if "seq" in message and "testId" in message:
            if message.get("type") == "unreadable":
                self._unreadable(message["testId"], message, effects)
            else:
                self._event(raw, message, effects)
            return
        match message.get("type"):
            case "sync":
                self._sync(message, effects)
            case "heartbeat":
                effects.delivered = True
                self._heartbeat(message.get("testId"), message.get("head"))
                self._ask_for_snapshot(message.get("testId"), effects)
            case "tests" if self.test_id is None:
                self._tests(message, effects)
            case "goodbye":
                effects.retry_after_s = retry_after_s(message.get("retryAfterMs"))
            case "error":
                self._error(message, effects)
        # Every other type is from a newer version of the protocol and is ignored.

    def _event(self, raw: bytes, message: dict[str, Any], effects: Effects) -> None:
        effects.delivered = True
        run = self.runs.get(message["testId"])
        if run is None or message["seq"] <= run.after:
            return
        run.after = run.known = message["seq"]
        run.resumes = True
        event = from_edge(raw)
        if event is None:
            return
        effects.items.append(event)
        run.verdict = run.verdict or event.ends
        self._unsubscribe_if_done(event.test_id, run, effects)

    def _sync(self, message: dict[str, Any], effects: Effects) -> None:
        effects.delivered = True
        test_id = message["testId"]
        run = self.runs.get(test_id)
        if run is None:
            return
        epoch = message.get("epoch", run.epoch)
        if run.epoch not in (None, epoch):
            run.after, run.resumes = 0, False
        run.epoch = epoch
        snapshot = message.get("snapshot") or {}
        # The snapshot may be ahead of the head that the edge has released to its viewers: those events still come.
        run.head = max(message.get("head") or 0, snapshot.get("seq") or 0)
        if message["outcome"] == "reset":
            run.after, run.verdict, run.resumes = 0, None, False
            effects.items.append(Reset(test_id, message.get("reason", "expired"), run.epoch))
        run.known = max(run.known, snapshot.get("seq") or 0)
        if snapshot.get("status") in _ENDED:
            run.verdict = snapshot["status"]
            run.cancelled = snapshot.get("errorCode") == CANCELLED
        self._unsubscribe_if_done(test_id, run, effects)

    def _unreadable(self, test_id: str, told: Any, effects: Effects) -> None:
        unreadable, run = from_answer(test_id, told), self.runs.get(test_id)
        if unreadable is None or run is None or unreadable.seq <= run.unreadable:
            return
        run.unreadable = unreadable.seq
        effects.unreadable.append(unreadable)

    def _heartbeat(self, test_id: str | None, head: int | None) -> None:
        if test_id is not None and head is not None and (run := self.runs.get(test_id)) is not None:
            run.after = max(run.after, head)

    def _ask_for_snapshot(self, test_id: str | None, effects: Effects) -> None:
        """Subscribes again when the run may have ended unnoticed: a resume at the head brought a snapshot older than
        the position, and no event since. The edge answers with a current snapshot.
        """
        run = self.runs.get(test_id) if test_id is not None else None
        if test_id is not None and run is not None and run.verdict is None and run.known < run.after:
            effects.send.append(self._subscribe(test_id))

    def _tests(self, message: Mapping[str, Any], effects: Effects) -> None:
        """Subscribes to every new run. Runs of the first list are followed from now on, others from their start."""
        effects.delivered = True
        upserts: Iterable[dict[str, Any]] = message.get("upserts", ())
        for snapshot in upserts:
            test_id, seq = snapshot["testId"], snapshot["seq"]
            if (run := self.runs.get(test_id)) is not None:
                run.head = max(run.head, seq)
                continue
            self.runs[test_id] = run = RunState(head=seq)
            if not self._listed:
                run.after = seq
                run.verdict = snapshot["status"] if snapshot.get("status") in _ENDED else None
            if not run.done:
                effects.send.append(self._subscribe(test_id))
        self._listed = True

    def _unsubscribe_if_done(self, test_id: str, run: RunState, effects: Effects) -> None:
        if self.test_id is None and run.done:
            effects.send.append(orjson.dumps({"type": "unsubscribe", "testId": test_id}))

    def _error(self, message: dict[str, Any], effects: Effects) -> None:
        data = message.get("data") or {}
        code = str(data.get("code", "error"))
        test_id = message.get("testId")
        if code in _TOKEN_ENDS:
            effects.renew = True
            return
        if code == "broker_unavailable":  # the edge resumes the subscription when the broker is back
            return
        if code == "not_found" and test_id is not None:
            if test_id == self.test_id:
                raise NotFound(test_id)
            if (run := self.runs.get(test_id)) is not None:  # its events were purged after it was listed
                run.verdict, run.head = "failed", run.after
            return
        raise refused(code, str(message.get("message", code)), 4401 if code == "unauthenticated" else 4400)


def _not_the_protocol(error: Exception) -> EdgeRefused:
    return EdgeRefused(f"the server does not speak the protocol of an edge: {error!r}", "bad_answer", 0)
