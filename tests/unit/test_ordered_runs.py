"""The order and the counts of a list that changes all the time are those of a list that is made anew."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from broker.contract.snapshot import CANCELLED, Snapshot
from ws_edge.views.listing import OrderedRuns, counts_of, order

IDS = [f"4f9c2d3e-8a51-4c0b-9d57-2f1f6f0a7b1{digit}" for digit in range(5)]
STATUSES = st.sampled_from(["queued", "running", "completed", "failed", "cancelled"])
RUN = Snapshot(
    test_id="",
    title="",
    game_url="",
    status="queued",
    phase=None,
    message="",
    seq=1,
    created_at=1,
    updated_at=1,
    attempt=0,
)
CHANGES = st.lists(st.tuples(st.sampled_from(IDS), st.none() | st.tuples(STATUSES, st.integers(1, 3)), st.booleans()))


@given(CHANGES)
def test_they_are_those_of_a_list_that_is_made_anew(changes: list[Any]) -> None:
    runs = OrderedRuns()
    mirror: dict[str, Snapshot] = {}
    for seq, (test_id, change, looked_at) in enumerate(changes, 1):
        if change is None:
            mirror.pop(test_id, None)
        else:
            status, created_at = change
            code = CANCELLED if status == "cancelled" else None
            stored = "failed" if code else status
            fields = {"test_id": test_id, "status": stored, "error_code": code, "created_at": created_at, "seq": seq}
            mirror[test_id] = msgspec.structs.replace(RUN, **fields)
        runs.replace(test_id, mirror.get(test_id))
        if looked_at:
            assert runs.ordered() == sorted(mirror.values(), key=order)
        assert runs.counts() == counts_of(mirror.values()) and runs.by_id == mirror
    assert runs.ordered() == sorted(mirror.values(), key=order)
