"""The `sync` that a viewer gets when it joins or resumes, encoded once for all who join at the same point."""

from __future__ import annotations

import msgspec

from broker.contract.position import Decision, Position
from broker.contract.snapshot import Snapshot
from ws_edge.encoding import Encoding


class SyncCache:
    """The newest `sync` of one topic, by encoding."""

    __slots__ = ("_known", "_test_id")

    def __init__(self, test_id: str) -> None:
        self._test_id = test_id
        self._known: dict[Encoding, tuple[object, bytes]] = {}

    def __repr__(self) -> str:
        return f"<SyncCache {len(self._known)}>"

    def frame(
        self, encoding: Encoding, decision: Decision, epoch: str, head: int, stale: bool, snapshot: Snapshot | None
    ) -> bytes:
        """The message for a viewer that the decision is about.

        Args:
            epoch: this life of the stream.
            head: the newest position that is sent to viewers.
            stale: what is shown may be old.
        """
        point = (decision.outcome, decision.reason, epoch, head, stale, snapshot)
        known = self._known.get(encoding)
        if known is not None and known[0] == point:
            return known[1]
        frame = encoding.control(
            "sync",
            None if decision.outcome == "recovered" else Position(epoch, 0),  # it has said its position itself
            testId=self._test_id,
            outcome=decision.outcome,
            reason=decision.reason,
            epoch=epoch,
            head=head,
            stale=stale or None,
            snapshot=None if snapshot is None else msgspec.to_builtins(snapshot),
        )
        self._known[encoding] = (point, frame)
        return frame
