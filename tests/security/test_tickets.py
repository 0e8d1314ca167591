"""Tickets that are stolen, replayed and forged, and sockets whose token is renewed by another one."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import orjson
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from tests.harness import Reader, say
from tests.security.attacks import Table, as_test
from tests.security.proofs import REFUSED, SESSION, changed, cookie_of, is_opened, refused_ticket, ticket_of
from tests.security.system import ALLOWED_PAGE, DEADLINE_S, OTHER_ISSUER, System, says_nothing_of

ATTACKS: Final[Table[System]] = Table()
_PAGE: Final = {"origin": ALLOWED_PAGE}


@ATTACKS.attack("ticket: used twice", "the second is refused, on the same edge and on another")
async def _(system: System) -> None:
    async with (
        system.visitor(system.ann()) as ann,
        system.visitor() as thief,
        system.visitor(edge=system.other) as elsewhere,
    ):
        ticket = await ticket_of(ann, _PAGE)
        assert await is_opened(thief, ticket, ALLOWED_PAGE, system.alpha.test_id)
        for visitor in (thief, elsewhere, thief):
            assert (await refused_ticket(visitor, ticket, _PAGE)).code in REFUSED
        ticket = await ticket_of(ann, _PAGE)
        assert await is_opened(elsewhere, ticket, ALLOWED_PAGE, system.alpha.test_id), "good on any edge"
        assert (await refused_ticket(thief, ticket, _PAGE)).code in REFUSED


@ATTACKS.attack("ticket: used 40 times at the same moment on two edges", "one opens")
async def _(system: System) -> None:
    async with (
        system.visitor(system.ann()) as ann,
        system.visitor() as thief,
        system.visitor(edge=system.other) as elsewhere,
    ):
        ticket = await ticket_of(ann, _PAGE)
        tries = [is_opened(each, ticket, ALLOWED_PAGE, system.alpha.test_id) for each in (thief, elsewhere) * 20]
        assert sum(await asyncio.gather(*tries)) == 1


@ATTACKS.attack("ticket: by a page of another origin than it was made for", "refused")
async def _(system: System) -> None:
    async with system.visitor(system.ann()) as ann, system.visitor() as thief:
        for origin in ("https://evil.example", "null", f"https://127.0.0.1:{system.edge.port}", ann.origin, None):
            ticket = await ticket_of(ann, _PAGE)
            headers = {"origin": origin} if origin else {}
            assert (await refused_ticket(thief, ticket, headers)).code in REFUSED, origin


@ATTACKS.attack("ticket: as a bearer token, as a cookie, in the address", "it opens nothing")
async def _(system: System) -> None:
    async with system.visitor(system.ann()) as ann, system.visitor() as thief:
        ticket = await ticket_of(ann)
        for headers in ({"authorization": f"Bearer {ticket}"}, {"cookie": f"{SESSION}={ticket}"}):
            assert (await thief.query("listTests", headers)).status_code == 401
            assert (await thief.refusal("", headers)).code in REFUSED
        for query in (
            f"?ticket={ticket}",
            f"?access_token={ticket}",
            f"?testId={system.alpha.test_id}&ticket={ticket}",
        ):
            assert (await thief.refusal(query)).code in (*REFUSED, 400, 4400)
        assert (await thief.rpc("signIn", {"token": ticket})).status_code in (400, 401)
    assert ticket not in system.log()


@ATTACKS.attack("ticket: forged, changed, or a token or cookie in its place", "refused")
async def _(system: System) -> None:
    async with system.visitor(system.ann()) as ann, system.visitor() as thief:
        ticket, cookie = await ticket_of(ann), (await cookie_of(thief, system.ann())).partition("=")[2]
        for forged in (*changed(ticket).values(), cookie, system.ann(), "x" * 4000, "..", "a.b.c"):
            if all(char.isalnum() or char in "-_." for char in forged) and forged:
                refused = await refused_ticket(thief, forged, {"origin": ann.origin})
                assert refused.code in (*REFUSED, 400), forged


@ATTACKS.attack("ticket: together with the token of somebody else", "never the rights of both")
async def _(system: System) -> None:
    async with system.visitor(system.bob()) as bob, system.visitor(system.ann()) as ann:
        ticket = await ticket_of(bob)
        offered = ["testcast.v1", f"ticket.{ticket}"]
        seen = ""
        try:
            async with ann.socket("", {"origin": ann.origin}, subprotocols=offered) as connection:
                for run in (system.alpha, system.beta):
                    await say(connection, {"type": "subscribe", "testId": run.test_id})
                reader = Reader(connection)
                seen = orjson.dumps([await reader.control("error", DEADLINE_S)]).decode()
        except (InvalidHandshake, ConnectionClosed):
            return
        assert "not_found" in seen, "one of the two runs is foreign to whoever it is"


@ATTACKS.attack("renewal: with the token of another subject", "refused: the socket keeps its own")
async def _(system: System) -> None:
    async with system.visitor(system.ann()) as ann, ann.socket() as connection:
        reader = Reader(connection)
        await say(connection, {"type": "authenticate", "token": system.bob()})
        await say(connection, {"type": "subscribe", "testId": system.beta.test_id})
        said: list[dict[str, Any]] = []
        try:
            while not (said and said[-1].get("testId") == system.beta.test_id):
                said.append(await reader.next(DEADLINE_S))
        except ConnectionClosed as error:
            said.append({"closed": str(error)})
        says_nothing_of(orjson.dumps(said), system.beta)


@ATTACKS.attack("renewal: with a wrong, an expired and a foreign issuer's token", "error or 4401; no right is gained")
async def _(system: System) -> None:
    for wrong in (system.ann(exp=1), system.other_keys.good(iss=OTHER_ISSUER, projects="*"), "a.b.c", "", 7, None):
        async with system.visitor(system.ann()) as ann:
            messages: list[dict[str, Any]] = [
                {"type": "authenticate", "token": wrong},
                {"type": "subscribe", "testId": system.beta.test_id},
                {"type": "nonsense"},
            ]
            refused = await ann.refusal("", say=messages)
            assert refused.code in (4400, 4401), refused
            assert '"authenticated"' not in refused.text
            says_nothing_of(refused.text, system.beta)


@ATTACKS.attack("renewal: by somebody who came without a token", "no socket stands open for it")
async def _(system: System) -> None:
    async with system.visitor() as nobody:
        messages = [{"type": "subscribe", "testId": system.alpha.test_id}, {"type": "subscribe", "channel": "tests"}]
        refused = await nobody.refusal("", say=messages)
        assert refused.code in REFUSED
        says_nothing_of(refused.text, system.alpha)


test_attack = as_test(ATTACKS)
