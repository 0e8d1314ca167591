"""What ends must have ended everywhere: revoked tokens, sessions that were signed out, and what was made from them."""

from __future__ import annotations

import functools
import os
from typing import Final

from tests.harness import until
from tests.security.attacks import Table, as_test
from tests.security.proofs import REFUSED, cookie_of, refused_ticket, shared, ticket_of
from tests.security.system import ALLOWED_PAGE, System, Visitor, code_of, says_nothing_of

ATTACKS: Final[Table[System]] = Table()
_PAGE: Final = {"origin": ALLOWED_PAGE}


async def _is_refused(visitor: Visitor, headers: dict[str, str] | None = None) -> bool:
    return (await visitor.query("listTests", headers)).status_code == 401


@ATTACKS.attack("revoked: a token, its session and its ticket afterwards", "401 on the socket and the RPC")
async def _(system: System) -> None:
    name = os.urandom(8).hex()
    async with (
        system.visitor(system.ann(jti=name)) as thief,
        system.visitor() as browser,
        system.visitor(system.admin()) as admin,
    ):
        assert thief.token is not None
        cookie = {"cookie": await cookie_of(browser, thief.token)}
        ticket = await ticket_of(thief, _PAGE)
        revoked = await admin.rpc("revokeToken", {"jti": name})
        assert revoked.status_code == 200, revoked.text
        await until(functools.partial(_is_refused, thief), within_s=20)
        await until(functools.partial(_is_refused, browser, cookie), within_s=20)
        assert (await thief.refusal()).code in REFUSED
        assert (await browser.refusal("", cookie)).code in REFUSED
        assert (await refused_ticket(browser, ticket, _PAGE)).code in REFUSED
        assert (await browser.rpc("signIn", {"token": thief.token})).status_code == 401
        assert (await thief.rpc("getTicket")).status_code == 401


@ATTACKS.attack("revoked: the session cookie after signing out", "401 on every edge")
async def _(system: System) -> None:
    async with system.visitor() as browser, system.visitor(edge=system.other) as elsewhere:
        cookie = {"cookie": await cookie_of(browser, system.ann())}
        assert (await elsewhere.query("listTests", cookie)).status_code == 200, "sessions count on every edge"
        assert (await browser.rpc("signOut", headers=cookie)).status_code in (200, 204)
        for visitor in (browser, elsewhere):
            await until(functools.partial(_is_refused, visitor, cookie), within_s=20)


@ATTACKS.attack("revoked: somebody else's token, by the admin of one project and by a user", "403, and it still works")
async def _(system: System) -> None:
    name = os.urandom(8).hex()
    async with system.visitor(system.bob(jti=name)) as bob:
        for can in ("*", ["admin"], ["list", "watch"]):
            async with system.visitor(system.ann(can=can)) as ann:
                answer = await ann.rpc("revokeToken", {"jti": name})
                assert (answer.status_code, code_of(answer)) == (403, "forbidden"), (can, answer.text)
        assert (await bob.query("listTests")).status_code == 200


@ATTACKS.attack(
    "revoked: names of tokens that are patterns, subjects and keys of the bucket", "that name alone, or 400"
)
async def _(system: System) -> None:
    async with system.visitor(system.admin()) as admin, system.visitor(system.bob()) as bob:
        for name in ("*", ">", "a.b", "../x", "revoked.x", "", " ", "\r\n", "x" * 5000, "share.x.y", "\0"):
            answer = await admin.rpc("revokeToken", {"jti": name})
            assert answer.status_code in (200, 400), (name, answer.text)
        assert (await bob.query("listTests")).status_code == 200
        assert (await admin.query("listTests")).status_code == 200


@ATTACKS.attack("revoked: share links of a foreign run, by their ids", "as for a run that does not exist")
async def _(system: System) -> None:
    async with system.visitor(system.bob()) as bob, system.visitor(system.ann()) as ann:
        share_id, secret = await shared(bob, system.beta.test_id)
        for method, params in (("unshareTest", {"shareId": share_id}), ("listShares", {})):
            answer = await ann.rpc(method, {"testId": system.beta.test_id} | params)
            assert (answer.status_code, code_of(answer)) == (404, "not_found")
            assert share_id not in answer.text and secret not in answer.text
        own = await ann.rpc("unshareTest", {"testId": system.alpha.test_id, "shareId": share_id})
        assert own.status_code in (400, 404)
        listed = await bob.rpc("listShares", {"testId": system.beta.test_id})
        assert share_id in listed.text


# -- where anybody may read one project -------------------------------------------------------------------------------


@ATTACKS.attack(
    "anonymous: reading and changing beyond the project that is open to all", "401 or 404; no word of others"
)
async def _(system: System) -> None:
    async with system.visitor(edge=system.other) as nobody:
        listing = await nobody.query("listTests", limit=200)
        assert listing.status_code == 200
        says_nothing_of(listing.text, system.alpha, system.beta)
        for method in ("getTest", "getEvents", "connectToTest", "getShot", "getFrames"):
            answer = await nobody.query(method, testId=system.beta.test_id)
            assert answer.status_code in (401, 404), (method, answer.text)
        for method, params in (
            ("submitTest", {"gameUrl": "http://93.184.216.34/"}),
            ("submitTest", {"gameUrl": "http://93.184.216.34/", "project": "public"}),
            ("createRun", {"title": "x", "project": "public"}),
            ("cancelTest", {"testId": system.beta.test_id}),
            ("shareTest", {"testId": system.beta.test_id, "forSeconds": 600}),
            ("getTicket", {}),
            ("revokeToken", {"jti": "x"}),
        ):
            answer = await nobody.rpc(method, params)
            assert answer.status_code in (401, 403, 404), (method, answer.text)
        refused = await nobody.refusal("", say=[{"type": "subscribe", "testId": system.beta.test_id}, {"type": "x"}])
        says_nothing_of(refused.text, system.beta)


@ATTACKS.attack("anonymous: a wrong token, cookie or ticket where anybody may read", "401, never taken for anonymous")
async def _(system: System) -> None:
    async with system.visitor(edge=system.other) as nobody:
        for headers in (
            {"authorization": f"Bearer {system.keys.good()}"},
            {"authorization": "Bearer x"},
            {"authorization": "Basic eDp5"},
            {"cookie": "__Host-testcast=x"},
            {"cookie": "__Host-testcast=a.b.c"},
        ):
            assert (await nobody.query("listTests", headers)).status_code == 401, headers
            assert (await nobody.refusal("", headers)).code in REFUSED, headers
        assert (await refused_ticket(nobody, "a.b.c")).code in REFUSED


test_attack = as_test(ATTACKS)
