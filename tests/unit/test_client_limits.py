"""What one client may cost: token buckets, quotas, turns, connections, answers that are not taken."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.harness import until
from ws_edge.access import ANONYMOUS, Action, Principal
from ws_edge.api.methods import METHODS
from ws_edge.api.quotas import kind_of
from ws_edge.config import load
from ws_edge.limits import Limits
from ws_edge.transport import quotas
from ws_edge.transport.buckets import Buckets, TooManyRequests
from ws_edge.transport.connections import Connections
from ws_edge.transport.inbound import Inbound
from ws_edge.transport.quotas import Quotas, Turns, own_subject
from ws_edge.transport.unread import MIN_PROGRESS_BYTES, UnreadAnswers

# -- buckets --------------------------------------------------------------------------------------------------------


def test_a_bucket_has_a_burst_and_a_rate() -> None:
    buckets = Buckets(2, 5)
    assert sum(not buckets.take("a", 100.0) for _ in range(20)) == 5
    assert buckets.take("a", 100.0) == pytest.approx(0.5)
    assert not buckets.take("b", 100.0), "another key"
    assert sum(not buckets.take("a", 101.0) for _ in range(20)) == 2
    assert sum(not buckets.take("a", 1000.0) for _ in range(20)) == 5, "a long pause earns no more"
    assert not any(Buckets(0, 0).take("a", 0.0) for _ in range(1000)), "0: no limit"


@given(st.lists(st.floats(0, 3), max_size=60), st.floats(0.1, 50), st.integers(1, 20))
def test_no_more_than_the_burst_and_the_rate_gets_through(gaps: list[float], per_s: float, burst: int) -> None:
    buckets, now, through = Buckets(per_s, burst), 5.0, 0
    for gap in gaps:
        now += gap
        wait_s = buckets.take("a", now)
        through += not wait_s
        assert wait_s >= 0
        if wait_s:
            assert not Buckets.take(buckets, "a", now + wait_s + 1e-6), "it says when"
            now += wait_s + 1e-6
            through += 1
    assert through <= burst + (now - 5.0) * per_s + 1


def test_a_flood_of_addresses_does_not_fill_the_memory() -> None:
    buckets = Buckets(1, 2, max_keys=100)
    for number in range(100_000):
        assert not buckets.take(f"{number}", 0.0)
    assert buckets.statistics().keys == 100
    assert [bool(buckets.take("99999", 0.0)) for _ in range(3)] == [False, True, True], "the newest are remembered"


# -- quotas ---------------------------------------------------------------------------------------------------------


async def test_a_call_counts_against_its_address_and_its_principal() -> None:
    node = Quotas(Limits(submits_per_s=0.05), 1024)  # three at once
    for _ in range(3):
        node.take("submits", "1.1.1.1", "ann")
    for address, subject in (("1.1.1.1", "bob"), ("1.1.1.1", None), ("2.2.2.2", "ann")):
        with pytest.raises(TooManyRequests) as refused:
            node.take("submits", address, subject)
        assert 1 <= refused.value.retry_after_s <= 20
        assert refused.value.code == "too_many_requests" and "submits" in refused.value.message
    node.take("submits", "3.3.3.3", "bob")
    node.take("cancels", "1.1.1.1", "ann")
    assert node.statistics().refused == 3


async def test_a_name_is_never_taken_for_an_address() -> None:
    node = Quotas(Limits(submits_per_s=0.02), 1024)
    node.take("submits", "1.1.1.1", "2.2.2.2")
    node.take("submits", "2.2.2.2", None)


def test_everybody_is_nobody_of_their_own() -> None:
    assert own_subject(ANONYMOUS) is None
    assert own_subject(Principal("share", frozenset(), frozenset(), frozenset({"x"}))) is None
    assert own_subject(ANONYMOUS._replace(subject="ann", expires_at=1.0)) == "ann"


def test_every_method_and_action_has_a_quota() -> None:
    kinds = {name: kind_of(name, method.action) for name, method in METHODS.items()}
    expected = {"listTests": "lists", "getEvents": "reads", "submitTest": "submits", "cancelTest": "cancels"}
    assert {name: kinds[name] for name in expected} == expected
    for action in (*Action, None):
        assert kind_of("another", action)
    assert kind_of("createRun", Action.PUBLISH) == "submits"
    assert kinds["getShot"] == "pictures", "many viewers of one address ask for one every second"
    assert kinds["getConfig"] == "reads", "every page asks for it, every 5 s while something is wrong"


def test_each_limit_is_a_setting() -> None:
    given = {
        "TESTCAST_EDGE_MAX_HEAD_BYTES": "9000",
        "TESTCAST_EDGE_MAX_TESTS_IN_ADDRESS": "3",
        "TESTCAST_EDGE_MAX_CONNECTIONS": "4",
        "TESTCAST_EDGE_MAX_CONNECTIONS_PER_ADDRESS": "5",
        "TESTCAST_EDGE_ANSWER_S": "6",
        "TESTCAST_EDGE_MAX_UNREAD_BYTES": "2000000",
        "TESTCAST_EDGE_MAX_READS_AT_ONCE": "8",
        "TESTCAST_EDGE_MESSAGES_PER_S": "9",
        "TESTCAST_EDGE_SUBMITS_PER_S": "10",
        "TESTCAST_EDGE_CANCELS_PER_S": "11",
        "TESTCAST_EDGE_PUBLISHES_PER_S": "12",
        "TESTCAST_EDGE_LISTS_PER_S": "13",
        "TESTCAST_EDGE_READS_PER_S": "14",
        "TESTCAST_EDGE_SIGN_INS_PER_S": "0.5",
    }
    assert load(given).limits == Limits(9000, 3, 4, 5, 6.0, 2_000_000, 8, 9, 10, 11, 12, 13, 14, 0.5)
    assert load({}).limits == Limits()


class Talker:
    """A socket that messages come on."""

    def __init__(self) -> None:
        self.closing_since = 0.0
        self.said: list[str] = []
        self.closed: list[int] = []
        self.aborted = False
        self.address = "1.1.1.1"

    def send_error(self, code: str, message: str, test_id: str | None = None) -> None:
        self.said.append(code)

    def close(self, code: int, reason: str) -> None:
        self.closing_since = 1.0
        self.closed.append(code)

    def abort(self) -> None:
        self.aborted = True


async def test_a_socket_that_says_too_much_is_told_once_and_closed() -> None:
    node = Quotas(Limits(messages_per_s=0.001), 50)
    talker, other = Talker(), Talker()
    assert sum(node.may_talk(talker) for _ in range(101)) == 100, "twice what it may subscribe to"
    assert (talker.said, talker.closed) == (["too_many_requests"], [])
    assert not any(node.may_talk(talker) for _ in range(100))
    assert (talker.said, set(talker.closed), talker.aborted) == (["too_many_requests"], {4429}, False)
    assert not any(node.may_talk(talker) for _ in range(2000))
    assert talker.aborted and talker.said == ["too_many_requests"]
    assert node.may_talk(other)
    del talker
    assert node.statistics().refused == 2101


class Speaker(Talker):
    """A socket whose frames are single bytes."""

    def __init__(self, node: Quotas, address: str, spoken: list[str]) -> None:
        super().__init__()
        self.address = address
        self.transport: Any = self
        self.reading, self.is_held_back, self.node, self.spoken = True, False, node, spoken

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def is_closing(self) -> bool:
        return self.aborted

    def read(self, data: bytes) -> None:
        for _ in data:
            self.node.may_talk(self)
        self.spoken.append(f"{self.address} {len(data)}")


async def test_who_says_much_waits_and_who_says_little_does_not() -> None:
    node = Quotas(Limits(messages_per_s=0.001), 50_000)
    inbound, spoken = Inbound(node), list[str]()
    loud, other, quiet = (Speaker(node, address, spoken) for address in ("1.1.1.1", "2.2.2.2", "3.3.3.3"))
    for each in (loud, other):
        inbound.take(each, b"x" * 2000, each.read)
        assert not each.reading
    inbound.take(loud, b"x" * 100, loud.read)  # what was on its way
    assert spoken == ["1.1.1.1 512", "2.2.2.2 512"] and inbound.statistics() == (2, 2 * 1488 + 100)
    inbound.take(quiet, b"x" * 100, quiet.read)
    assert spoken.pop() == "3.3.3.3 100" and quiet.reading
    other.is_held_back = True
    await until(lambda: loud.reading)
    assert [each for each in spoken if each.startswith("2")] == ["2.2.2.2 512"], "it does not take its answers"
    assert spoken[-1] == "1.1.1.1 52"
    other.is_held_back = False
    await until(lambda: other.reading)
    assert inbound.statistics() == (0, 0)


async def test_those_who_wait_are_served_in_turn_by_address() -> None:
    node = Quotas(Limits(messages_per_s=0.001), 50_000)
    inbound, spoken = Inbound(node), list[str]()
    crowd = [Speaker(node, "1.1.1.1", spoken) for _ in range(20)]
    other = Speaker(node, "2.2.2.2", spoken)
    for each in (*crowd, other):
        inbound.take(each, b"x" * 1024, each.read)
    spoken.clear()
    await until(lambda: other.reading)
    turns = [turn for turn, each in enumerate(spoken) if each.startswith("2.2.2.2")]
    assert turns[0] == 1 and turns[-1] <= 8, "however much was served until this test looked"
    gone = crowd[0]
    for each in crowd:
        inbound.forget(each)
    inbound.forget(gone)
    assert inbound.statistics() == (0, 0)


async def test_many_sockets_of_one_address_wait_together() -> None:
    node = Quotas(Limits(), 1024)
    inbound, spoken = Inbound(node), list[str]()
    for _ in range(100):
        each = Speaker(node, "1.1.1.1", spoken)
        inbound.take(each, b"x" * 100, each.read)
        assert each.reading, "a hundred pages with a hundred cards"
    for _ in range(200):
        each = Speaker(node, "1.1.1.1", spoken)
        inbound.take(each, b"x" * 100, each.read)
        inbound.take(each, b"x" * 100, each.read)
    assert inbound.statistics().waiting > 100
    page = Speaker(node, "2.2.2.2", spoken)
    inbound.take(page, b"x" * 200, page.read)
    assert page.reading


# -- turns ----------------------------------------------------------------------------------------------------------


async def test_an_address_takes_half_of_the_places() -> None:
    turns = Turns(4)
    order: list[str] = []

    async def call(name: str, address: str) -> None:
        await turns.take(address)
        order.append(name)

    greedy = [asyncio.create_task(call(f"a{number}", "a")) for number in range(4)]
    await asyncio.sleep(0)
    other = [asyncio.create_task(call(f"b{number}", "b")) for number in range(3)]
    await asyncio.sleep(0)
    assert (order, turns.taken) == (["a0", "a1", "b0", "b1"], 4)
    turns.give_back("b")
    await asyncio.sleep(0)
    assert order[4:] == ["b2"], "a has its half, so that b is next although it came later"
    turns.give_back("a")
    await asyncio.sleep(0)
    assert order[5:] == ["a2"]
    greedy[3].cancel()
    await asyncio.gather(*greedy, *other, return_exceptions=True)
    for address in ("a", "a", "b", "b"):
        turns.give_back(address)
    assert turns.taken == 0 and "waiting=0" in repr(turns)


async def test_a_turn_that_does_not_come_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quotas, "_TURN_S", 0.01)
    turns = Turns(1)
    await turns.take("a")
    with pytest.raises(TooManyRequests):
        await turns.take("b")
    turns.give_back("a")
    await turns.take("b")
    turns.give_back("b")
    assert turns.taken == 0


# -- connections ----------------------------------------------------------------------------------------------------


class Held:
    """A connection."""

    def __init__(self) -> None:
        self.ended = False

    def make_room(self) -> None:
        self.ended = True


def test_a_full_node_closes_what_has_rested_longest() -> None:
    connections = Connections(3, 0, 1000)
    held = [Held() for _ in range(3)]
    for each in held:
        assert connections.enter(each, "a", 0) is None
    connections.works(held[0])
    new = Held()
    assert connections.enter(new, "b", 3) is None
    assert [each.ended for each in held] == [False, True, False]
    connections.works(held[2])
    connections.works(new)
    refused = connections.enter(Held(), "c", 3)
    assert refused is not None and refused.code == "node_full"
    connections.rests(held[0])
    assert connections.enter(Held(), "c", 3) is None and held[0].ended
    assert connections.statistics() == (3, 1, 3, 1, 2)


def test_files_are_kept_for_the_node_itself() -> None:
    connections = Connections(100, 0, 10)
    first = Held()
    assert connections.enter(first, "a", 9) is None
    assert connections.enter(Held(), "a", 10) is None and first.ended
    connections = Connections(100, 0, 10)
    refused = connections.enter(Held(), "a", 10)  # sockets hold them all
    assert refused is not None and refused.code == "node_full"


def test_an_address_has_its_own_limit_and_trusted_proxies_have_none() -> None:
    connections = Connections(100, 2, 1000)
    held = [Held() for _ in range(3)]
    assert connections.enter(held[0], "a", 0) is None and connections.enter(held[1], "a", 0) is None
    connections.works(held[0])
    connections.works(held[1])
    refused = connections.enter(held[2], "a", 0)
    assert refused is not None and refused.code == "address_full" and "TRUSTED_PROXIES" in refused.message
    assert all(connections.enter(Held(), "", 0) is None for _ in range(10))
    after = Held()
    connections.hand_over(held[0], after)
    connections.works(after)
    assert connections.enter(held[2], "a", 0) is not None, "it is still the same connection"
    connections.rests(held[1])
    assert connections.enter(Held(), "b", 0) is None and not held[1].ended
    assert connections.enter(held[2], "a", 0) is None and held[1].ended, "its own that rests makes room"
    connections.leave(held[0])
    connections.leave(after)
    for each in held:
        connections.leave(each)
    assert connections.statistics()[:3] == (11, 11, 1)


def test_the_only_connection_of_an_address_makes_room() -> None:
    connections = Connections(100, 1, 1000)
    for _ in range(3):
        held = Held()
        assert connections.enter(held, "a", 0) is None
    connections.works(held)
    assert connections.enter(Held(), "a", 0) is not None
    connections.leave(held)
    assert connections.statistics() == (0, 0, 0, 1, 2)


# -- answers that are not taken -------------------------------------------------------------------------------------


class Answer:
    """A connection with an answer that is under way."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.ended = False

    def unread_bytes(self) -> int:
        return self.size

    def give_up(self) -> None:
        self.ended = True


def test_a_client_that_takes_nothing_is_given_up() -> None:
    unread = UnreadAnswers(20, 1 << 30)
    stuck, slow, small, done = Answer(1 << 20), Answer(1 << 20), Answer(10), Answer(1 << 20)
    for each in (stuck, slow, small, done):
        unread.note(each, 0.0)
    unread.sweep(20.0)
    assert unread.statistics().waiting == 4
    slow.size -= MIN_PROGRESS_BYTES
    unread.note(slow, 10.0)  # a look in between does not restart the count
    done.size = 0
    unread.sweep(20.1)
    assert [each.ended for each in (stuck, slow, small, done)] == [True, False, True, False]
    assert unread.statistics() == (1, slow.size, 2)
    slow.size -= MIN_PROGRESS_BYTES - 1  # one byte in 20 s too little
    unread.sweep(40.2)
    assert slow.ended and unread.statistics()[:2] == (0, 0)


def test_together_they_have_an_allowance() -> None:
    unread = UnreadAnswers(20, 10 << 20)
    answers = [Answer(3 << 20) for _ in range(60)]
    for each in answers:
        unread.note(each, 0.0)
        assert unread.statistics().unread_bytes <= 10 << 20
    assert [each.ended for each in answers] == [True] * 57 + [False] * 3, "the oldest go first"
    large = Answer(20 << 20)
    unread.note(large, 1.0)
    assert not large.ended and unread.statistics().waiting == 1, "an answer alone may be larger"
    unread.forget(large)
    assert unread.statistics()[:2] == (0, 0)
