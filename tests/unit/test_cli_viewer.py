"""The viewer's side of the edge protocol: what follows from each message."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from broker.contract.errors import NotFound
from testcast.client.errors import EdgeRefused
from testcast.client.events import Event, Item, Reset, Unreadable
from testcast.client.unreadable import Tally, from_answer
from testcast.client.viewer import Effects, Viewer

RUN, OTHER, THIRD = (f"4f9c2d3e-8a51-4c0b-9d57-2f1f6f0a7b1{n}" for n in range(3))


def event(seq: int, test_id: str = RUN, kind: str = "progress", **fields: Any) -> dict[str, Any]:
    return {"testId": test_id, "seq": seq, "type": kind, "message": f"m{seq}", "timestamp": 1, **fields}


def sync(outcome: str, head: int, test_id: str = RUN, **fields: Any) -> dict[str, Any]:
    return {
        "type": "sync",
        "testId": test_id,
        "outcome": outcome,
        "epoch": "e1",
        "head": head,
        "snapshot": None,
        **fields,
    }


def snapshot(seq: int, status: str = "running", test_id: str = RUN) -> dict[str, Any]:
    return {"testId": test_id, "seq": seq, "status": status}


def take(viewer: Viewer, *messages: Any) -> Effects:
    """All that follows from several messages."""
    whole = Effects()
    for each in messages:
        effects = viewer.receive(orjson.dumps(each))
        whole.items += effects.items
        whole.send += effects.send
        whole.delivered |= effects.delivered
        whole.retry_after_s = effects.retry_after_s
    return whole


def seqs(items: list[Item]) -> list[int | str]:
    return [each.seq if isinstance(each, Event) else each.reason for each in items]


def sent(messages: list[bytes]) -> list[dict[str, Any]]:
    return [orjson.loads(each) for each in messages]


def test_each_event_once_and_in_order_however_they_are_packed() -> None:
    viewer = Viewer(RUN)
    effects = take(viewer, sync("live", 3), [event(1), event(3)], event(3), event(2), [event(5)])
    assert seqs(effects.items) == [1, 3, 5]
    assert viewer.position == 5


def test_raw_is_what_the_edge_sent_unknown_fields_and_all() -> None:
    raw = (
        b'{"testId":"%b","seq":1,"type":"progress","message":"x","timestamp":1,"colour":"blue", "n":1.0}' % RUN.encode()
    )
    viewer = Viewer(RUN)
    items = viewer.receive(b"[" + raw + b"]").items + Viewer(RUN).receive(raw.decode()).items
    assert [each.raw for each in items] == [raw, raw]


def test_a_first_subscribe_has_no_position_and_a_later_one_has() -> None:
    viewer = Viewer(RUN)
    assert sent(viewer.opening()) == [{"type": "subscribe", "testId": RUN}]
    take(viewer, sync("live", 3), event(3))
    assert sent(viewer.opening()) == [{"type": "subscribe", "testId": RUN, "after": 3, "epoch": "e1"}]


def test_a_given_position_goes_out_with_its_epoch() -> None:
    assert sent(Viewer(RUN, 9, "e0").opening()) == [{"type": "subscribe", "testId": RUN, "after": 9, "epoch": "e0"}]
    assert sent(Viewer(RUN, 9).opening()) == [{"type": "subscribe", "testId": RUN, "after": 9}]


def test_a_reset_is_handed_out_and_events_come_again_from_the_first() -> None:
    viewer = Viewer(RUN, 40, "e0")
    effects = take(viewer, sync("reset", 2, reason="epoch"), event(1), event(2))
    assert seqs(effects.items) == ["epoch", 1, 2]
    assert isinstance(effects.items[0], Reset)
    assert effects.items[0].epoch == "e1"


def test_a_heartbeat_moves_the_position_past_what_was_malformed() -> None:
    viewer = Viewer(RUN)
    effects = take(
        viewer, sync("live", 3), event(3), {"type": "heartbeat", "testId": RUN, "head": 8}, {"type": "heartbeat"}
    )
    assert effects.delivered
    assert viewer.position == 8
    assert seqs(take(viewer, event(8), event(9)).items) == [9]


@pytest.mark.parametrize(
    ("last", "verdict"),
    [
        (event(4, kind="complete"), "completed"),
        (event(4, kind="error", status="failed"), "failed"),
        (event(4, kind="status", status="completed"), "completed"),
    ],
)
def test_a_run_is_done_with_its_terminal_event(last: dict[str, Any], verdict: str) -> None:
    viewer = Viewer(RUN)
    take(viewer, sync("live", 3), event(3), event(3, kind="error"))
    assert not viewer.done
    take(viewer, last)
    assert viewer.done
    assert viewer.verdict == verdict


def test_what_was_stored_behind_the_terminal_event_still_comes() -> None:
    viewer = Viewer(RUN)
    take(viewer, sync("live", 6, snapshot=snapshot(6, "completed")), event(4, kind="complete"))
    assert not viewer.done
    take(viewer, event(6, kind="error", status="failed"))
    assert viewer.done
    assert viewer.verdict == "completed"  # the first terminal event counts


def test_a_resume_behind_the_terminal_event_ends_by_the_snapshot() -> None:
    viewer = Viewer(RUN, 6, "e1")
    take(viewer, sync("recovered", 6, snapshot=snapshot(6, "failed")))
    assert viewer.done
    assert viewer.verdict == "failed"


def test_a_snapshot_ahead_of_what_is_released_does_not_end_it_early() -> None:
    viewer = Viewer(RUN, 4, "e1")
    take(viewer, sync("recovered", 4, snapshot=snapshot(6, "completed")))
    assert not viewer.done
    take(viewer, event(6, kind="complete"))
    assert viewer.done


def test_a_goodbye_says_when_to_come_back() -> None:
    assert take(Viewer(RUN), {"type": "goodbye", "retryAfterMs": 700, "reason": "x"}).retry_after_s == 0.7


def test_an_unknown_run_and_a_refusal_are_errors_but_an_absent_broker_is_not() -> None:
    def error(code: str, **fields: Any) -> dict[str, Any]:
        return {"type": "error", "message": "no", "timestamp": 1, "data": {"code": code}, **fields}

    assert take(Viewer(RUN), error("broker_unavailable", testId=RUN)).items == []
    with pytest.raises(NotFound):
        take(Viewer(RUN), error("not_found", testId=RUN))
    with pytest.raises(EdgeRefused) as caught:
        take(Viewer(RUN), error("malformed_message"))
    assert caught.value.code == "malformed_message"


@pytest.mark.parametrize("unknown", [{"type": "weather"}, {"kind": 1}, event(7, kind="weather"), event(7, OTHER)])
def test_what_this_version_does_not_know_is_passed_over(unknown: dict[str, Any]) -> None:
    assert take(Viewer(RUN), unknown).items == []


@pytest.mark.parametrize("frame", [b"", b"hello", b"[1]", b"7", b"null", b'{"type":"sync"}', b'[{"testId":1}', b"\xff"])
def test_what_is_not_the_protocol_is_an_error(frame: bytes) -> None:
    with pytest.raises(EdgeRefused, match="does not speak the protocol"):
        Viewer(RUN).receive(frame)


def test_a_page_of_a_poll_is_a_sync_with_its_events() -> None:
    viewer = Viewer(RUN)
    page = sync("live", 4) | {"events": [event(1), event(3)], "more": True}
    assert seqs(viewer.receive_page(RUN, page).items) == [1, 3]
    assert viewer.resume(RUN) == {"after": 3, "epoch": "e1"}
    page = sync("recovered", 9) | {"events": [event(5)], "more": False}
    assert seqs(viewer.receive_page(RUN, page).items) == [5]
    assert viewer.position == 9  # what lay between was malformed


def test_all_runs_are_followed_from_now_on_and_new_ones_from_their_first_event() -> None:
    viewer = Viewer(None)
    assert sent(viewer.opening()) == [{"type": "subscribe", "channel": "tests"}]
    first = {"type": "tests", "full": True, "upserts": [snapshot(5), snapshot(9, "completed", OTHER)], "removed": []}
    assert sent(take(viewer, first).send) == [{"type": "subscribe", "testId": RUN}]
    assert seqs(take(viewer, sync("live", 5), event(4), event(5), event(6)).items) == [6]
    news = {"type": "tests", "upserts": [snapshot(7), snapshot(8, "completed", THIRD)], "removed": []}
    assert sent(take(viewer, news).send) == [{"type": "subscribe", "testId": THIRD}]
    effects = take(viewer, sync("live", 8, THIRD), event(7, THIRD), event(8, THIRD, "complete"))
    assert seqs(effects.items) == [7, 8]
    assert sent(effects.send) == [{"type": "unsubscribe", "testId": THIRD}]
    assert sent(viewer.opening())[1:] == [{"type": "subscribe", "testId": RUN, "after": 6, "epoch": "e1"}]
    assert not viewer.done


def test_polling_all_runs_asks_for_those_that_went_on() -> None:
    viewer = Viewer(None)
    viewer.receive_list({"tests": [snapshot(5), snapshot(6, test_id=OTHER)]})
    assert viewer.runs_to_poll() == []
    viewer.receive_list({"tests": [snapshot(9), snapshot(6, test_id=OTHER), snapshot(2, test_id=THIRD)]})
    assert viewer.runs_to_poll() == [RUN, THIRD]


def test_unreadable_messages_are_told_once() -> None:
    viewer = Viewer(RUN)
    told = {"type": "unreadable", "testId": RUN, "seq": 4, "count": 2, "reasons": {"it is not JSON": 2}}
    take(viewer, sync("live", 4))
    first = viewer.receive(orjson.dumps(told))
    assert first.unreadable == [Unreadable(RUN, 4, 2, {"it is not JSON": 2})]
    assert (first.items, viewer.position) == ([], 0)
    assert viewer.receive(orjson.dumps(told)).unreadable == []
    page = {"outcome": "recovered", "epoch": "e1", "head": 7, "events": [event(6)], "more": False}
    effects = viewer.receive_page(RUN, page | {"unreadable": told | {"seq": 7, "count": 1, "reasons": {"x": 1}}})
    assert effects.unreadable == [Unreadable(RUN, 7, 1, {"x": 1})]
    assert (seqs(effects.items), viewer.position) == ([6], 7)


@pytest.mark.parametrize(
    "told",
    [
        None,
        3,
        {},
        {"seq": 1},
        {"seq": "1", "count": 1},
        {"seq": 1, "count": 0},
        {"seq": 1, "count": "2", "reasons": {}},
    ],
)
def test_unreadable_in_another_form_is_ignored(told: Any) -> None:
    assert from_answer(RUN, told) is None


def test_reasons_in_another_form_are_left_out() -> None:
    assert from_answer(RUN, {"seq": 1, "count": 1, "reasons": "?"}) == Unreadable(RUN, 1, 1, {})
    assert from_answer(RUN, {"seq": 1, "count": 3, "reasons": {"a": "b", "c": 2}}) == Unreadable(RUN, 1, 3, {"c": 2})


def test_a_tally_counts_what_is_no_event_by_run() -> None:
    tally = Tally()
    for test_id, seq, data in [(RUN, 1, b"{"), (OTHER, 2, b"[]"), (RUN, 3, b"{"), (RUN, 4, b'{"type":"shiny"}')]:
        tally.note(test_id, seq, data)
    first, second = tally.take()
    assert (first.test_id, first.seq, first.count, sum(first.reasons.values())) == (RUN, 3, 2, 2)
    assert (second.test_id, second.seq, second.count) == (OTHER, 2, 1)
    assert tally.take() == []
