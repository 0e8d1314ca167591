"""Proofs on sockets: upgrades that wait for a decision, and messages that keep their order."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson
import pytest

from tests.socket_stand_ins import FOREIGN, MISSING, ORIGIN, Browser, Edge, bearer, ticket_of, watch
from tests.unit.test_socket_fuzz import TEST_ID, frame
from ws_edge.access import Action
from ws_edge.access.cookies import SESSION
from ws_edge.transport.websocket import MAX_MESSAGE_BYTES


@pytest.fixture
def edge() -> Iterator[Edge]:
    edge = Edge()
    yield edge
    edge.close()


# -- the upgrade ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lines", [(), (bearer("nobody"),), (f"Cookie: {SESSION}=x",), (bearer("ann"), bearer("ann"))])
def test_without_a_good_proof_there_is_no_socket(edge: Edge, lines: tuple[str, ...]) -> None:
    browser = edge.connects(*lines)
    assert browser.status == 401
    assert b"\r\nwww-authenticate: Bearer\r\n" in browser.head
    assert edge.node.admission.open == 0 and not edge.node.hub.sockets


def test_an_edge_that_has_not_read_the_revocations_answers_503(edge: Edge) -> None:
    edge.records.filled = False
    for lines in ((bearer("ann"),), (), (f"Sec-WebSocket-Protocol: ticket.{ticket_of(edge)}", f"Origin: {ORIGIN}")):
        assert edge.connects(*lines).status == 503
    assert edge.node.admission.open == 0


def test_a_ticket_opens_one_socket_and_is_not_repeated(edge: Edge) -> None:
    ticket = ticket_of(edge)
    lines = (f"Sec-WebSocket-Protocol: testcast.v1, ticket.{ticket}", f"Origin: {ORIGIN}")
    first = edge.connects(*lines, query=f"?testId={TEST_ID}")
    edge.loop.run_for(0.5)
    assert first.status == 101
    assert b"\r\nSec-WebSocket-Protocol: testcast.v1\r\n" in first.head and ticket.encode() not in first.head
    assert first.events() == ["0", "1", "2"]
    second = edge.connects(*lines)
    edge.loop.run_for(0.5)
    assert second.status == 401
    assert edge.node.admission.open == 1


def test_viewers_of_a_run_share_the_string_of_its_id(edge: Edge) -> None:
    """A hundred thousand of them would have a copy each."""
    for _ in range(2):
        browser = edge.connects(bearer("ann"), query=f"?testId={TEST_ID}")
        edge.loop.run_for(0.5)
        [[followed, session]] = browser.socket.sessions.items()
        assert followed is session.topic.test_id and followed == TEST_ID


def slow_bucket(edge: Edge) -> list[Any]:
    """The bucket answers when the future that is kept here is done."""
    waiting: list[Any] = []
    create = edge.bucket.create

    async def slowly(key: str, value: bytes, ttl_s: float | None) -> bool:
        waiting.append(edge.loop.create_future())
        await waiting[-1]
        return await create(key, value, ttl_s)

    edge.bucket.create = slowly  # type: ignore[method-assign]
    return waiting


def by_ticket(edge: Edge) -> Browser:
    return edge.connects(f"Sec-WebSocket-Protocol: ticket.{ticket_of(edge)}", f"Origin: {ORIGIN}")


def test_what_is_sent_before_the_answer_is_kept_in_order(edge: Edge) -> None:
    waiting = slow_bucket(edge)
    browser = by_ticket(edge)
    said = frame(orjson.dumps(watch(TEST_ID))) + frame(b"first", 9) + frame(b"second", 9)
    for start in range(0, len(said), 7):
        browser.sends(said[start : start + 7])
    assert browser.status is None and not browser.messages
    edge.loop.call(lambda: waiting[0].set_result(None))
    edge.loop.run_for(0.5)
    assert browser.status == 101
    assert browser.frames.pongs == [b"first", b"second"]
    assert browser.events() == ["0", "1", "2"]


def test_who_sends_too_much_before_the_answer_is_cut_off(edge: Edge) -> None:
    slow_bucket(edge)
    browser = by_ticket(edge)
    browser.sends(b"x" * (MAX_MESSAGE_BYTES + 1))
    edge.loop.turns(2)
    assert browser.gone and edge.node.admission.open == 0


def test_a_client_that_is_gone_before_the_answer_leaves_nothing(edge: Edge) -> None:
    waiting = slow_bucket(edge)
    browser = by_ticket(edge)
    browser.leaves()
    edge.loop.call(lambda: waiting[0].set_result(None))
    edge.loop.run_for(0.5)
    assert browser.status is None
    assert edge.node.admission.open == 0 and not edge.node.hub.sockets and not edge.server_state.connections


def test_a_node_that_drains_meanwhile_sends_it_elsewhere(edge: Edge) -> None:
    waiting = slow_bucket(edge)
    browser = by_ticket(edge)
    edge.node.draining = True
    edge.loop.call(lambda: waiting[0].set_result(None))
    edge.loop.run_for(0.5)
    assert browser.status == 503 and edge.node.admission.open == 0
    edge.node.draining = False
    pending = by_ticket(edge)
    edge.loop.call(pending.socket.shutdown)
    edge.loop.turns(2)
    assert pending.gone and not pending.head, "no frame comes before an answer"


def test_a_decision_that_does_not_come_has_a_deadline(edge: Edge) -> None:
    slow_bucket(edge)
    browser = by_ticket(edge)
    edge.loop.run_for(4.0)
    assert browser.status is None
    edge.loop.run_for(2.0)
    assert browser.status == 503 and edge.node.admission.open == 0


# -- its messages ---------------------------------------------------------------------------------------------------


def test_a_foreign_run_and_a_missing_one_are_answered_alike(edge: Edge) -> None:
    answers = []
    for test_id in (FOREIGN, MISSING):
        by_message, by_url = edge.connects(bearer("ann")), edge.connects(bearer("ann"), query=f"?testId={test_id}")
        by_message.says(
            watch(test_id), {"type": "unsubscribe", "testId": test_id}, {"type": "cancel", "testId": test_id}
        )
        edge.loop.run_for(1.0)
        texts = [orjson.dumps({**each, "timestamp": 0}).decode() for each in by_message.messages + by_url.messages]
        answers.append(
            ([text.replace(test_id, "ID") for text in texts], by_message.frames.closed, by_url.frames.closed)
        )
    assert answers[0] == answers[1]
    assert answers[0][1:] == (None, 4404)
    assert len(answers[0][0]) == 4


def test_a_run_that_may_be_seen_but_not_watched_closes_with_4403(edge: Edge) -> None:
    edge.tokens.principals["list"] = edge.tokens.principals["ann"]._replace(actions=frozenset({Action.LIST}))
    browser = edge.connects(bearer("list"), query=f"?testId={TEST_ID}")
    edge.loop.run_for(0.5)
    assert (browser.errors(), browser.frames.closed) == ([("forbidden", TEST_ID)], 4403)
    browser = edge.connects(bearer("list"))
    browser.says(watch(TEST_ID))
    edge.loop.run_for(0.5)
    assert (browser.errors(), browser.frames.closed) == ([("forbidden", TEST_ID)], None)


def test_messages_behind_an_undecided_one_keep_their_order(edge: Edge) -> None:
    edge.tokens.projects.clear()  # nothing is known in memory
    edge.loop.call(edge.tokens.may_look.clear)
    browser = edge.connects(bearer("ann"))
    leave = {"type": "unsubscribe", "testId": TEST_ID}
    browser.says(watch(TEST_ID), leave, watch(TEST_ID), leave, {**watch(TEST_ID), "after": 2})
    browser.says({"type": "subscribe", "channel": "tests"}, watch(MISSING), leave, watch(TEST_ID))
    edge.loop.run_for(1.0)
    assert browser.messages == []
    edge.loop.call(edge.tokens.may_look.set)
    edge.loop.run_for(1.0)
    assert list(browser.socket.sessions) == [TEST_ID] and browser.socket in edge.node.tests
    assert browser.errors() == [("not_found", MISSING)]
    assert browser.told("sync") and browser.events()[-3:] == ["0", "1", "2"]
    assert browser.socket.backlog is None


def test_a_client_whose_messages_wait_is_not_read_without_end(edge: Edge) -> None:
    edge.tokens.projects.clear()
    edge.loop.call(edge.tokens.may_look.clear)
    browser = edge.connects(bearer("ann"))
    for _ in range(500):
        if not browser.transport.reading:
            break
        browser.says(watch(MISSING), watch(TEST_ID))
    assert not browser.transport.reading
    assert browser.socket.backlog is not None and len(browser.socket.backlog) <= 66
    edge.loop.call(edge.tokens.may_look.set)
    edge.loop.run_for(1.0)
    assert browser.transport.reading and browser.socket.backlog is None
    browser.says({"type": "unsubscribe", "testId": TEST_ID})
    edge.loop.run_for(0.5)
    assert not browser.socket.sessions


def test_what_has_come_is_carried_out_before_more_is_read(edge: Edge) -> None:
    edge.tokens.projects.clear()
    edge.loop.call(edge.tokens.may_look.clear)
    browser = edge.connects(bearer("ann"))
    browser.says(*[watch(MISSING)] * 600)
    waiting = edge.node.inbound.statistics
    assert waiting().waiting == 1 and browser.socket.is_held_back and not browser.transport.reading
    edge.loop.call(edge.tokens.may_look.set)
    for _ in range(300):
        edge.loop.run_for(0.01)
        assert not (browser.transport.reading and waiting().waiting), "what is read then would pile up"
    assert browser.transport.reading and waiting() == (0, 0)
    assert len(browser.errors()) == 600


def test_a_client_that_leaves_while_its_messages_wait_leaves_nothing(edge: Edge) -> None:
    edge.tokens.projects.clear()
    edge.loop.call(edge.tokens.may_look.clear)
    browser = edge.connects(bearer("ann"))
    browser.says(watch(TEST_ID), watch(MISSING))
    browser.leaves()
    edge.loop.call(edge.tokens.may_look.set)
    edge.judge()


def test_a_flood_of_cancels_is_refused_but_for_two(edge: Edge) -> None:
    begun: list[str] = []
    done = edge.loop.create_future()

    async def cancel(test_id: str) -> None:
        begun.append(test_id)
        await done

    edge.node.cancel = cancel
    browser = edge.connects(bearer("ann"))
    browser.says(*[{"type": "cancel", "testId": TEST_ID}] * 300)
    edge.loop.run_for(0.5)
    assert begun == [TEST_ID]
    assert browser.errors() == [("too_many_requests", TEST_ID)] * 298
    edge.loop.call(lambda: done.set_result(None))
    edge.loop.run_for(0.5)
    assert begun == [TEST_ID] * 2 and browser.socket.cancels == ()
