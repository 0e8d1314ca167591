"""Access by project without a broker: what memory decides, that a foreign run and a missing one cost the same, and that
a flood of made-up ids makes few looks."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from broker import identity
from broker.contract.errors import BadInput, BrokerUnavailable, NotFound, TestcastError
from broker.contract.snapshot import Snapshot
from tests.model import VirtualLoop
from ws_edge.access import ANONYMOUS, AccessDenied, Action, Principal, Undecided
from ws_edge.access.projects import NOT_FOUND_AFTER_S, ProjectAccess, project_for

OURS, THEIRS, NOBODYS, MISSING = (identity.new_test_id() for _ in range(4))
NEW = identity.new_test_id()
"""A run of ours that this node has not heard of."""
ANN = Principal("ann", frozenset({"a"}), frozenset({Action.LIST, Action.WATCH}))


def snapshot(test_id: str, project: str) -> Snapshot:
    fields: dict[str, Any] = {"title": "T", "game_url": "", "status": "running", "phase": None, "message": "", "seq": 1}
    fields |= {"created_at": 1, "updated_at": 1, "attempt": 0}
    return Snapshot(test_id=test_id, project=project, **fields)


class World:
    """What a node knows, and what the broker does."""

    def __init__(self) -> None:
        self.known = {each: snapshot(each, of) for each, of in ((OURS, "a"), (THEIRS, "b"), (NOBODYS, ""))}
        self.stored: dict[str, str] = {OURS: "a", THEIRS: "b", NOBODYS: "", NEW: "a"}
        self.looked: list[str] = []
        self.under_way = self.most_under_way = 0
        self.error: TestcastError | None = None
        self.takes_s = 0.002
        self.access = ProjectAccess(self.known.get, self.look)

    async def look(self, test_id: str) -> str | None:
        self.looked.append(test_id)
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            await asyncio.sleep(self.takes_s)
            if self.error is not None:
                raise self.error
            return self.stored.get(test_id)
        finally:
            self.under_way -= 1


@pytest.fixture
def world(loop: VirtualLoop) -> World:
    return World()


def answer(loop: VirtualLoop, world: World, test_id: str, action: Action = Action.WATCH, by: Principal = ANN) -> Any:
    """The outcome, as its type and text, and how long it took, ms."""
    began, ended = loop.time(), [0.0]

    async def ask() -> None:
        try:
            await world.access.authorize_later(by, action, test_id)
        finally:
            ended[0] = loop.time()

    task = loop.create_task(ask())
    loop.run_for(30)
    error = task.exception()
    outcome = None if error is None else (type(error), str(error).replace(test_id, "<id>"))
    return outcome, round((ended[0] - began) * 1000)


def test_memory_answers_for_what_one_may_see(world: World) -> None:
    world.access.authorize(ANN, Action.WATCH, OURS)
    world.access.authorize(ANN, Action.LIST, None)
    with pytest.raises(AccessDenied):
        world.access.authorize(ANN, Action.CANCEL, OURS)
    with pytest.raises(AccessDenied):
        world.access.authorize(ANN, Action.SUBMIT, None)
    for test_id in (OURS, THEIRS, NOBODYS, MISSING):
        world.access.authorize(ANONYMOUS, Action.CANCEL, test_id)  # may see all projects
    assert world.looked == []


@pytest.mark.parametrize("action", list(Action))
@pytest.mark.parametrize("test_id", [THEIRS, NOBODYS, MISSING, NEW], ids=["theirs", "nobodys", "missing", "new"])
def test_memory_never_decides_what_it_could_tell_apart(world: World, action: Action, test_id: str) -> None:
    with pytest.raises(Undecided):
        world.access.authorize(ANN, action, test_id)


@pytest.mark.parametrize("action", list(Action))
@pytest.mark.parametrize("takes_s", [0.0, 0.002, 0.03, 0.4])
def test_a_foreign_run_and_a_missing_one_are_alike(
    loop: VirtualLoop, world: World, action: Action, takes_s: float
) -> None:
    world.takes_s = takes_s
    foreign, nobodys, missing = (answer(loop, world, each, action) for each in (THEIRS, NOBODYS, MISSING))
    assert foreign == nobodys == missing
    assert missing[0] == (NotFound, "there is no test <id>")
    assert missing[1] == pytest.approx(1000 * max(takes_s, NOT_FOUND_AFTER_S), abs=1)
    assert world.looked == [THEIRS, NOBODYS, MISSING], "each takes the same look"


def test_they_are_alike_while_the_broker_is_away(loop: VirtualLoop, world: World) -> None:
    world.error = BrokerUnavailable("not connected")
    foreign, missing = answer(loop, world, THEIRS), answer(loop, world, MISSING)
    assert foreign == missing and foreign[0] == (BrokerUnavailable, "not connected")
    assert answer(loop, world, OURS)[0] is None, "what one may see is answered from memory"
    world.error = None
    assert answer(loop, world, MISSING)[0][0] is NotFound, "a failure is not kept"


def test_a_run_that_this_node_has_not_heard_of_is_seen_at_once(loop: VirtualLoop, world: World) -> None:
    assert answer(loop, world, NEW) == (None, 2)


def test_the_same_id_is_looked_for_once_a_second(loop: VirtualLoop, world: World) -> None:
    tasks = [
        loop.create_task(world.access.authorize_later(ANN, Action.WATCH, each))
        for each in (MISSING, THEIRS)
        for _ in range(200)
    ]
    loop.run_for(0.5)
    assert all(isinstance(task.exception(), NotFound) for task in tasks)
    assert sorted(world.looked) == sorted([MISSING, THEIRS])
    loop.run_for(1)
    assert answer(loop, world, MISSING)[0] is not None
    assert world.looked.count(MISSING) == 2


def test_a_flood_of_made_up_ids_makes_few_looks_at_a_time_and_has_an_end(loop: VirtualLoop, world: World) -> None:
    flood = [
        loop.create_task(world.access.authorize_later(ANN, Action.WATCH, identity.new_test_id())) for _ in range(6000)
    ]
    loop.run_for(1)
    assert len(world.looked) <= 16 * 51, "800 a second"
    loop.run_for(20)
    outcomes = [type(task.exception()) for task in flood]
    assert set(outcomes) == {NotFound, BrokerUnavailable} and outcomes.count(NotFound) == 1000
    assert world.most_under_way <= 16
    assert world.access.statistics().waiting == 0
    for _ in range(6):
        tasks = [
            loop.create_task(world.access.authorize_later(ANN, Action.WATCH, identity.new_test_id()))
            for _ in range(1000)
        ]
        loop.run_for(2)
        assert all(task.done() and task.exception() for task in tasks)
    assert world.access.statistics().kept <= 5096


def test_who_leaves_does_not_end_the_look_for_others(loop: VirtualLoop, world: World) -> None:
    leaves, stays = (loop.create_task(world.access.authorize_later(ANN, Action.WATCH, NEW)) for _ in range(2))
    loop.turns(2)
    leaves.cancel()
    loop.run_for(1)
    assert leaves.cancelled() and stays.exception() is None
    assert world.looked == [NEW]


def test_a_share_link_shows_one_run_and_does_nothing_else(loop: VirtualLoop, world: World) -> None:
    guest = Principal("share", frozenset(), frozenset(), shared_runs=frozenset({THEIRS}))
    assert answer(loop, world, THEIRS, by=guest) == (None, 0)
    for action in set(Action) - {Action.WATCH}:
        assert answer(loop, world, THEIRS, action, by=guest)[0][0] is AccessDenied
    for test_id in (OURS, NOBODYS, MISSING):
        assert answer(loop, world, test_id, by=guest)[0] == (NotFound, "there is no test <id>")
    with pytest.raises(AccessDenied):
        world.access.authorize(guest, Action.LIST, None)
    both = ANN._replace(shared_runs=frozenset({NEW}), actions=frozenset(Action))
    assert answer(loop, world, NEW, Action.CANCEL, by=both)[0] is None, "it is of ann's project as well"


@pytest.mark.parametrize(
    ("projects", "given", "expected"),
    [
        (None, None, "default"),
        (None, "x", "x"),
        (("default", "a"), None, "default"),
        (("a",), None, "a"),
        (("a", "b"), "b", "b"),
        (("a", "b"), None, BadInput),
        ((), None, AccessDenied),
        (("a",), "default", AccessDenied),
        (("a",), "b", AccessDenied),
        (("a",), "", BadInput),
        (("a",), "A", BadInput),
        (None, "a/b", BadInput),
        (None, "a\n", BadInput),
    ],
)
def test_the_project_of_a_run_that_one_makes(
    projects: tuple[str, ...] | None, given: str | None, expected: Any
) -> None:
    principal = Principal("ann", None if projects is None else frozenset(projects))
    if isinstance(expected, str):
        assert project_for(principal, given) == expected
        return
    with pytest.raises(expected) as refused:
        project_for(principal, given)
    if given is None and projects:
        assert "a, b" in str(refused.value), "the choice is named"
