"""Proofs on open sockets: another one takes their place, they expire, and they are revoked."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.socket_stand_ins import FOREIGN, MISSING, ORIGIN, Edge, bearer, follow, ticket_of, watch
from tests.unit.test_socket_fuzz import TEST_ID


@pytest.fixture
def edge() -> Iterator[Edge]:
    edge = Edge()
    yield edge
    edge.close()


# -- another proof ----------------------------------------------------------------------------------------------------


def test_another_token_takes_the_place_of_the_first(edge: Edge) -> None:
    browser = edge.connects(bearer("ann"), query=f"?testId={TEST_ID}")
    browser.says({"type": "authenticate", "token": "ann2"})
    edge.loop.run_for(0.5)
    [answer] = browser.told("authenticated")
    assert answer["expiresAt"] == int((edge.loop_began + 1000) * 1000)
    edge.loop.run_for(200.0)
    assert browser.frames.closed is None and browser.errors() == []
    edge.revoke("a1")
    assert browser.errors() == [], "the first token is of no more interest"


@pytest.mark.parametrize(
    ("proof", "code"),
    [
        ({"token": "bob"}, "forbidden"),
        ({"token": "nobody"}, "unauthenticated"),
        ({"ticket": "x"}, "unauthenticated"),
    ],
)
def test_a_proof_that_is_wrong_or_somebody_elses_changes_nothing(edge: Edge, proof: dict[str, str], code: str) -> None:
    browser = edge.connects(bearer("ann"), query=f"?testId={TEST_ID}")
    before = browser.socket.principal
    browser.says({"type": "authenticate", **proof})
    edge.loop.run_for(0.5)
    assert browser.errors() == [(code, None)] and browser.told("authenticated") == []
    assert browser.socket.principal == before
    edge.publish("still here")
    edge.loop.run_for(0.5)
    assert browser.events()[-1] == "still here"


@pytest.mark.parametrize(
    "message",
    [
        {},
        {"token": ""},
        {"token": 1},
        {"token": "a", "ticket": "b"},
        {"token": "a\nb"},
        {"token": "é"},
        {"ticket": "x" * 9000},
        {"token": None, "ticket": None},
    ],
)
def test_an_authenticate_without_one_proof_is_malformed_and_repeats_nothing(
    edge: Edge, message: dict[str, Any]
) -> None:
    browser = edge.connects(bearer("ann"))
    browser.says({"type": "authenticate", **message})
    edge.loop.run_for(0.5)
    assert browser.frames.closed == 4400
    assert browser.errors() == [("malformed_message", None)]
    assert browser.told("error")[0]["message"] == "authenticate: expected one text, either token or ticket" or (
        "such characters" in browser.told("error")[0]["message"]
    )


def test_a_ticket_renews_from_the_origin_of_the_socket(edge: Edge) -> None:
    browser = edge.connects(bearer("ann"), f"Origin: {ORIGIN}", query=f"?testId={TEST_ID}")
    foreign, own = ticket_of(edge, "https://other.example"), ticket_of(edge)
    for ticket in (foreign, own, own):
        browser.says({"type": "authenticate", "ticket": ticket})
        edge.loop.run_for(0.5)
    assert browser.errors() == [("unauthenticated", None)] * 2 and len(browser.told("authenticated")) == 1


def test_runs_that_another_proof_does_not_show_are_ended(edge: Edge) -> None:
    only, several = edge.connects(bearer("ann"), query=f"?testId={TEST_ID}"), edge.connects(bearer("ann"))
    several.says(watch(TEST_ID), {"type": "subscribe", "channel": "tests"})
    edge.loop.run_for(0.5)
    for browser in (only, several):
        browser.says({"type": "authenticate", "token": "ann-elsewhere"})
        edge.loop.run_for(0.5)
        assert browser.errors() == [("not_found", TEST_ID)] and not browser.socket.sessions
    assert (only.frames.closed, several.frames.closed) == (4404, None)
    edge.publish("not for them")
    edge.loop.run_for(0.5)
    assert "not for them" not in only.events() + several.events()
    assert several.socket in edge.node.tests
    several.says({"type": "authenticate", "token": "ann-no-list"})
    edge.loop.run_for(0.5)
    assert several.socket not in edge.node.tests and several.errors()[-1][0] == "forbidden"


def test_the_pictures_of_a_run_are_judged_like_its_events(edge: Edge) -> None:
    browser = edge.connects(bearer("ann"))
    browser.says(follow(TEST_ID), follow(MISSING), follow(FOREIGN))
    edge.loop.run_for(0.5)
    assert browser.errors() == [("not_found", MISSING), ("not_found", FOREIGN)]
    edge.loop.call(lambda: edge.feed.store(TEST_ID))
    edge.loop.run_for(0.5)
    [told] = browser.told("frame")
    assert (told["testId"], told["number"]) == (TEST_ID, 1)
    browser.says({"type": "authenticate", "token": "ann-elsewhere"})
    edge.loop.run_for(0.5)
    assert browser.errors()[-1] == ("not_found", TEST_ID) and browser.frames.closed is None
    edge.loop.call(lambda: edge.feed.store(TEST_ID))
    edge.loop.run_for(0.5)
    assert len(browser.told("frame")) == 1 and browser.socket not in edge.node.pictures.channel


def test_pictures_flow_through_the_grace_and_end_with_the_socket(edge: Edge) -> None:
    browser = edge.connects(bearer("ann"))
    browser.says(follow(TEST_ID))
    edge.loop.run_for(1.0)
    edge.revoke("a1")
    edge.loop.run_for(5.0)
    edge.loop.call(lambda: edge.feed.store(TEST_ID))
    edge.loop.run_for(1.0)
    assert len(browser.told("frame")) == 1
    browser.says({"type": "unsubscribe", "channel": "frames", "testId": TEST_ID}, follow(TEST_ID))
    edge.loop.run_for(1.0)
    assert browser.errors()[-1] == ("unauthenticated", TEST_ID), "letting go needs no permission"
    edge.loop.run_for(20.0)
    assert browser.frames.closed == 4401 and edge.node.pictures.channel.statistics()[:2] == (0, 0)


# -- the end of a proof -----------------------------------------------------------------------------------------------


def test_events_flow_through_the_grace_and_then_the_socket_is_closed(edge: Edge) -> None:
    browser = edge.connects(bearer("ann"), query=f"?testId={TEST_ID}")
    edge.loop.run_for(99.0)
    assert browser.errors() == []
    edge.loop.run_for(2.0)
    [error] = browser.told("error")
    assert error["data"] == {"code": "token_expired", "graceMs": 25_000}
    for number in range(23):
        edge.publish(f"in the grace {number}")
        edge.loop.run_for(1.0)
    assert browser.frames.closed is None
    edge.loop.run_for(3.0)
    assert browser.frames.closed == 4401
    edge.publish("too late")
    edge.loop.run_for(0.5)
    assert browser.events() == ["0", "1", "2", *(f"in the grace {number}" for number in range(23))]
    edge.loop.run_for(5.0)
    assert browser.gone and edge.node.hub.proofs.statistics() == (0, 0)


def test_a_revoked_token_gives_events_for_a_while_and_nothing_else(edge: Edge) -> None:
    browser, other = edge.connects(bearer("ann"), query=f"?testId={TEST_ID}"), edge.connects(bearer("bob"))
    edge.loop.run_for(0.5)
    edge.revoke("a1")
    [error] = browser.told("error")
    assert error["data"] == {"code": "token_revoked", "graceMs": 25_000}
    cancelled: list[str] = []
    edge.node.cancel = cancelled.append
    browser.says({"type": "cancel", "testId": TEST_ID}, watch(MISSING), {"type": "subscribe", "channel": "tests"})
    edge.loop.run_for(1.0)
    assert browser.errors()[1:] == [("unauthenticated", each) for each in (TEST_ID, MISSING, None)] and not cancelled
    browser.says({"type": "unsubscribe", "testId": TEST_ID})
    edge.loop.run_for(0.5)
    assert not browser.socket.sessions and len(browser.errors()) == 4
    edge.loop.run_for(27.0)
    assert browser.frames.closed == 4401
    assert other.errors() == [] and other.frames.closed is None


def test_who_renews_misses_nothing_and_who_does_not_resumes_by_position(edge: Edge) -> None:
    """A hundred events around renewals, expiry and 4401: each is seen once, in order."""
    renews, stays = (edge.connects(bearer("ann"), query=f"?testId={TEST_ID}") for _ in range(2))
    for number in range(100):
        edge.publish(f"event {number}")
        if number % 10 == 7 and number < 90:
            edge.tokens.principals["again"] = edge.tokens.principals["ann2"]._replace(
                expires_at=edge.loop.now + 30, token_id=f"again{number}"
            )
            renews.says({"type": "authenticate", "token": "again"})
        edge.loop.run_for(1.5)
    expected = ["0", "1", "2", *(f"event {number}" for number in range(100))]
    assert renews.events() == expected and renews.frames.closed is None
    assert len(renews.told("authenticated")) == 9
    assert stays.frames.closed == 4401 and 60 < len(stays.events()) < 100
    assert stays.events() == expected[: len(stays.events())], "everything up to the end"
    last = max(each["seq"] for each in stays.messages if "seq" in each)
    back = edge.connects(bearer("ann2"), query=f"?testId={TEST_ID}&after={last}")
    edge.loop.run_for(1.0)
    assert back.told("sync")[0]["outcome"] == "recovered"
    assert stays.events() + back.events() == expected


def test_the_end_of_a_share_link_ends_its_run_on_open_sockets(edge: Edge) -> None:
    shares = edge.access.shares
    assert shares is not None
    made: list[Any] = []

    async def make() -> None:
        made.append(await shares.make(edge.tokens.principals["ann"], TEST_ID, 600.0))

    edge.loop.call(lambda: edge.node.hub.spawn(make()))
    edge.loop.turns(3)
    cookie = shares.open(TEST_ID, made[0].secret)[1].partition(";")[0]
    visitor = edge.connects(f"Cookie: {cookie}", f"Origin: {ORIGIN}", query=f"?testId={TEST_ID}")
    watcher = edge.connects(f"Cookie: {cookie}", f"Origin: {ORIGIN}")
    watcher.says(follow(TEST_ID))
    foreign = edge.connects(f"Cookie: {cookie}", "Origin: http://localhost:9999")
    assert foreign.status == 403, "nor does a page of another origin get at it"
    edge.loop.run_for(0.5)
    assert visitor.events() == ["0", "1", "2"]
    visitor.says({"type": "cancel", "testId": TEST_ID}, {"type": "subscribe", "channel": "tests"})
    edge.loop.run_for(0.5)
    assert visitor.errors() == [("forbidden", TEST_ID), ("forbidden", None)]
    edge.loop.call(lambda: edge.node.hub.spawn(shares.end(TEST_ID, made[0].share.share_id)))
    edge.loop.run_for(0.5)
    assert visitor.errors()[-1] == ("not_found", TEST_ID) and visitor.frames.closed == 4404
    assert watcher.errors() == [("not_found", TEST_ID)] and watcher.socket not in edge.node.pictures.channel


def test_a_run_that_is_shown_otherwise_stays_when_its_link_ends(edge: Edge) -> None:
    shares = edge.access.shares
    assert shares is not None
    made: list[Any] = []

    async def make() -> None:
        made.append(await shares.make(edge.tokens.principals["ann"], TEST_ID, 60.0))

    edge.loop.call(lambda: edge.node.hub.spawn(make()))
    edge.loop.turns(3)
    session = edge.access.sessions
    assert session is not None
    both = [session.begin(edge.tokens.principals["ann"]).cookie, shares.open(TEST_ID, made[0].secret)[1]]
    cookies = "; ".join(each.partition(";")[0] for each in both)
    browser = edge.connects(f"Cookie: {cookies}", query=f"?testId={TEST_ID}")
    edge.loop.run_for(61.0)
    edge.loop.call(edge.records.prune)
    edge.publish("after the link")
    edge.loop.run_for(0.5)
    assert browser.events()[-1] == "after the link" and browser.errors() == []
    assert browser.socket.principal.shared_runs == frozenset()
