"""Reading and changing a run of another project by every door. It must answer as for a run that does not exist."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from typing import Any, Final

import httpx
import orjson
import pytest

from broker import identity
from tests.harness import Reader, publish, say, store_picture, until
from tests.security.attacks import Act, Table, as_test
from tests.security.system import DEADLINE_S, Planted, System, Visitor, code_of, says_nothing_of

ATTACKS: Final[Table[System]] = Table()
AS_MISSING: Final = "exactly what a run that does not exist gets"
_UUID: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f-]{27}")
_NOT_TOLD: Final = {"date", "content-length", "x-request-id"}


def shape(answer: httpx.Response) -> tuple[int, str, list[tuple[str, str]]]:
    """An answer without what differs from request to request: test ids, dates."""
    headers = sorted((name, value) for name, value in answer.headers.items() if name not in _NOT_TOLD)
    return answer.status_code, _UUID.sub("<id>", answer.text), headers


READS: Final[dict[str, dict[str, Any]]] = {
    "getTest": {},
    "getEvents": {},
    "getEvents after a position": {"after": 1},
    "getEvents with another epoch": {"after": 1, "epoch": "x"},
    "getEvents far ahead": {"after": 2**52},
    "connectToTest": {},
    "getShot": {},
    "getFrames": {},
    "getFrames after a number": {"after": 2**52, "limit": 1},
}
ACTS: Final[dict[str, dict[str, Any]]] = {
    "cancelTest": {},
    "shareTest": {"forSeconds": 60},
    "listShares": {},
    "unshareTest": {"shareId": "x" * 16},
    "publishEvents": {
        "events": [{"type": "progress", "message": "forged", "timestamp": 1}],
        "key": "attack-0001",
    },
    "publishFrame": {"jpeg": "/9j/AA==", "timeMs": 1},
    "publishFrame with a position": {"jpeg": "/9j/AA==", "seq": 1},
}


def _door(method: str, params: dict[str, Any], *, post: bool) -> Act:
    async def act(system: System) -> None:
        async with system.visitor(system.ann()) as ann, system.visitor(system.ann()) as other_ann:
            answers = []
            for visitor, test_id in ((ann, system.beta.test_id), (other_ann, identity.new_test_id())):
                given = params | {"testId": test_id}
                answers.append(await visitor.rpc(method, given) if post else await visitor.query(method, **given))
            foreign, missing = answers
            assert shape(foreign) == shape(missing)
            assert foreign.status_code == 404 and code_of(foreign) == "not_found", foreign.text
            says_nothing_of(foreign.text, system.beta)
        async with system.visitor(system.bob()) as bob:
            answer = await bob.query("getTest", testId=system.beta.test_id)
            assert answer.json()["test"]["status"] == "running", "nothing was changed"

    return act


for _name, _params in READS.items():
    for _post in (False, True):
        _how = "POST" if _post else "GET"
        ATTACKS.add(
            f"project: {_how} {_name} of a foreign run", AS_MISSING, _door(_name.split()[0], _params, post=_post)
        )
for _name, _params in ACTS.items():
    ATTACKS.add(f"project: {_name} of a foreign run", AS_MISSING, _door(_name.split()[0], _params, post=True))


@ATTACKS.attack("project: HEAD of a foreign run", AS_MISSING)
async def _(system: System) -> None:
    async with system.visitor(system.ann()) as ann:
        shapes = []
        for test_id in (system.beta.test_id, identity.new_test_id()):
            headers = {"authorization": f"Bearer {ann.token}"}
            shapes.append(shape(await ann.http.head("/rpc/getTest", params={"testId": test_id}, headers=headers)))
        assert shapes[0] == shapes[1] and shapes[0][0] >= 400


@ATTACKS.attack("project: a conditional request with the right ETag of a foreign run", "404, no 304 and no ETag")
async def _(system: System) -> None:
    for method in ("getTest", "getShot"):
        async with system.visitor(system.bob()) as bob, system.visitor(system.ann()) as ann:
            known = await bob.query(method, testId=system.beta.test_id)
            assert known.status_code == 200
            for tag in (known.headers.get("etag", '"x"'), "*", f"W/{known.headers.get('etag')}, *"):
                for _again in range(2):  # the second time from the response cache
                    answer = await ann.query(method, {"if-none-match": tag}, testId=system.beta.test_id)
                    assert answer.status_code == 404 and "etag" not in answer.headers, (method, tag)
                    says_nothing_of(answer.text, system.beta)


@ATTACKS.attack("project: a picture of a foreign run by its number", AS_MISSING)
async def _(system: System) -> None:
    async with system.visitor(system.bob()) as bob, system.visitor(system.ann()) as ann:
        numbers = (await bob.query("getFrames", testId=system.beta.test_id)).json()["frames"]
        number = numbers[0][0]
        seen = await bob.get(f"/tests/{system.beta.test_id}/frames/{number}")
        assert (seen.status_code, seen.content) == (200, system.beta.picture)
        assert "private" in seen.headers["cache-control"]
        for given in (f"{number}", f"{number}.jpg", "1", "0", "x", str(2**60)):
            for tag in ("", seen.headers["etag"], "*"):
                headers = {"if-none-match": tag} if tag else {}
                for way in ("GET", "HEAD"):
                    answers = [
                        await ann.http.request(
                            way,
                            f"/tests/{run}/frames/{given}",
                            headers=headers | {"authorization": f"Bearer {ann.token}"},
                        )
                        for run in (system.beta.test_id, identity.new_test_id())
                    ]
                    assert shape(answers[0]) == shape(answers[1])
                    assert answers[0].status_code == 404 and "etag" not in answers[0].headers
                    says_nothing_of(answers[0].text, system.beta)
        own = await ann.get(f"/tests/{system.alpha.test_id}/frames/{number}")
        assert own.status_code == 404, "the number of another run's picture, asked for as one's own"


@ATTACKS.attack("project: follow the pictures of a foreign run", "error not_found, and no word of a new one")
async def _(system: System) -> None:
    test_id = system.beta.test_id
    about = {"channel": "frames", "testId": test_id}
    messages = [{"type": kind, **about} for kind in ("subscribe", "unsubscribe", "subscribe")]
    async with system.visitor(system.ann()) as ann, system.streams() as streams:
        said = await _everything_said(system, ann, messages)
        await store_picture(streams, test_id)
        said += await _everything_said(system, ann, messages)
    told = [message for message in said if message.get("testId") == test_id]
    assert len(told) == 6 and {message["data"]["code"] for message in told} == {"not_found"}, told
    assert not any(message["type"] == "frame" for message in said)


@ATTACKS.attack("project: the response cache after the owner has filled it", "404")
async def _(system: System) -> None:
    async with system.visitor(system.bob()) as bob, system.visitor(system.ann()) as ann:
        for method in ("getTest", "getEvents", "connectToTest", "getShot", "getFrames"):
            for _again in range(3):
                assert (await bob.query(method, testId=system.beta.test_id)).status_code == 200
                answer = await ann.query(method, testId=system.beta.test_id)
                assert answer.status_code == 404, method
                says_nothing_of(answer.text, system.beta)


async def _listed(visitor: Visitor, **params: Any) -> dict[str, Any]:
    answer = await visitor.query("listTests", **params)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


@ATTACKS.attack("project: the list, its pages and every filter", "own runs only")
async def _(system: System) -> None:
    async with system.visitor(system.ann()) as ann:
        for params in (
            {},
            {"limit": 200},
            {"limit": 1},
            {"status": "running"},
            {"status": "queued"},
            {"query": "Title"},
            {"query": system.beta.title},
            {"query": system.beta.test_id},
            {"query": "beta"},
            {"query": "game.example"},
        ):
            listing = await _listed(ann, **params)
            assert system.beta.test_id not in orjson.dumps(listing).decode(), params
            says_nothing_of(orjson.dumps(listing), system.beta)


@ATTACKS.attack("project: the counts after another project's runs have changed", "unchanged")
async def _(system: System) -> None:
    async with system.visitor(system.ann(projects=["nobodys"])) as ann:
        before = (await _listed(ann))["counts"]
        await system.planted("beta")
        after = (await _listed(ann))["counts"]
    assert before == after and not any(after.values())


@ATTACKS.attack("project: the list's ETag after another project's runs have changed", "the same ETag, and 304")
async def _(system: System) -> None:
    async with system.visitor(system.ann(projects=["quiet"])) as ann:
        first = await ann.query("listTests")
        await system.planted("beta")
        second = await ann.query("listTests", {"if-none-match": first.headers["etag"]})
        assert second.status_code == 304, "an ETag that changes tells that somebody else's run has changed"


@ATTACKS.attack("project: a list's ETag of another project", "200 with the own list, no 304")
async def _(system: System) -> None:
    async with system.visitor(system.bob()) as bob, system.visitor(system.ann()) as ann:
        tag = (await bob.query("listTests")).headers["etag"]
        answer = await ann.query("listTests", {"if-none-match": tag})
        assert answer.status_code == 200
        says_nothing_of(answer.text, system.beta)


@ATTACKS.attack("project: a cursor of another project's list", "own runs only")
async def _(system: System) -> None:
    extra = await system.planted("beta")
    async with system.visitor(system.bob()) as bob, system.visitor(system.ann()) as ann:
        cursor = (await _listed(bob, limit=1))["nextCursor"]
        answer = await ann.query("listTests", cursor=cursor)
        assert answer.status_code in (200, 400)
        says_nothing_of(answer.text, system.beta, extra)
        assert system.beta.test_id not in answer.text


async def _everything_said(system: System, visitor: Visitor, messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What a socket says to these messages, up to the answer to a last question of the visitor's own run."""
    said: list[dict[str, Any]] = []
    async with visitor.socket() as connection:
        for message in [*messages, {"type": "subscribe", "testId": system.alpha.test_id}]:
            await say(connection, message)
        reader = Reader(connection)
        async with asyncio.timeout(DEADLINE_S):
            while not (said and said[-1].get("testId") == system.alpha.test_id and said[-1]["type"] == "progress"):
                said.append(await reader.next(DEADLINE_S))
    return said


@ATTACKS.attack("project: subscribe to a foreign run, with and without a position", "error not_found, no event")
async def _(system: System) -> None:
    test_id = system.beta.test_id
    messages: list[dict[str, Any]] = [
        {"type": "subscribe", "testId": test_id},
        {"type": "subscribe", "testId": test_id, "after": 0},
        {"type": "subscribe", "testId": test_id, "after": system.beta.last_seq},
        {"type": "subscribe", "testId": test_id, "after": 1, "epoch": "x"},
        {"type": "unsubscribe", "testId": test_id},
        {"type": "cancel", "testId": test_id},
    ]
    async with system.visitor(system.ann()) as ann:
        said = await _everything_said(system, ann, messages)
    about = [message for message in said if message.get("testId") == test_id]
    assert about and all(message["type"] == "error" for message in about), about
    assert {message["data"]["code"] for message in about} == {"not_found"}
    says_nothing_of(orjson.dumps(said), system.beta)


@ATTACKS.attack("project: a socket opened for a foreign run", "4404, as for a missing one")
async def _(system: System) -> None:
    async with system.visitor(system.ann()) as ann:
        foreign = await ann.refusal(f"?testId={system.beta.test_id}")
        missing = await ann.refusal(f"?testId={identity.new_test_id()}")
    assert foreign.code == missing.code == 4404
    times = re.compile(r'"timestamp":\d+')
    foreign_text, missing_text = (times.sub("", _UUID.sub("<id>", each.text)) for each in (foreign, missing))
    assert foreign_text == missing_text
    says_nothing_of(foreign.text, system.beta)


@ATTACKS.attack("project: a foreign run among own ones in a socket's address", "the own one only")
async def _(system: System) -> None:
    async with system.visitor(system.ann()) as ann:
        query = f"?testId={system.alpha.test_id}&testId={system.beta.test_id}"
        async with ann.socket(query) as connection:
            reader = Reader(connection)
            said: list[dict[str, Any]] = []
            while not (said and said[-1].get("message") == system.alpha.message and said[-1]["type"] == "progress"):
                said.append(await reader.next(DEADLINE_S))
            await say(connection, {"type": "subscribe", "testId": system.beta.test_id})
            said.append(await reader.control("error", DEADLINE_S))
    says_nothing_of(orjson.dumps(said), system.beta)


@ATTACKS.attack("project: the tests channel while a foreign run changes", "no frame and no count of it")
async def _(system: System) -> None:
    async with system.visitor(system.ann()) as ann, ann.socket() as connection:
        await say(connection, {"type": "subscribe", "channel": "tests"})
        reader = Reader(connection)
        said = [await reader.control("tests", DEADLINE_S)]
        counts = said[0]["counts"]
        foreign = await system.planted("beta")
        own = await system.planted("alpha")
        while not any(own.test_id == run["testId"] for run in said[-1].get("upserts", [])):
            said.append(await reader.control("tests", DEADLINE_S))
            assert said[-1]["counts"] == counts or own.test_id in orjson.dumps(said[-1]).decode(), said[-1]
    shown = orjson.dumps(said).decode()
    says_nothing_of(shown, system.beta, foreign)
    assert system.beta.test_id not in shown and foreign.test_id not in shown


@ATTACKS.attack("project: a run that is created while a stranger waits for its id", "not_found before and after")
async def _(system: System) -> None:
    test_id = identity.new_test_id()
    async with system.visitor(system.ann()) as ann, ann.socket() as connection:
        await say(connection, {"type": "subscribe", "testId": test_id})
        reader = Reader(connection)
        assert (await reader.control("error", DEADLINE_S))["data"]["code"] == "not_found"
        async with system.streams() as streams:
            data = {"title": "Later", "gameUrl": "http://game.example/", "project": "beta"}
            await publish(streams, test_id, "Queued", "status", status="queued", data=data)
        async with system.visitor(system.bob()) as bob:
            await until(lambda: _found(bob, test_id))
        await say(connection, {"type": "subscribe", "testId": test_id})
        assert (await reader.control("error", DEADLINE_S))["data"]["code"] == "not_found"


async def _found(visitor: Visitor, test_id: str) -> bool:
    return (await visitor.query("getTest", testId=test_id)).status_code == 200


@ATTACKS.attack("project: a later event of a foreign run claims it for one's own project", "the first event decides")
async def _(system: System) -> None:
    run = await system.planted("beta")
    async with system.streams() as streams:
        data = {"title": "Mine now", "project": "alpha"}
        stored = await publish(streams, run.test_id, "Claimed", "status", status="running", data=data)
    await system.until_known(run._replace(last_seq=stored.seq))
    async with system.visitor(system.ann()) as ann, system.visitor(system.bob()) as bob:
        assert (await ann.query("getTest", testId=run.test_id)).status_code == 404
        assert run.test_id not in (await ann.query("listTests", limit=200)).text
        assert (await bob.query("getTest", testId=run.test_id)).status_code == 200


@ATTACKS.attack("project: submit into a foreign project", "refused, and nothing is stored")
async def _(system: System) -> None:
    async with system.visitor(system.ann()) as ann, system.visitor(system.bob()) as bob:
        title = "Into a foreign project"
        for method, params in (("submitTest", {"gameUrl": "http://93.184.216.34/"}), ("createRun", {})):
            for project in ("beta", "*", "default", "BETA", "beta ", "alpha,beta", ["beta"], "../beta", ""):
                answer = await ann.rpc(method, params | {"title": title, "project": project})
                assert 400 <= answer.status_code < 500, (method, project, answer.text)
        assert title not in orjson.dumps(await _listed(bob, limit=200)).decode()


@ATTACKS.attack("project: how many requests to the broker a foreign and a missing run cost", "equally many")
async def _(system: System) -> None:
    missing = identity.new_test_id()
    seen: Counter[str] = Counter()

    async def count(*runs: str) -> None:
        """At the same time: what is known of a run counts for a second, and a slow machine then asks again for both."""
        async with system.visitor(system.ann()) as ann:
            for method in ("getTest", "getEvents", "connectToTest", "getShot", "getFrames"):
                for _again in range(3):
                    answers = await asyncio.gather(*(ann.query(method, testId=run) for run in runs))
                    assert [each.status_code for each in answers] == [404] * len(runs)

    def hear(message: Any) -> None:
        text = (message.subject + message.data.decode("latin-1")).replace("\\", "")
        for run in (missing, system.beta.test_id):
            if run in text:
                seen[run] += 1

    async with system.streams() as streams:
        subscription = await streams.nats.subscribe("$JS.API.>", hear)
        await streams.nats.flush()
        await count(system.beta.test_id, missing)
        await streams.nats.flush()
        await subscription.close()
    # After the first time an answer may come from memory; then it must for both.
    assert abs(seen[missing] - seen[system.beta.test_id]) <= 1, seen


@ATTACKS.attack("project: a page of a foreign run", "the page that every run has, without a word of it")
async def _(system: System) -> None:
    async with system.visitor(system.ann()) as ann, system.visitor() as nobody:
        for visitor in (ann, nobody):
            foreign = await visitor.get(f"/tests/{system.beta.test_id}")
            missing = await visitor.get(f"/tests/{identity.new_test_id()}")
            assert shape(foreign) == shape(missing)
            says_nothing_of(foreign.text, system.beta)


def test_words_of_a_run_are_found_in_an_answer() -> None:
    run = Planted("id", "Title", "Message", b"picture", 1)
    with pytest.raises(AssertionError, match="got out"):
        says_nothing_of(b'{"title": "Title"}', run)


test_attack = as_test(ATTACKS)
