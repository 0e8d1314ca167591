"""Publishing over HTTP: events that pretend, batches that are too much, keys of others."""

from __future__ import annotations

from typing import Any, Final

import orjson

from broker import identity
from tests.security.attacks import Act, Table, as_test
from tests.security.system import System, Visitor

ATTACKS: Final[Table[System]] = Table()


def progress(message: str, **more: Any) -> dict[str, Any]:
    """An event that is in order."""
    return {"type": "progress", "message": message, "timestamp": 1} | more


async def created(visitor: Visitor, **params: Any) -> str:
    """Begins a run."""
    answer = await visitor.rpc("createRun", {"title": "Mine"} | params)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["testId"])


async def events_of(visitor: Visitor, run: str) -> list[dict[str, Any]]:
    """All events of a run."""
    found: list[dict[str, Any]] = (await visitor.query("getEvents", testId=run)).json()["events"]
    return found


REFUSED: Final[dict[str, Any]] = {
    "an edge's own message (sync)": [progress("x", type="sync")],
    "an edge's own message (goodbye)": [progress("x", type="goodbye", retryAfterMs=1)],
    "an edge's own message (unreadable)": [progress("x", type="unreadable")],
    "no event": ["x"],
    "null": [None],
    "an event without a type": [{"message": "x", "timestamp": 1}],
    "an event whose time is text": [progress("x", timestamp="now")],
    "an event of another phase": [progress("x", phase="phase9")],
    "an event of 70 KB": [progress("x" * 70_000)],
    "20,000 events": [progress("x")] * 20_000,
    "no list": {"0": progress("x")},
}


def _refused(events: Any) -> Act:
    async def act(system: System) -> None:
        async with system.visitor(system.ann()) as ann:
            run = await created(ann)
            before = await events_of(ann, run)
            answer = await ann.rpc("publishEvents", {"testId": run, "events": events, "key": "attack-0001"})
            assert answer.status_code in (400, 413), answer.text[:300]
            mixed = {"testId": run, "events": [progress("good"), *(events if isinstance(events, list) else [7])]}
            answer = await ann.rpc("publishEvents", mixed | {"key": "attack-0002"})
            assert answer.status_code in (400, 413), answer.text[:300]
            assert await events_of(ann, run) == before, "all of a batch is stored, or nothing"

    return act


for _name, _events in REFUSED.items():
    ATTACKS.add(f"publish: {_name}", "400 or 413, and nothing of the batch is stored", _refused(_events))


@ATTACKS.attack("publish: events with a sequence, a run and a project of their own", "they count for nothing")
async def _(system: System) -> None:
    async with system.visitor(system.ann()) as ann, system.visitor(system.bob()) as bob:
        run = await created(ann)
        forged = progress("x", seq=2**60, testId=system.beta.test_id, data={"project": "beta"}, project="beta")
        answer = await ann.rpc("publishEvents", {"testId": run, "events": [forged], "key": "attack-0003"})
        assert answer.status_code in (200, 400), answer.text
        assert {each["testId"] for each in await events_of(ann, run)} == {run}
        assert all(each["seq"] < 2**53 for each in await events_of(ann, run))
        assert (await bob.query("getTest", testId=run)).status_code == 404


@ATTACKS.attack("publish: into a run that nobody began", "404, so that no project is taken")
async def _(system: System) -> None:
    async with system.visitor(system.ann()) as ann:
        run = identity.new_test_id()
        first = {"type": "status", "status": "queued", "message": "x", "timestamp": 1, "data": {"project": "beta"}}
        for events in ([first], [progress("x")]):
            answer = await ann.rpc("publishEvents", {"testId": run, "events": events, "key": "attack-0004"})
            assert answer.status_code == 404, answer.text


@ATTACKS.attack("publish: keys that are none, and one key twice", "400; a batch is stored once, another refused")
async def _(system: System) -> None:
    async with system.visitor(system.ann()) as ann:
        run = await created(ann)
        for key in ("", " ", "a\r\nb", "a\0b", "*", ">", "k" * 65, 7, None, ["a"], "\u2028"):
            answer = await ann.rpc("publishEvents", {"testId": run, "events": [progress("x")], "key": key})
            assert answer.status_code in (200, 400), (key, answer.text)
            assert not (answer.status_code == 200 and key in ("a\r\nb", "a\0b")), key
        params = {"testId": run, "events": [progress("once")], "key": "attack-0005"}
        first, again = await ann.rpc("publishEvents", params), await ann.rpc("publishEvents", params)
        assert first.status_code == 200 and again.status_code in (200, 409), again.text
        other = await ann.rpc("publishEvents", params | {"events": [progress("another")]})
        assert other.status_code in (200, 409), other.text
        messages = [each["message"] for each in await events_of(ann, run)]
        assert messages.count("once") == 1 and "another" not in messages, messages


@ATTACKS.attack("publish: the key of another project's batch", "each run has keys of its own")
async def _(system: System) -> None:
    async with system.visitor(system.ann()) as ann, system.visitor(system.bob()) as bob:
        mine, yours = await created(ann), await created(bob)
        key = identity.new_test_id()
        for visitor, run in ((bob, yours), (ann, mine)):
            answer = await visitor.rpc("publishEvents", {"testId": run, "events": [progress("x")], "key": key})
            assert answer.status_code == 200 and answer.json()["stored"], answer.text


@ATTACKS.attack("publish: into a run that has ended", "409 or ignored; the verdict stays")
async def _(system: System) -> None:
    async with system.visitor(system.ann()) as ann:
        run = await created(ann)
        done = {"type": "complete", "message": "done", "timestamp": 1, "data": {"score": 7}}
        first = await ann.rpc("publishEvents", {"testId": run, "events": [done], "key": "attack-0006"})
        assert first.status_code == 200, first.text
        forged = [done | {"data": {"score": 100}}, progress("more")]
        for more in ({}, {"afterSeq": 1}, {"afterSeq": 2**52}):
            params = {"testId": run, "events": forged, "key": f"attack-{orjson.dumps(more).decode()[:20]}"} | more
            answer = await ann.rpc("publishEvents", params)
            assert answer.status_code in (200, 400, 409), answer.text
        snapshot = (await ann.query("getTest", testId=run)).json()["test"]
        assert snapshot["status"] in ("completed", "running", "queued")
        assert snapshot.get("score") in (7, None)


test_attack = as_test(ATTACKS)
