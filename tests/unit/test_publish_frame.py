"""Which pictures `publishFrame` takes, by the state of their run (ws_edge/api/frame_methods.py)."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from broker.contract.errors import AlreadyEnded, NotFound
from broker.contract.frames import MalformedFrame
from tests.harness import NO_SUCH_TEST
from ws_edge.api.frame_methods import LAST_PICTURE_S, _check_run


def node(*, known: int, head: int, ended_for_s: float | None = None) -> Any:
    """An edge that knows events of the run up to `known`, while the leader has them up to `head`."""

    async def ask(_test_id: str) -> int:
        return head

    finished_at = None if ended_for_s is None else int(1_000_000 - 1000 * ended_for_s)
    return SimpleNamespace(
        hub=SimpleNamespace(known_head=lambda _test_id: known, head=ask),
        snapshot=lambda _test_id: SimpleNamespace(finished_at=finished_at),
        broker_ms=lambda: 1_000_000,
    )


@pytest.mark.parametrize(
    ("edge", "seq"),
    [
        (node(known=7, head=0), 7),
        (node(known=7, head=0), 0),
        (node(known=7, head=9), 9),
        (node(known=0, head=9), 0),
        (node(known=7, head=7, ended_for_s=0), 7),
        (node(known=7, head=7, ended_for_s=LAST_PICTURE_S), 7),
    ],
)
async def test_a_picture_is_taken(edge: Any, seq: int) -> None:
    await _check_run(edge, NO_SUCH_TEST, seq)


@pytest.mark.parametrize(
    ("edge", "error"),
    [
        (node(known=0, head=0), NotFound),
        (node(known=7, head=8), MalformedFrame),
        (node(known=9, head=9, ended_for_s=LAST_PICTURE_S + 0.1), AlreadyEnded),
    ],
)
async def test_a_picture_is_refused(edge: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        await _check_run(edge, NO_SUCH_TEST, 9)
