"""Runs over plain HTTP: foreign runs by every door, positions that are none, smuggling, proofs that end meanwhile."""

from __future__ import annotations

import asyncio
import os
import re
import socket
from typing import Final

import httpx

from broker import identity
from tests.harness import publish
from tests.security.attacks import Table, as_test
from tests.security.proofs import cookie_of, opened, shared
from tests.security.system import (
    ALLOWED_PAGE,
    DEADLINE_S,
    System,
    Visitor,
    code_of,
    says_nothing_of,
    status_of,
    statuses_of,
)
from tests.security.test_projects import AS_MISSING, shape

ATTACKS: Final[Table[System]] = Table()
_SSE: Final = {"accept": "text/event-stream"}
_TIME: Final = re.compile(r'"timestamp":\d+')


def _doors(run: str, epoch: str, seq: int) -> list[tuple[str, dict[str, str]]]:
    """Every way to read a run's events, also those that an owner's answers were made and kept for."""
    at = f"epoch={epoch}&after={seq}"
    return [
        (f"/tests/{run}/events", {}),
        (f"/tests/{run}/events?limit=1", {}),
        (f"/tests/{run}/events?{at}&limit=1", {}),
        (f"/tests/{run}/events?{at}&limit=1&wait=5", {}),
        (f"/tests/{run}/events?{at}", _SSE),
        (f"/tests/{run}/events", _SSE | {"last-event-id": f"{epoch}.{seq}"}),
        (f"/events?watch={run}:{epoch}.{seq}", _SSE),
        (f"/ds/tests/{run}?offset=-1", {}),
        (f"/ds/tests/{run}?offset={epoch}_{seq:016d}", {}),
        (f"/ds/tests/{run}?offset=now", {}),
        (f"/ds/tests/{run}?offset={epoch}_{seq:016d}&live=long-poll", {}),
        (f"/ds/tests/{run}?offset=-1&live=sse", {}),
        (f"/tests/{run}/export?format=json", {}),
    ]


async def _read(visitor: Visitor, way: str, path: str, headers: dict[str, str]) -> httpx.Response:
    """The answer, of a stream the beginning alone."""
    request = visitor.http.build_request(way, path, headers=visitor._headers(headers))
    answer = await visitor.http.send(request, stream=True)
    endless = answer.status_code == 200 and way == "GET" and answer.headers["content-type"] == "text/event-stream"
    await (answer.aclose() if endless else answer.aread())
    return answer


@ATTACKS.attack("streams: a foreign run by every door, by GET and HEAD, after its owner has read it", AS_MISSING)
async def _(system: System) -> None:
    async with system.visitor(system.bob()) as bob, system.visitor(system.ann()) as ann:
        own = (await bob.get(f"/tests/{system.beta.test_id}/events?limit=1")).json()
        epoch, seq = own["epoch"], own["after"]
        there = _doors(system.beta.test_id, epoch, seq)
        missing = _doors(identity.new_test_id(), epoch, seq)
        for (path, headers), (nowhere, _) in zip(there, missing, strict=True):
            known = await _read(bob, "GET", path, headers)
            assert known.status_code == 200, (path, known.status_code)
            tag = {"if-none-match": known.headers.get("etag", "*")}
            for way, more in (("GET", {}), ("GET", tag), *((("HEAD", tag),) if _is_of_one_run(path) else ())):
                foreign = await _read(ann, way, path, headers | more)
                none = await _read(ann, way, nowhere, headers | more)
                assert _shape(foreign) == _shape(none), path
                assert foreign.status_code == 404 and "etag" not in foreign.headers, (path, foreign.status_code)
                assert foreign.headers["cache-control"] == "no-store", "a cache would have it for its owner as well"
                says_nothing_of(foreign.text, system.beta)


def _is_of_one_run(path: str) -> bool:
    """A stream of several runs has no HEAD."""
    return not path.startswith("/events")


def _shape(answer: httpx.Response) -> tuple[int, str, list[tuple[str, str]]]:
    status, text, headers = shape(answer)
    return status, _TIME.sub("", text), headers


@ATTACKS.attack("streams: what a browser keeps of a run, asked for by its next user", "Vary names the proof")
async def _(system: System) -> None:
    async with system.visitor(system.bob()) as bob, system.visitor() as nobody:
        run = system.beta.test_id
        own = (await bob.get(f"/tests/{run}/events?limit=1")).json()
        number = (await bob.query("getFrames", testId=run)).json()["frames"][0][0]
        title = system.beta.title.lower()
        at = f"{own['epoch']}_{own['after']:016d}"
        for path in (
            f"/tests/{run}/events?epoch={own['epoch']}&after={own['after']}&limit=1",
            f"/ds/tests/{run}?offset={at}",
            f"/tests/{run}/frames/{number}",
            f"/badge/{title}.svg",
        ):
            answer = await bob.get(path)
            assert answer.status_code == 200 and "private, max-age" in answer.headers["cache-control"], path
            vary = {each.strip().lower() for each in answer.headers["vary"].split(",")}
            assert {"authorization", "cookie"} <= vary, path
            assert (await nobody.get(path)).status_code == 401


@ATTACKS.attack(
    "streams: a badge of another project's game, by its title and address", "no runs, as for an unknown game"
)
async def _(system: System) -> None:
    run = await system.planted("beta")
    async with system.streams() as streams:
        await publish(streams, run.test_id, "Done", "complete", data={"score": 99})
    async with system.visitor(system.ann()) as ann:
        for query in ("", "?project=beta", "?label=%3Cscript%3E&project=beta"):
            answer = await ann.get(f"/badge/{run.title}.svg{query}")
            unknown = await ann.get(f"/badge/{'Title-none'}.svg{query}")
            assert (answer.status_code, answer.text) == (unknown.status_code, unknown.text) and "no runs" in answer.text
            assert "<script" not in answer.text
            says_nothing_of(answer.text, run)


@ATTACKS.attack("streams: positions that are none, far ahead, negative, huge or with lines in them", "400, or a reset")
async def _(system: System) -> None:
    async with system.visitor(system.ann()) as ann:
        run = system.alpha.test_id
        epoch = (await ann.get(f"/tests/{run}/events?limit=1")).json()["epoch"]
        for query, expected in (
            ("after=-1", 400), ("after=1e400", 400), ("after=NaN", 400), ("after=9007199254740992", 400),
            (f"after={'9' * 5000}", 400), ("after=%0d%0a", 400), ("limit=0", 400), ("limit=1001", 400),
            ("wait=31", 400), ("wait=nan", 400), ("wait=-1", 400), ("wait=inf", 400),
            (f"after=1&epoch={'x' * 65}", 400),
            ("nonsense=1", 400),
            (f"epoch={epoch}&after=9007199254740991", 200), ("after=9007199254740991", 200),
            ("after=1&epoch=%0d%0aX-A:b", 200), ("after=1&epoch=", 200),
        ):  # fmt: skip
            answer = await ann.get(f"/tests/{run}/events?{query}")
            assert answer.status_code == expected, (query, answer.text)
            assert "x-a" not in answer.headers
            if expected == 200:
                assert answer.json()["outcome"] == "reset", query
                assert answer.headers["cache-control"] == "no-store"
        for given in (
            f"{epoch}.-1",
            f"{epoch}.",
            ".1",
            "1",
            "x.1.y",
            f"{epoch}.{2**53}",
            "x" * 3000 + ".1",
        ):
            answer = await ann.get(f"/tests/{run}/events", {"last-event-id": given} | _SSE)
            assert answer.status_code == 400, (given, answer.text)
        for offset in ("-2", "x", f"{epoch}_1", f"{epoch}_{'9' * 17}", "now&offset=now", "../x", "%00"):
            assert (await ann.get(f"/ds/tests/{run}?offset={offset}")).status_code == 400, offset
        for offset, status in ((f"{epoch}_{'9' * 16}", 410), (f"other_{1:016d}", 410)):
            answer = await ann.get(f"/ds/tests/{run}?offset={offset}")
            assert (answer.status_code, code_of(answer)) == (status, "offset_gone")


@ATTACKS.attack(
    "smuggle: requests before, behind and inside one for a stream", "one answer to each, and nothing behind"
)
async def _(system: System) -> None:
    async with system.visitor(system.ann()) as ann:
        stream = ann.head(f"/tests/{system.alpha.test_id}/events", "Accept: text/event-stream")
        other = ann.head("/rpc/listTests?limit=1")
        assert statuses_of(await ann.raw(stream + other)) == [400]
        body = stream.replace(b"\r\n\r\n", b"\r\nContent-Length: 5\r\n\r\nhello")
        assert statuses_of(await ann.raw(body)) == [400]
        chunked = stream.replace(b"\r\n\r\n", b"\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n") + other
        assert statuses_of(await ann.raw(chunked)) == [400]
        async with ann.stream() as (reader, writer):
            writer.write(other + stream)
            async with asyncio.timeout(DEADLINE_S):
                received = await reader.readuntil(b"event: sync")
                writer.write(other * 10)
                received += await reader.readuntil(system.alpha.message.encode())
            assert received.count(b"HTTP/1.1 200") == 2 and b'"tests"' in received.partition(b"event: sync")[0]
            writer.write(b"x" * 100_000)
            async with asyncio.timeout(DEADLINE_S):
                try:
                    while rest := await reader.read(65536):
                        received += rest
                except ConnectionError:
                    pass
        assert received.count(b"HTTP/1.1 ") == 2, "what a client says on a stream is no request"


@ATTACKS.attack("streams: a client that closes its half of the connection", "closed by the edge as well")
async def _(system: System) -> None:
    async with system.visitor(system.ann()) as ann, ann.stream() as (reader, writer):
        writer.write(ann.head(f"/events?watch={system.alpha.test_id}", "Accept: text/event-stream"))
        async with asyncio.timeout(DEADLINE_S):
            await reader.readuntil(b"event: sync")
            writer.get_extra_info("socket").shutdown(socket.SHUT_WR)
            while await reader.read(65536):
                pass


async def _begun(visitor: Visitor, request: bytes, began: asyncio.Event) -> bytes:
    """What a stream says until the edge closes it."""
    async with visitor.stream() as (reader, writer):
        writer.write(request)
        received = b""
        async with asyncio.timeout(2 * DEADLINE_S):
            while piece := await reader.read(65536):
                received += piece
                if b"\r\n\r\n" in received and b"data:" in received:
                    began.set()
        return received


@ATTACKS.attack("revoked: a token whose streams and waits are under way", "all of them end")
async def _(system: System) -> None:
    name, run = os.urandom(8).hex(), await system.planted("alpha")
    began = [asyncio.Event() for _ in range(3)]
    async with system.visitor(system.ann(jti=name)) as thief, system.visitor(system.admin()) as admin:
        own = (await thief.get(f"/tests/{run.test_id}/events")).json()
        epoch, seq = own["epoch"], own["after"]
        at, sse = f"epoch={epoch}&after={seq}", "Accept: text/event-stream"
        offset = f"{epoch}_{seq:016d}"
        waits = [
            asyncio.create_task(thief.raw(thief.head(path, "Connection: close")))
            for path in (
                f"/tests/{run.test_id}/events?{at}&wait=30",
                f"/ds/tests/{run.test_id}?offset={offset}&live=long-poll",
            )
        ]
        streams = [
            asyncio.create_task(_begun(thief, thief.head(path, sse, "Connection: close"), began))
            for path, began in (
                (f"/tests/{run.test_id}/events?{at}", began[0]),
                (f"/events?channel=tests&watch={run.test_id}", began[1]),
                (f"/ds/tests/{run.test_id}?offset={offset}&live=sse", began[2]),
            )
        ]
        for each in began:
            async with asyncio.timeout(DEADLINE_S):
                await each.wait()
        assert (await admin.rpc("revokeToken", {"jti": name})).status_code == 200
        answers = await asyncio.gather(*streams, *waits)
    for answer in answers[:2]:
        assert b"token_revoked" in answer
    assert [status_of(answer) for answer in answers] == [200, 200, 200, 401, 401]


@ATTACKS.attack(
    "streams: pages of other sites, with the reader's cookie sent by the browser", "403 or 401, and no word"
)
async def _(system: System) -> None:
    async with system.visitor() as browser:
        cookie = {"cookie": await cookie_of(browser, system.ann())}
        run = system.alpha.test_id
        for path, headers in _doors(run, "x", 1):
            for page in ("https://evil.example", ALLOWED_PAGE):
                answer = await _read(browser, "GET", path, headers | cookie | {"origin": page})
                assert answer.status_code in (401, 403), (path, page, answer.status_code)
            answer = await _read(browser, "GET", path, headers | cookie | {"sec-fetch-site": "cross-site"})
            assert answer.status_code in (401, 403), (path, answer.status_code)


@ATTACKS.attack(
    "streams: hundreds of different positions at once", "each is answered or told to wait, and nothing stays"
)
async def _(system: System) -> None:
    async with system.visitor(system.ann()) as ann:
        run = system.alpha.test_id
        epoch = (await ann.get(f"/tests/{run}/events?limit=1")).json()["epoch"]

        async def ask(number: int) -> int:
            path = f"/tests/{run}/events?epoch={epoch}&after={number % 4}&limit={1 + number % 1000}"
            return (await ann.get(path)).status_code

        found: list[int] = []
        for start in range(0, 200, 100):
            found += await asyncio.gather(*map(ask, range(start, start + 100)))
        assert set(found) <= {200, 429}
        answer = await ann.get(f"/tests/{run}/events")
        assert answer.status_code in (200, 429)


@ATTACKS.attack("share: streams and waits through a link that is revoked meanwhile", "all of them end")
async def _(system: System) -> None:
    run = await system.planted("beta")
    began = [asyncio.Event() for _ in range(3)]
    async with system.visitor(system.bob()) as bob, system.visitor() as guest:
        share_id, secret = await shared(bob, run.test_id)
        cookie = (await opened(guest, run.test_id, secret))["cookie"]
        own = (await guest.get(f"/tests/{run.test_id}/events", {"cookie": cookie})).json()
        offset = f"{own['epoch']}_{own['after']:016d}"
        lines = [f"Cookie: {cookie}", "Connection: close"]
        wait = f"/tests/{run.test_id}/events?epoch={own['epoch']}&after={own['after']}&wait=30"
        waiting = asyncio.create_task(guest.raw(guest.head(wait, *lines)))
        streams = [
            asyncio.create_task(_begun(guest, guest.head(path, "Accept: text/event-stream", *lines), each))
            for each, path in zip(
                began,
                (
                    f"/tests/{run.test_id}/events",
                    f"/events?watch={run.test_id}",
                    f"/ds/tests/{run.test_id}?offset={offset}&live=sse",
                ),
                strict=True,
            )
        ]
        for each in began:
            async with asyncio.timeout(DEADLINE_S):
                await each.wait()
        assert (await bob.rpc("unshareTest", {"testId": run.test_id, "shareId": share_id})).status_code == 200
        answers = await asyncio.gather(*streams, waiting)
    assert b"not_found" in answers[0] and b"not_found" in answers[1]
    assert [status_of(each) for each in answers] == [200, 200, 200, 401]


test_attack = as_test(ATTACKS)
