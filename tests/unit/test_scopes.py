"""The list, its counts, ETags, places and changes, as those see them who may see some projects only: nothing in them
depends on what happens elsewhere."""

from __future__ import annotations

from functools import partial
from typing import Any

import msgspec
import pytest

from broker.contract.snapshot import Snapshot
from broker.jetstream.snapshot_store import SnapshotChange
from tests.model import VirtualLoop
from tests.views import Plain, Viewer, World
from ws_edge.access import ANONYMOUS, Action, Principal, Undecided
from ws_edge.api.response_cache import CachedResponse, ResponseCache
from ws_edge.views.catalogue import STALLED_AFTER_S
from ws_edge.views.listing import Wanted
from ws_edge.views.scopes import ScopedRuns
from ws_edge.views.tests_channel import TestsChannel

A, B, AB, NONE = frozenset({"a"}), frozenset({"b"}), frozenset({"a", "b"}), frozenset[str]()


@pytest.fixture
def world(loop: VirtualLoop) -> World:
    world = World(loop)
    world.catalogue.place_by_project()
    return world


def seen(world: World, projects: frozenset[str] | None) -> tuple[Any, ...]:
    """All that somebody can learn from the list."""
    runs = world.catalogue.scoped(projects)
    pages, cursor = [], None
    while True:
        page = world.loop.call(partial(runs.listing, 2, cursor, None))
        pages.append(page)
        cursor = page.next_cursor
        if cursor is None:
            break
    found = [runs.listing(9, None, status, query) for status in ("queued", "running") for query in (None, "secret")]
    found += [runs.listing(9, None, None, None, Wanted(labels=(("commit", "abc"),)))]
    found += [runs.listing(9, None, None, None, Wanted(frozenset({"http://game.example/"})))]
    found += [runs.listing(9, None, None, None, Wanted(pinned=True))]
    return (
        pages,
        (found, runs.games(9, None)),
        runs.newest(9),
        runs.counts(),
        world.loop.call(lambda: runs.etag("1", "q")),
        runs.version,
    )


def change(world: World, of: Snapshot, **fields: Any) -> Snapshot:
    after = msgspec.structs.replace(of, seq=of.seq + 100, **fields)
    world.store(after)
    return after


def events_elsewhere(world: World) -> None:
    """Everything that may happen to runs of another project."""
    runs = [world.run("secret", project="b", status=status) for status in ("queued", "running", "queued", "failed")]
    change(world, runs[0], status="running")
    change(world, runs[2], title="another secret")
    change(world, runs[1], status="completed")
    hidden = world.run("nobody's", project="", labels={"commit": "abc"})
    world.run("labelled", project="b", labels={"commit": "abc"})
    world.loop.call(lambda: world.broker.remove(runs[3].test_id))
    world.loop.call(lambda: world.broker.remove(hidden.test_id))
    world.loop.call(lambda: world.catalogue.lose(runs[0].test_id))
    world.alive(runs[0].test_id)
    world.loop.call(lambda: world.broker.on_change(SnapshotChange(runs[0].test_id, 999, "unreadable", None)))


def test_nothing_that_happens_elsewhere_changes_what_one_sees(world: World) -> None:
    for status in ("queued", "running", "completed", "queued"):
        world.run(f"ours, {status}", project="a", status=status)
    before, nothing = seen(world, A), seen(world, NONE)
    assert before[3] == {"queued": 2, "running": 1, "completed": 1, "failed": 0, "cancelled": 0}
    assert [run.queue_place for run in before[2]] == [2, None, None, 1]
    events_elsewhere(world)
    assert seen(world, A) == before
    assert seen(world, NONE) == nothing and nothing[2] == []
    assert seen(world, B) != before and seen(world, AB)[4] not in (before[4], seen(world, B)[4])
    assert all(run.project == "a" for run in before[2])


def test_silence_elsewhere_and_agents_that_are_gone_are_not_seen(world: World) -> None:
    world.run("ours", project="a", status="completed")
    world.run("secret", project="b", status="queued")
    world.run("secret", project="b", status="running")
    before = seen(world, A)
    world.loop.run_for(STALLED_AFTER_S + 2)
    assert world.catalogue.statistics().stalled == 1
    world.loop.call(lambda: world.catalogue.set_agents(present=False))
    assert seen(world, A) == before, "no run of ours waits, so nothing says that other runs wait for an agent"


def test_what_happens_to_ones_own_runs_changes_the_etag_each_time(world: World) -> None:
    tags = [seen(world, A)[4]]
    run = world.run("ours", project="a", status="queued")
    tags.append(seen(world, A)[4])
    run = change(world, run, title="other")
    tags.append(seen(world, A)[4])
    world.loop.call(lambda: world.catalogue.set_agents(present=False))
    tags.append(seen(world, A)[4])
    change(world, run, status="running")
    tags.append(seen(world, A)[4])
    world.loop.run_for(STALLED_AFTER_S + 2)
    tags.append(seen(world, A)[4])
    world.loop.call(lambda: world.broker.remove(run.test_id))
    tags.append(seen(world, A)[4])
    assert len(set(tags[:-1])) == len(tags) - 1 and tags[-1] == tags[0], "empty again"


def test_two_nodes_agree_on_an_etag_in_whatever_order_they_have_learnt_the_runs(loop: VirtualLoop) -> None:
    worlds = [World(loop), World(loop)]
    runs = [worlds[0].run(f"game {number}", project="a" if number % 2 else "b") for number in range(6)]
    for world, order in ((worlds[0], runs[:0]), (worlds[1], runs[::-1])):
        for run in order:
            revision = runs.index(run) + 1
            loop.call(partial(world.broker.on_change, SnapshotChange(run.test_id, revision, "written", run)))
    for projects in (A, B, AB):
        lists = [world.catalogue.scoped(projects) for world in worlds]
        first, second = (loop.call(partial(runs.etag, "1", "")) for runs in lists)
        assert first == second


def test_a_list_made_late_is_the_same_as_one_kept_current(world: World) -> None:
    early = world.catalogue.scoped(AB)
    events_elsewhere(world)
    for status in ("queued", "running"):
        world.run("ours", project="a", status=status)
    world.loop.call(world.broker.on_reset)
    late = ScopedRuns(world.catalogue, AB, lambda: [run.test_id for run, _ in world.catalogue.all()])
    for made in (early, late):
        assert made.newest(99) == early.newest(99) and made.counts() == early.counts()
    assert world.loop.call(lambda: early.etag("1", "")) == world.loop.call(lambda: late.etag("1", ""))


def test_a_short_list_among_many_runs_is_made_without_a_look_at_the_others(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        world.run(f"ours {number}", project="a")
    others = [world.run("secret", project="b") for _ in range(500)]
    looked, stored = list[str](), world.catalogue.stored

    def counting(test_id: str) -> tuple[Snapshot, int] | None:
        looked.append(test_id)
        return stored(test_id)

    monkeypatch.setattr(world.catalogue, "stored", counting)
    monkeypatch.setattr(world.catalogue, "all", lambda: pytest.fail("every run was looked at"))
    scoped = world.catalogue.scoped(A)
    assert len(looked) == 3
    for run in others[:3]:
        change(world, run, title="changed")
    looked.clear()
    assert world.catalogue.scoped(A) is scoped
    assert len(scoped.listing(50, None, None).tests) == 3
    change(world, scoped.newest(1)[0], title="changed")
    assert scoped.newest(1)[0].title == "changed"
    assert len(looked) <= 9


def test_lists_that_nobody_follows_are_forgotten(world: World) -> None:
    followed = world.catalogue.scoped(A)
    assert isinstance(followed, ScopedRuns)
    followed.follow(True)
    for number in range(200):
        world.catalogue.scoped(frozenset({f"p{number}"}))
    assert world.catalogue.scoped(A) is followed
    world.run("ours", project="a")
    assert len(followed.take_changes()) == 1


def test_an_answer_from_a_list_that_was_forgotten_is_not_current(world: World) -> None:
    left = world.catalogue.scoped(A)
    version = left.version
    for number in range(200):
        world.catalogue.scoped(frozenset({f"p{number}"}))
    assert left.version != version, "it would never hear of a change"


def test_a_snapshot_that_nobody_has_folded_moves_no_run_into_another_project(world: World) -> None:
    run = world.run("secret", project="b")
    forged = msgspec.structs.replace(run, project="a", title="forged", seq=run.seq + 1)
    world.loop.call(lambda: world.broker.on_change(SnapshotChange(run.test_id, 99, "written", forged, folded=False)))
    assert world.catalogue.scoped(A).newest(9) == []
    found = world.catalogue.snapshot(run.test_id)
    assert found is not None and found.project == "b" and run.test_id in world.catalogue.doubted


def test_a_place_in_the_queue_tells_nothing_of_other_projects(world: World) -> None:
    theirs = [world.run("secret", project="b", status="queued") for _ in range(3)]
    ours = [world.run("ours", project="a", status="queued") for _ in range(2)]

    def places() -> list[int | None]:
        found = [world.catalogue.snapshot(run.test_id) for run in ours]
        return [run.queue_place for run in found if run is not None]

    assert places() == [1, 2]
    world.changed.clear()
    change(world, theirs[0], status="running")
    assert places() == [1, 2] and not {run.test_id for run in ours} & set(world.changed)
    change(world, ours[0], status="running")
    assert places() == [1] * 0 + [None, 1]
    assert ours[1].test_id in world.changed
    moved = world.catalogue.snapshot(ours[1].test_id)
    assert moved is not None
    change(world, ours[1], project="b")  # corrected by a fold
    assert [run.queue_place for run in world.catalogue.scoped(B).newest(9) if run.queue_place] == [3, 2, 1]


# -- the `tests` channel -------------------------------------------------------------------------------------------


@pytest.fixture
def channel(loop: VirtualLoop, world: World) -> TestsChannel:
    channel = TestsChannel(1000, lambda: world.catalogue.stale_for_s)
    channel.principals_change = True
    world.told.append(channel.changed)
    loop.create_task(channel.run(world.catalogue))
    return channel


def viewer(encoding: Plain, projects: frozenset[str] | None) -> Viewer:
    return Viewer(encoding, ANONYMOUS._replace(projects=projects))


def test_listeners_hear_of_their_projects_only_and_each_group_is_encoded_once(
    world: World, channel: TestsChannel
) -> None:
    plain = Plain()
    ours = [viewer(plain, A) for _ in range(3)]
    theirs, both, nobody, everybody = (viewer(plain, each) for each in (B, AB, NONE, None))
    run = world.run("ours", project="a")
    for each in (*ours, theirs, both, nobody, everybody):
        channel.add(each)
    world.loop.run_for(0.3)
    assert plain.encoded == 5
    assert [each.got[0]["full"] for each in (*ours, theirs, both, nobody, everybody)] == [True] * 7
    assert (nobody.got[0]["upserts"], nobody.got[0]["counts"]["running"]) == ([], 0)
    secret = world.run("secret", project="b")
    world.loop.run_for(0.3)
    assert plain.encoded == 8 and [len(each.got) for each in (*ours, nobody)] == [1] * 4
    for each in (theirs, both, everybody):
        assert [upsert["testId"] for upsert in each.got[1]["upserts"]] == [secret.test_id]
    assert (theirs.got[1]["counts"]["running"], both.got[1]["counts"]["running"]) == (1, 2)
    world.loop.call(lambda: world.broker.remove(secret.test_id))
    world.loop.run_for(0.3)
    assert [each.got[2]["removed"] for each in (theirs, both, everybody)] == [[secret.test_id]] * 3
    assert [len(each.got) for each in (*ours, nobody)] == [1] * 4, "not even that something went away"
    world.loop.call(lambda: world.broker.remove(run.test_id))
    world.loop.run_for(0.3)
    assert all(each.got[1]["removed"] == [run.test_id] for each in ours)
    assert len(theirs.got) == 3


def test_a_run_whose_project_is_corrected_goes_away_for_those_who_saw_it(world: World, channel: TestsChannel) -> None:
    ours, theirs = viewer(Plain(), A), viewer(Plain(), B)
    run = world.run("ours", project="a")
    channel.add(ours)
    channel.add(theirs)
    world.loop.run_for(0.3)
    change(world, run, project="b")
    world.loop.run_for(0.3)
    assert ours.got[1]["removed"] == [run.test_id] and ours.got[1]["upserts"] == []
    assert [each["testId"] for each in theirs.got[1]["upserts"]] == [run.test_id]


def test_who_becomes_another_principal_gets_the_list_of_that_one_and_nothing_more_of_the_other(
    world: World, channel: TestsChannel
) -> None:
    for before, after in ((A, B), (None, B), (A, None), (A, NONE)):
        one, stays = viewer(Plain(), before), viewer(Plain(), before)
        channel.add(one)
        channel.add(stays)
        world.loop.run_for(0.3)
        one.principal = one.principal._replace(projects=after)
        world.loop.run_for(0.3)
        expected = [run.test_id for run in world.catalogue.scoped(after).newest(100)]
        assert one.got[1]["full"] and [each["testId"] for each in one.got[1]["upserts"]] == expected
        run = world.run("ours", project="a")
        world.loop.run_for(0.3)
        heard = [each["testId"] for message in one.got[2:] for each in message["upserts"]]
        assert heard == ([run.test_id] if after is None else [])
        channel.remove(one)
        channel.remove(stays)
        assert one not in channel and channel.statistics().listeners == 0


def test_who_leaves_and_comes_back_hears_the_changes_again(world: World, channel: TestsChannel) -> None:
    one = viewer(Plain(), A)
    for _ in range(2):
        channel.add(one)
        world.loop.run_for(0.3)
        run = world.run("ours", project="a")
        world.loop.run_for(0.3)
        assert [each["testId"] for each in one.got[-1]["upserts"]] == [run.test_id] and "full" not in one.got[-1]
        channel.remove(one)
        channel.remove(one)


# -- the response cache --------------------------------------------------------------------------------------------


class ByName:
    """The header names the caller, and a project of the same name."""

    def identify(self, header: Any) -> Principal:
        if header("x-name") is None:
            raise Undecided
        return ANONYMOUS._replace(projects=frozenset({header("x-name")}))

    def authorize(self, principal: Principal, action: Action, test_id: str | None) -> None:
        if test_id is not None:
            raise Undecided

    async def identify_later(self, header: Any) -> Principal:
        raise AssertionError("the cache does not wait")

    async def authorize_later(self, principal: Principal, action: Action, test_id: str) -> None:
        raise AssertionError("the cache does not wait")


def test_answers_are_kept_per_set_of_projects() -> None:
    cache, access = ResponseCache(), ByName()

    def scope(*names: bytes) -> dict[str, Any]:
        return {"path": "/rpc/listTests", "query_string": b"", "headers": [(b"x-name", name) for name in names]}

    for name in ("a", "b"):
        kept = CachedResponse(name.encode(), name.encode(), lambda: True, Action.LIST, None)
        cache.put(scope(), kept, ANONYMOUS._replace(projects=frozenset({name})))
    for asked in (b"a", b"b"):
        found = cache.get(scope(asked), access)
        assert found is not None and found.body == asked
    assert cache.get(scope(b"c"), access) is None
    assert cache.get(scope(b"a", b"b"), access) is None, "of a repeated header, none is taken for the only one"
    assert cache.get(scope(), access) is None, "undecided"
    about_a_run = CachedResponse(b"x", b"x", lambda: True, Action.WATCH, "id")
    cache.put(scope(), about_a_run, ANONYMOUS._replace(projects=frozenset({"a"})))
    assert cache.get(scope(b"a"), access) is None, "undecided"
