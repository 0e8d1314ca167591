"""Share links: guessed, revoked, expired, stretched to other runs and to other acts."""

from __future__ import annotations

import asyncio
import functools
from typing import Final

from broker import identity
from tests.harness import until
from tests.security.attacks import Table, as_test
from tests.security.proofs import REFUSED, opened, shared
from tests.security.system import System, Visitor, code_of, says_nothing_of

ATTACKS: Final[Table[System]] = Table()


@ATTACKS.attack("share: a link of one run used for every other door", "that run alone, to watch")
async def _(system: System) -> None:
    run = system.beta
    async with system.visitor(system.bob()) as bob, system.visitor() as guest:
        _, secret = await shared(bob, run.test_id)
        cookie = await opened(guest, run.test_id, secret)
        assert (await guest.query("getTest", cookie, testId=run.test_id)).status_code == 200
        assert (await guest.query("getEvents", cookie, testId=run.test_id)).status_code == 200
        [picture, *_] = (await guest.query("getFrames", cookie, testId=run.test_id)).json()["frames"]
        seen = await guest.get(f"/tests/{run.test_id}/frames/{picture[0]}", cookie)
        assert (seen.status_code, seen.content) == (200, run.picture), "a link shows the run's pictures"
        other = await system.planted("beta")
        for foreign in (other.test_id, system.alpha.test_id):
            answer = await guest.get(f"/tests/{foreign}/frames/{picture[0]}", cookie)
            assert answer.status_code in (401, 404), answer.text
        for method in ("getTest", "getEvents", "connectToTest", "getShot", "getFrames"):
            for foreign in (other.test_id, system.alpha.test_id):
                answer = await guest.query(method, cookie, testId=foreign)
                assert answer.status_code in (401, 404), (method, answer.text)
                says_nothing_of(answer.text, other, system.alpha)
        listing = await guest.query("listTests", cookie)
        assert listing.status_code in (401, 403), listing.text
        for method, params in (
            ("cancelTest", {"testId": run.test_id}),
            ("shareTest", {"testId": run.test_id, "forSeconds": 60}),
            ("listShares", {"testId": run.test_id}),
            ("unshareTest", {"testId": run.test_id, "shareId": "x" * 16}),
            ("submitTest", {"gameUrl": "http://93.184.216.34/"}),
            ("createRun", {"title": "x"}),
            ("publishFrame", {"testId": run.test_id, "jpeg": "/9j/AA=="}),
            (
                "publishEvents",
                {
                    "testId": run.test_id,
                    "key": "attack-0001",
                    "events": [{"type": "progress", "message": "x", "timestamp": 1}],
                },
            ),
        ):
            answer = await guest.rpc(method, params, cookie)
            assert answer.status_code in (401, 403, 404), (method, answer.text)
        said = await guest.refusal("", cookie, say=[{"type": "subscribe", "testId": other.test_id}, {"type": "x"}])
        says_nothing_of(said.text, other)


@ATTACKS.attack("share: guessed secrets", "refused alike, whether the run exists or not")
async def _(system: System) -> None:
    async with system.visitor(system.bob()) as bob, system.visitor() as guest:
        _, secret = await shared(bob, system.beta.test_id)
        wrong = [secret[:-1], secret + "A", secret.swapcase(), "", "*", ">", secret[:-1] + "*", "a" * 5000]
        for guess in (*wrong, None, 7, [secret], {"$ne": ""}):
            assert not await opened(guest, system.beta.test_id, guess), guess
        answers = []
        for run in (system.beta.test_id, identity.new_test_id()):
            async with system.visitor() as stranger:
                answers.append(await stranger.rpc("openShare", {"testId": run, "secret": "A" * len(secret)}))
        told = [(each.status_code, code_of(each)) for each in answers]
        assert told[0] == told[1]


@ATTACKS.attack("share: the secret of one run at another", "refused")
async def _(system: System) -> None:
    async with system.visitor(system.bob()) as bob, system.visitor() as guest:
        _, secret = await shared(bob, system.beta.test_id)
        for run in (system.alpha.test_id, identity.new_test_id()):
            assert not await opened(guest, run, secret)
        other = await system.planted("beta")
        assert not await opened(guest, other.test_id, secret)


@ATTACKS.attack("share: the cookie of one run under the name of another", "it opens nothing")
async def _(system: System) -> None:
    async with system.visitor(system.bob()) as bob, system.visitor() as guest:
        _, secret = await shared(bob, system.beta.test_id)
        value = (await opened(guest, system.beta.test_id, secret))["cookie"].partition("=")[2]
        other = await system.planted("beta")
        for name in (
            f"__Host-testcast-share-{other.test_id}",
            "__Host-testcast-share-*",
            "__Host-testcast-share-",
            "__Host-testcast",
            f"testcast-share-{system.beta.test_id}",
        ):
            headers = {"cookie": f"{name}={value}"}
            for run in (other, system.alpha):
                answer = await guest.query("getTest", headers, testId=run.test_id)
                assert answer.status_code in (401, 404), (name, answer.text)
            if not name.endswith(system.beta.test_id):
                assert (await guest.query("getTest", headers, testId=system.beta.test_id)).status_code in (401, 404)
        assert (
            await guest.query("getTest", {"authorization": f"Bearer {value}"}, testId=other.test_id)
        ).status_code == 401
        assert (
            await guest.query("getTest", {"authorization": f"Bearer {secret}"}, testId=other.test_id)
        ).status_code == 401


@ATTACKS.attack("share: after it was revoked", "neither the link nor its cookie opens anything, on any edge")
async def _(system: System) -> None:
    run = await system.planted("beta")
    async with (
        system.visitor(system.bob()) as bob,
        system.visitor() as guest,
        system.visitor(edge=system.other) as elsewhere,
    ):
        share_id, secret = await shared(bob, run.test_id)
        cookie = await opened(guest, run.test_id, secret)
        assert (await elsewhere.query("getTest", cookie, testId=run.test_id)).status_code == 200
        revoked = await bob.rpc("unshareTest", {"testId": run.test_id, "shareId": share_id})
        assert revoked.status_code in (200, 204), revoked.text
        for visitor in (guest, elsewhere):
            await until(functools.partial(_is_closed, visitor, cookie, run.test_id), within_s=20)
        assert not await opened(guest, run.test_id, secret)
        assert not await opened(elsewhere, run.test_id, secret)


async def _is_closed(visitor: Visitor, cookie: dict[str, str], run: str) -> bool:
    return (await visitor.query("getTest", cookie, testId=run)).status_code in (401, 404)


@ATTACKS.attack("share: revoked while a guest's socket is open", "the guest hears no further event; closed")
async def _(system: System) -> None:
    run = await system.planted("beta")
    async with system.visitor(system.bob()) as bob, system.visitor() as guest:
        share_id, secret = await shared(bob, run.test_id)
        cookie = await opened(guest, run.test_id, secret)
        watching = asyncio.create_task(guest.refusal(f"?testId={run.test_id}", cookie, within_s=60))
        await until(lambda: watching.done() or "sync" in "".join(guest.heard))
        revoked = await bob.rpc("unshareTest", {"testId": run.test_id, "shareId": share_id})
        assert revoked.status_code in (200, 204)
        refused = await watching
        assert refused.code in (4401, 4403, 4404), refused


@ATTACKS.attack("share: for times that are none", "400")
async def _(system: System) -> None:
    async with system.visitor(system.bob()) as bob:
        for seconds in (b"0", b"-1", b"1e12", b"true", b'"600"', b"[600]", b"1e999", b"NaN", b"null"):
            content = b'{"testId":"%s","forSeconds":%s}' % (system.beta.test_id.encode(), seconds)
            answer = await bob.rpc("shareTest", content=content)
            assert answer.status_code == 400, (seconds, answer.text)


@ATTACKS.attack("share: the secret in the address", "it opens nothing, and no log has it")
async def _(system: System) -> None:
    async with system.visitor(system.bob()) as bob, system.visitor() as guest:
        _, secret = await shared(bob, system.beta.test_id)
        for query in (f"share={secret}", f"secret={secret}"):
            answer = await guest.get(f"/rpc/getTest?testId={system.beta.test_id}&{query}")
            assert answer.status_code in (400, 401, 404)
            assert (await guest.refusal(f"?testId={system.beta.test_id}&{query}")).code in (*REFUSED, 4404, 400)
        assert (await guest.query("openShare", testId=system.beta.test_id, secret=secret)).status_code in (400, 405)
        listed = await bob.query("listShares", testId=system.beta.test_id)
        listed = listed if listed.status_code == 200 else await bob.rpc("listShares", {"testId": system.beta.test_id})
        assert listed.status_code == 200 and secret not in listed.text
    assert secret not in system.log()


@ATTACKS.attack("share: what the broker stores of it", "its hash alone")
async def _(system: System) -> None:
    async with system.visitor(system.bob()) as bob, system.streams() as streams:
        seen: list[bytes] = []
        subscription = await streams.nats.subscribe(">", lambda message: seen.append(bytes(message.data)))
        await streams.nats.flush()
        _, secret = await shared(bob, system.beta.test_id)
        await until(lambda: bool(seen))
        await subscription.close()
    assert not any(secret.encode() in data for data in seen)


test_attack = as_test(ATTACKS)
