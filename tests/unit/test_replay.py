"""Entries, rings, batches, and the pages that viewers share: cut anywhere, nothing missing, one read for all."""

from __future__ import annotations

from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.contract.events import MAX_DEPTH, for_viewer
from broker.contract.events import check as check_event
from tests.harness import NO_SUCH_TEST as TEST_ID
from tests.harness import event_bytes
from tests.model import ModelBroker, VirtualLoop
from ws_edge.fanout import replay
from ws_edge.fanout.batch import batch_after
from ws_edge.fanout.replay import Replay, ReplayPage
from ws_edge.fanout.ring import Entry, Ring, entry_of, index_after


def entries_of(sizes: list[int]) -> list[Entry]:
    """Entries with gaps in their sequence; a size of 0 is a malformed one."""
    return [Entry(3 * index + 3, b"x" * size, "urgent") for index, size in enumerate(sizes)]


sizes = st.lists(st.sampled_from([0, 1, 10, 60, 300]), max_size=40)

# -- entries ------------------------------------------------------------------------------------------------------


def test_an_entry_is_urgent_progress_or_silent() -> None:
    assert entry_of(TEST_ID, 7, event_bytes("m", "status", status="running")).kind == "urgent"
    assert entry_of(TEST_ID, 7, event_bytes("m")).kind == "progress"
    assert entry_of(TEST_ID, 7, b"\xff") == Entry(7, b"", "silent", reason="it is not UTF-8")


@pytest.mark.parametrize("depth", [MAX_DEPTH - 1, MAX_DEPTH, 250, 300, 1000, 5000])
@pytest.mark.parametrize("field", [b'"testId":1', b'"x":1'])
def test_what_is_nested_too_deep_is_malformed_and_what_is_not_can_be_sent(depth: int, field: bytes) -> None:
    nested = b"[" * depth + b"]" * depth
    raw = b'{%b,"type":"progress","message":"m","timestamp":1,"data":%b}' % (field, nested)
    entry = entry_of(TEST_ID, 7, raw)
    assert entry.kind == ("progress" if depth < MAX_DEPTH else "silent")
    if entry.body:
        assert for_viewer(TEST_ID, 7, check_event(raw)) == entry.body


def test_many_brackets_side_by_side_are_not_deep() -> None:
    assert entry_of(TEST_ID, 7, event_bytes("[" * 200, data=[[[]]] * 100)).body


@given(sizes, st.integers(0, 130), st.integers(0, 130), st.integers(1, 500))
def test_a_batch_is_what_comes_next(sizes: list[int], cursor: int, head: int, max_bytes: int) -> None:
    entries = entries_of(sizes)
    batch = batch_after(entries, cursor, head, max_bytes)
    bodies, moved = [entry.body for entry in batch if entry.body], batch[-1].seq if batch else cursor
    passed = [entry for entry in entries if cursor < entry.seq <= moved]
    assert batch == passed, "exactly what it has passed"
    assert moved == (passed[-1].seq if passed else cursor) and (moved <= head or moved == cursor)
    assert sum(map(len, bodies[:-1])) < max_bytes, "at most one goes beyond"
    left = [entry for entry in entries if max(cursor, moved) < entry.seq <= head]
    assert not left or sum(map(len, bodies)) >= max_bytes, "it stops for no other reason"
    assert entries[index_after(entries, cursor) :] == [entry for entry in entries if entry.seq > cursor]


@given(st.lists(sizes, max_size=12), st.integers(1, 800), st.integers(1, 20))
def test_a_ring_holds_the_newest_without_a_hole(batches: list[list[int]], max_bytes: int, max_entries: int) -> None:
    ring = Ring(2, max_bytes, max_entries)
    everything: list[Entry] = []
    for batch in batches:
        start = everything[-1].seq if everything else 2
        added = [entry._replace(seq=entry.seq + start) for entry in entries_of(batch)]
        everything += added
        ring.extend(added)
        assert ring.entries == [entry for entry in everything if entry.seq > ring.after]
        held = sum(len(entry.body) for entry in ring.entries)
        assert held == ring.bytes <= max_bytes and len(ring.entries) <= max_entries
    ring.clear(1000)
    assert (ring.after, ring.entries, ring.bytes) == (1000, [], 0)


# -- pages --------------------------------------------------------------------------------------------------------


@pytest.fixture
def broker(loop: VirtualLoop) -> ModelBroker:
    return ModelBroker(loop, TEST_ID)


def fill(broker: ModelBroker, count: int, size: int = 0, others: int = 0) -> list[int]:
    """Stores events with others' in between; their sequences."""
    seqs: list[int] = []
    for number in range(count):
        broker.life.pass_over(others, broker.loop.now)
        seqs.append(broker.put(event_bytes(f"{number}" + "x" * size), True, []).seq)
    return seqs


def read_on(loop: VirtualLoop, pages: Replay, cursor: int, last: int) -> list[int]:
    """What a viewer at `cursor` gets, page by page."""
    got: list[int] = []
    while cursor < last:
        page = pages.cached(TEST_ID, cursor)
        if page is None:
            arrived: list[ReplayPage] = []
            loop.call(partial(pages.request, TEST_ID, cursor, arrived.append))
            loop.run_for(0.1)
            assert len(arrived) == 1 and arrived[0].last > cursor, f"no way on from {cursor}"
            continue
        assert cursor == 0 or page.holds(cursor)
        got += [entry.seq for entry in page.entries if entry.seq > cursor]
        cursor = got[-1]
    return got


@pytest.mark.parametrize(("count", "size", "others"), [(3000, 0, 0), (900, 0, 6), (200, 60_000, 0), (200, 60_000, 3)])
def test_page_by_page_the_whole_run(loop: VirtualLoop, broker: ModelBroker, count: int, size: int, others: int) -> None:
    """Also where a page's bytes run out long before its block does."""
    broker.max_page_bytes = 4 << 20
    pages = Replay(broker)
    seqs = fill(broker, count, size, others)
    for start in (0, seqs[0], seqs[count // 2], seqs[-2]):
        assert read_on(loop, pages, start, seqs[-1]) == [seq for seq in seqs if seq > start]
    more = fill(broker, 5, size, others)
    assert read_on(loop, pages, seqs[-1], more[-1]) == more
    assert pages._bytes <= replay._CACHE_BYTES or len(pages._pages) == 1


def test_viewers_of_one_stretch_share_one_read(loop: VirtualLoop, broker: ModelBroker) -> None:
    pages = Replay(broker)
    fill(broker, 500)
    arrived: list[ReplayPage] = []
    for cursor in range(400):
        loop.call(partial(pages.request, TEST_ID, cursor, arrived.append))
    loop.run_for(1.0)
    assert (len(arrived), broker.reads, pages.reads) == (400, 1, 1)
    assert all(pages.cached(TEST_ID, cursor) is arrived[0] for cursor in range(400))


def test_a_read_is_tried_again_until_the_broker_is_back(loop: VirtualLoop, broker: ModelBroker) -> None:
    pages = Replay(broker)
    fill(broker, 5)
    arrived: list[ReplayPage] = []
    broker.disconnect()
    loop.call(partial(pages.request, TEST_ID, 0, arrived.append))
    loop.run_for(60.0)
    assert not arrived
    broker.reconnect()
    loop.run_for(1.0)
    assert [entry.seq for entry in arrived[0].entries] == [1, 2, 3, 4, 5]


def test_an_answer_of_the_streams_former_life_is_not_kept(loop: VirtualLoop, broker: ModelBroker) -> None:
    pages = Replay(broker)
    fill(broker, 5)
    broker.latency_s = 1.0
    arrived: list[ReplayPage] = []
    loop.call(partial(pages.request, TEST_ID, 0, arrived.append))
    loop.run_for(0.7)  # the broker has answered, the answer is on its way
    broker.recreate()
    loop.call(partial(pages.forget, TEST_ID))
    loop.run_for(2.0)
    assert not arrived and pages.cached(TEST_ID, 0) is None and "waiting=0" in repr(pages)


def test_pages_that_begin_with_what_is_gone_are_forgotten(loop: VirtualLoop, broker: ModelBroker) -> None:
    pages = Replay(broker)
    fill(broker, 1600)
    read_on(loop, pages, 0, 1600)
    pages.forget(TEST_ID, 1100)
    assert pages.cached(TEST_ID, 0) is None and pages.cached(TEST_ID, 1100) is None
    broker.life.purge(1100, loop.now)
    assert read_on(loop, pages, 0, 1600) == list(range(1101, 1601))
    pages.forget(TEST_ID, 1100)
    assert pages.cached(TEST_ID, 0) is not None, "that one was read afterwards"
