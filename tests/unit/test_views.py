"""The views of a node without a broker: the catalogue's list, the `tests` channel, the response cache."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from broker.contract.errors import BadInput
from broker.jetstream.snapshot_store import SnapshotChange
from tests.model import VirtualLoop
from tests.views import Broker, Plain, Viewer, World
from ws_edge.access import Action, OpenAccess
from ws_edge.api.response_cache import CachedResponse, ResponseCache
from ws_edge.views.catalogue import STALLED_AFTER_S, Catalogue
from ws_edge.views.tests_channel import FULL_LIST, TestsChannel


@pytest.fixture
def world(loop: VirtualLoop) -> World:
    return World(loop)


def test_the_list_comes_in_pages_newest_first(world: World) -> None:
    made = [world.run(f"game {number}", status="running" if number % 2 else "queued").test_id for number in range(7)]
    seen: list[str] = []
    cursor: str | None = None
    while True:
        page = world.catalogue.listing(2, cursor, None)
        seen += [run.test_id for run in page.tests]
        assert (page.counts["running"], page.counts["queued"], page.counts["failed"]) == (3, 4, 0)
        cursor = page.next_cursor
        if cursor is None:
            break
    assert seen == made[::-1]
    assert [run.test_id for run in world.catalogue.listing(9, None, "queued").tests] == made[::2][::-1]
    assert [run.title for run in world.catalogue.listing(9, None, None, "GAME 3").tests] == ["game 3"]
    assert world.catalogue.listing(9, None, None, "no such").tests == []
    for wrong in ("odd", "1.", f".{made[0]}", f"1.{made[0]}.2"):
        with pytest.raises(BadInput):
            world.catalogue.listing(2, wrong, None)


def test_a_silent_run_is_marked_stalled_until_a_sign_of_life(world: World) -> None:
    run, ended = world.run(), world.run(status="completed")
    tag = world.catalogue.etag("1", "")
    version = world.catalogue.version
    world.loop.run_for(STALLED_AFTER_S + 2)
    assert [marked.test_id for marked in world.catalogue.newest(9) if marked.stalled] == [run.test_id]
    assert world.catalogue.version > version and world.catalogue.etag("1", "") != tag
    stored = world.catalogue.stored(run.test_id)
    assert stored is not None and not stored[0].stalled, "the mark is this node's, and not stored"
    assert world.catalogue.statistics().stalled == 1
    world.alive(run.test_id)
    assert world.catalogue.etag("1", "") == tag
    assert not any(marked.stalled for marked in world.catalogue.newest(9))
    assert world.catalogue.silent_for(ended.test_id, world.loop.time()) > STALLED_AFTER_S


def test_while_the_broker_is_away_nothing_stalls_and_the_list_is_stale(world: World) -> None:
    run = world.run()
    assert world.catalogue.stale_for_s is None
    for lost in world.broker.on_disconnect:
        world.loop.call(lost)
    world.loop.run_for(2)
    assert world.loop.call(lambda: world.catalogue.stale_for_s) is None, "a reconnect takes as long"
    world.loop.run_for(2 * STALLED_AFTER_S)
    assert world.loop.call(lambda: world.catalogue.stale_for_s) > STALLED_AFTER_S
    assert world.loop.call(world.catalogue.statistics).stale_for_s == world.loop.call(
        lambda: world.catalogue.stale_for_s
    )
    world.loop.call(world.broker.on_current)
    world.loop.run_for(STALLED_AFTER_S - 5)
    assert world.loop.call(lambda: world.catalogue.stale_for_s) is None
    found = world.catalogue.snapshot(run.test_id)
    assert found is not None and not found.stalled


@pytest.mark.parametrize("time", [0, 1_700_000_000, 2**53 - 1])
def test_what_ended_long_ago_by_anybodys_clock_is_kept_until_it_is_removed(world: World, time: int) -> None:
    """Retention is the broker's: `refill` finds out what it does not hold any more."""
    removed, old = world.run(), world.run(status="completed", created_at=time, updated_at=time)
    world.loop.call(lambda: world.broker.remove(removed.test_id))
    world.loop.run_for(60)
    assert [run.test_id for run in world.catalogue.newest(9)] == [old.test_id]
    assert world.catalogue.counts()["completed"] == 1
    assert removed.test_id in world.changed and removed.test_id in world.catalogue.doubted, "the run may stand"


def test_a_bucket_that_was_made_again_keeps_the_list_and_its_revisions_do_not_count(world: World) -> None:
    run = world.run()
    version = world.catalogue.version
    world.loop.call(world.broker.on_reset)
    assert world.catalogue.stored(run.test_id) == (run, 0)
    assert world.catalogue.version > version and world.catalogue.changed.is_set()


def test_a_checked_catalogue_is_filled_after_the_comparison_and_stale_while_it_is_behind(loop: VirtualLoop) -> None:
    broker = Broker()
    make = lambda: Catalogue(broker, broker, lambda _: None, checked=True)  # type: ignore[arg-type]  # noqa: E731
    catalogue: Catalogue = loop.call(make)
    loop.create_task(catalogue.run())
    loop.turns(3)
    loop.call(broker.on_current)
    assert catalogue.current.is_set() and not catalogue.filled.is_set()
    loop.call(lambda: catalogue.compared(behind=True))
    loop.run_for(7)
    assert catalogue.filled.is_set()
    assert loop.call(lambda: catalogue.stale_for_s) == pytest.approx(7, abs=0.1), "since when it is known"
    loop.call(lambda: catalogue.compared(behind=False))
    assert loop.call(lambda: catalogue.stale_for_s) is None
    loop.call(broker.on_reset)
    assert loop.call(lambda: catalogue.stale_for_s) == 0.0, "at once"


def test_a_bucket_that_does_not_answer_makes_the_list_stale(world: World) -> None:
    world.run()
    world.loop.call(world.broker.on_lost)
    world.loop.run_for(6)
    assert world.loop.call(lambda: world.catalogue.stale_for_s) == pytest.approx(6, abs=0.1)
    world.loop.call(world.broker.on_current)
    assert world.loop.call(lambda: world.catalogue.stale_for_s) is None


def test_an_unreadable_snapshot_moves_the_revision_only(world: World) -> None:
    run = world.run()
    world.loop.call(lambda: world.broker.on_change(SnapshotChange(run.test_id, 99, "unreadable", None)))
    assert (world.catalogue.revision, world.catalogue.snapshot(run.test_id)) == (99, run)
    assert world.catalogue.doubted == {run.test_id} and world.catalogue.changed.is_set()


def test_a_snapshot_of_a_version_that_trusted_publishers_clocks_is_shown_and_folded_again(world: World) -> None:
    old, new = world.run(epoch=None), world.run()
    assert world.catalogue.doubted == {old.test_id}
    assert [run.test_id for run in world.catalogue.newest(9)] == [new.test_id, old.test_id]


def test_a_cancelled_run_is_counted_and_listed_as_cancelled_and_not_as_failed(world: World) -> None:
    failed = world.run(status="failed", error_code="lost")
    cancelled = world.run(status="failed", error_code="cancelled")
    odd = world.run(error_code="cancelled")
    counts = world.catalogue.counts()
    assert (counts["failed"], counts["cancelled"], counts["running"], sum(counts.values())) == (1, 1, 1, 3)
    for status, expected in (("failed", failed), ("cancelled", cancelled), ("running", odd)):
        assert [run.test_id for run in world.catalogue.listing(9, None, status).tests] == [expected.test_id]


# -- the queue -----------------------------------------------------------------------------------------------------


def test_a_queued_run_has_a_place_and_never_stalls(world: World) -> None:
    made = [world.run(status="queued", attempt=0) for _ in range(3)]
    world.loop.run_for(10 * STALLED_AFTER_S)
    assert [run.queue_place for run in world.catalogue.newest(9)] == [3, 2, 1]
    assert not any(run.stalled or run.no_agent for run in world.catalogue.newest(9))
    world.changed.clear()
    world.store(msgspec.structs.replace(made[0], status="running", seq=9))
    assert [run.queue_place for run in world.catalogue.newest(9)] == [2, 1, None]
    assert set(world.changed) == {run.test_id for run in made}, "everybody behind it has moved up"
    world.loop.run_for(STALLED_AFTER_S + 2)
    assert [run.stalled for run in world.catalogue.newest(9)] == [False, False, True]
    stored = world.catalogue.stored(made[1].test_id)
    assert stored is not None and stored[0].queue_place is None, "a mark is not stored"


def test_that_no_agent_is_running_is_a_mark_of_queued_runs_only(world: World) -> None:
    queued, _running = world.run(status="queued"), world.run()
    tag, version = world.catalogue.etag("1", ""), world.catalogue.version
    world.changed.clear()
    world.loop.call(lambda: world.catalogue.set_agents(present=False))
    assert [run.test_id for run in world.catalogue.newest(9) if run.no_agent] == [queued.test_id]
    assert world.catalogue.etag("1", "") != tag and world.catalogue.version > version
    assert world.changed == [queued.test_id]
    world.loop.call(lambda: world.catalogue.set_agents(present=True))
    assert world.catalogue.etag("1", "") == tag


# -- the `tests` channel -------------------------------------------------------------------------------------------


@pytest.fixture
def channel(loop: VirtualLoop, world: World) -> TestsChannel:
    channel = TestsChannel(1000, lambda: world.catalogue.stale_for_s)
    world.told.append(channel.changed)
    loop.create_task(channel.run(world.catalogue))
    return channel


def test_a_change_is_encoded_once_for_all_viewers_of_an_encoding(world: World, channel: TestsChannel) -> None:
    one, other = Plain(), Plain()
    viewers = [Viewer(one), Viewer(one), Viewer(other)]
    for viewer in viewers:
        channel.add(viewer)
    world.loop.run_for(0.3)
    assert (one.encoded, other.encoded) == (1, 1)
    assert all(viewer.got[0]["full"] and viewer.got[0]["upserts"] == [] for viewer in viewers)
    run = world.run("first title")
    world.store(msgspec.structs.replace(run, title="second title"))
    world.loop.run_for(0.3)
    assert (one.encoded, other.encoded) == (2, 2)
    for viewer in viewers:
        [change] = viewer.got[1:]
        assert [upsert["title"] for upsert in change["upserts"]] == ["second title"], "conflated"
        assert (change["type"], change["removed"], change["counts"]["running"]) == ("tests", [], 1)
        assert "full" not in change and "stale" not in change
    world.loop.run_for(2)
    assert (one.encoded, channel.statistics()) == (2, (3, 0, 1, 3)), "nothing is sent while nothing changes"


def test_who_is_full_misses_changes_and_gets_the_whole_list(world: World, channel: TestsChannel) -> None:
    full, quick = Viewer(Plain()), Viewer(Plain())
    for viewer in (full, quick):
        channel.add(viewer)
    world.loop.run_for(0.3)
    full.unsent = 1001
    made = [world.run(f"game {number}").test_id for number in range(FULL_LIST + 5)]
    world.loop.run_for(0.3)
    assert (len(full.got), channel.statistics().outdated) == (1, 1)
    assert {run["testId"] for run in quick.got[1]["upserts"]} == set(made)
    full.unsent = 1000
    world.loop.run_for(0.3)
    assert full.got[1]["full"] and [run["testId"] for run in full.got[1]["upserts"]] == made[::-1][:FULL_LIST]
    assert channel.statistics().outdated == 0
    world.loop.call(lambda: world.broker.remove(made[0]))
    channel.remove(quick)
    world.loop.run_for(0.3)
    assert (full.got[2]["removed"], len(quick.got)) == ([made[0]], 2)
    assert full in channel and quick not in channel


def test_word_that_the_list_is_stale_and_current_again(world: World, channel: TestsChannel) -> None:
    viewer = Viewer(Plain())
    channel.add(viewer)
    world.loop.run_for(0.3)
    for lost in world.broker.on_disconnect:
        world.loop.call(lost)
    world.loop.run_for(6)
    assert viewer.got[-1]["stale"] is True and 5000 <= viewer.got[-1]["ageMs"] < 5500, "since when it is true"
    world.loop.call(world.broker.on_current)
    world.loop.run_for(0.3)
    assert "stale" not in viewer.got[-1] and len(viewer.got) == 3


# -- the response cache --------------------------------------------------------------------------------------------


def poll(query: bytes) -> dict[str, Any]:
    return {"path": "/rpc/listTests", "query_string": query, "headers": []}


def response(body: bytes, *, current: bool = True) -> CachedResponse:
    return CachedResponse(b'"a"', body, lambda: current, Action.LIST, None)


def test_the_response_cache_forgets_all_at_its_limits() -> None:
    cache, access = ResponseCache(), OpenAccess()
    for number in range(1000):
        cache.put(poll(b"%d" % number), response(b"x" * 10))
    cache.put(poll(b"7"), response(b"y" * 20))
    assert cache.statistics()[:2] == (1000, 10_010), "the same request again takes no more room"
    cache.put(poll(b"more"), response(b"z"))
    assert cache.statistics()[:2] == (1, 1)
    cache.put(poll(b"large"), response(b"x" * (16 << 20)))
    assert cache.statistics()[:2] == (1, 16 << 20)
    cache.put(poll(b"too large"), response(b"x" * (16 << 20) + b"x"))
    cache.put(poll(b"") | {"path": "/rpc/getEvents"}, response(b"x"))
    assert cache.statistics().responses == 1
    cache.put(poll(b"limit=1&" * 4000), response(b"x"))
    assert cache.statistics().responses == 1, "a key takes memory, too"
    assert cache.get(poll(b"large"), access) is not None
    assert cache.get(poll(b"more"), access) is None
    cache.put(poll(b"old"), response(b"", current=False))
    assert cache.get(poll(b"old"), access) is None
    assert cache.statistics()[2:] == (1, 2)
