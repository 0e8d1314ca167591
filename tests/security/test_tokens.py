"""Forged, expired and confused tokens at every door, and tokens in places where none belongs."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Final

import httpx

from tests.security.attacks import Act, Table, as_test
from tests.security.forged import FORGED, HEADER, Forge, by_attacker
from tests.security.mint import claims, jwk, token
from tests.security.system import OTHER_ISSUER, System, Visitor, code_of, says_nothing_of, status_of

ATTACKS: Final[Table[System]] = Table()
UNAUTHENTICATED: Final = "401 unauthenticated, and nothing of the token in the log"
_SHOWN_CHARS: Final = 24
"""A stretch of a signature by which a log would give a token away."""


async def is_refused(visitor: Visitor, headers: dict[str, str] | None = None) -> httpx.Response:
    """Asserts that these headers (or the visitor's token) open neither the RPC nor a socket."""
    answer = await visitor.query("listTests", headers)
    assert (answer.status_code, code_of(answer)) == (401, "unauthenticated"), answer.text[:500]
    assert answer.headers.get("www-authenticate", "").lower().startswith("bearer"), answer.headers
    assert "etag" not in answer.headers
    refused = await visitor.refusal("", headers)
    assert refused.code in (401, 4401), refused
    return answer


def _forged(forge: Forge) -> Act:
    async def act(system: System) -> None:
        forged = forge(system.keys)
        async with system.visitor(forged) as visitor:
            answer = await is_refused(visitor)
            for project in (system.alpha, system.beta):
                says_nothing_of(answer.text, project)
        signature = forged.rpartition(".")[2]
        if len(signature) > _SHOWN_CHARS:
            assert signature[:_SHOWN_CHARS] not in system.log()
            assert signature[:_SHOWN_CHARS] not in answer.text

    return act


for _sentence, _forge in FORGED.items():
    ATTACKS.add(f"token: {_sentence}", UNAUTHENTICATED, _forged(_forge))


@ATTACKS.attack("token: no token at all", "401 at every door but /healthz, /readyz and the page's own files")
async def _(system: System) -> None:
    async with system.visitor() as nobody:
        await is_refused(nobody)
        assert (await nobody.get(f"/tests/{system.alpha.test_id}/frames/1")).status_code == 401
        for method in ("getTest", "getEvents", "connectToTest", "getShot", "getFrames"):
            answer = await nobody.query(method, testId=system.alpha.test_id)
            assert answer.status_code == 401, (method, answer.text)
        for method, params in (
            ("cancelTest", {"testId": system.alpha.test_id}),
            ("submitTest", {"gameUrl": "http://game.example/"}),
            ("publishFrame", {"testId": system.alpha.test_id, "jpeg": "/9j/AA=="}),
            ("getTicket", {}),
            ("shareTest", {"testId": system.alpha.test_id, "forSeconds": 60}),
        ):
            answer = await nobody.rpc(method, params)
            assert answer.status_code == 401, (method, answer.text)
        assert (await nobody.refusal(f"?testId={system.alpha.test_id}")).code in (401, 4401)


@ATTACKS.attack("token: jku and x5u lead to the attacker's server", "401, and the edge fetches nothing")
async def _(system: System) -> None:
    asked: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.read(1000))
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/keys.json"
    async with server:
        for header in ({"jku": url}, {"x5u": url}, {"jku": url, "kid": "new"}, {"jku": url, "iss": url}):
            async with system.visitor(by_attacker(**header)) as visitor:
                await is_refused(visitor)
    assert asked == []


@ATTACKS.attack("token: signed well with an embedded key of the attacker beside it", "the embedded key is ignored")
async def _(system: System) -> None:
    header = HEADER | {"jwk": jwk(system.other_keys.ed, "ed"), "jku": "https://evil.example/"}
    async with system.visitor(token(header, claims(), system.keys.ed)) as visitor:
        answer = await visitor.query("listTests")
    assert answer.status_code in (200, 401)
    async with system.visitor(token(header, claims(projects="*"), system.other_keys.ed)) as visitor:
        await is_refused(visitor)


@ATTACKS.attack("token: of another issuer whose key has the same kid", "401 at both edges")
async def _(system: System) -> None:
    ours, theirs = system.keys, system.other_keys
    confused = (
        (theirs.good(projects="*"), system.edge),
        (theirs.good(projects="*", iss=OTHER_ISSUER), system.edge),
        (ours.good(projects="*"), system.other),
        (ours.good(projects="*", iss=OTHER_ISSUER), system.other),
    )
    for forged, edge in confused:
        async with system.visitor(forged, edge=edge) as visitor:
            await is_refused(visitor)


@ATTACKS.attack("token: HS256 with public keys, at an edge that takes HS256", "401; its own secret alone counts")
async def _(system: System) -> None:
    keys = system.other_keys
    good = claims(iss=OTHER_ISSUER)
    for kid in ("rs", "ed", "es", None):
        header = {"alg": "HS256", "typ": "JWT"} | ({"kid": kid} if kid else {})
        for secret in (keys.pem(), keys.der(), keys.jwks(), b"", system.keys.secret):
            async with system.visitor(token(header, good, secret), edge=system.other) as visitor:
                assert (await visitor.query("listTests")).status_code == 401, (kid, secret[:20])
    async with system.visitor(token({"alg": "HS256", "typ": "JWT"}, good, keys.secret), edge=system.other) as visitor:
        assert (await visitor.query("listTests")).status_code == 200, "its own secret counts"


@ATTACKS.attack("token: the secret's HMAC under the name of another algorithm", "401")
async def _(system: System) -> None:
    keys = system.other_keys
    for alg in ("EdDSA", "ES256", "RS256", "HS384", "HS512", "hs256"):
        forged = token({"alg": alg, "typ": "JWT", "kid": "ed"}, claims(iss=OTHER_ISSUER, projects="*"), keys.secret)
        async with system.visitor(forged, edge=system.other) as visitor:
            assert (await visitor.query("listTests")).status_code == 401, alg


@ATTACKS.attack("token: in the address, under every usual name", "it opens nothing")
async def _(system: System) -> None:
    good = system.ann()
    async with system.visitor() as nobody:
        for name in ("token", "access_token", "bearer", "authorization", "jwt", "ticket", "key", "api_key"):
            answer = await nobody.get(f"/rpc/listTests?{name}={good}")
            assert answer.status_code in (400, 401), (name, answer.text)
            says_nothing_of(answer.text, system.alpha)
            assert (await nobody.refusal(f"?{name}={good}")).code in (400, 401, 4400, 4401), name
    assert good not in system.log()


@ATTACKS.attack("token: in other headers, other schemes and doubled", "it opens nothing")
async def _(system: System) -> None:
    good, bad = system.ann(), system.other_keys.good()
    async with system.visitor() as nobody:
        for headers in (
            {"x-authorization": f"Bearer {good}"},
            {"proxy-authorization": f"Bearer {good}"},
            {"x-forwarded-authorization": f"Bearer {good}"},
            {"x-forwarded-user": "admin", "x-remote-user": "admin", "x-auth-request-user": "admin"},
            {"authorization": f"Basic {good}"},
            {"authorization": good},
            {"authorization": f"Bearer {good}, Bearer {bad}"},
            {"authorization": f"Bearer {bad}, Bearer {good}"},
            {"authorization": f"Bearer {bad} {good}"},
            {"cookie": f"token={good}; access_token={good}"},
        ):
            assert (await nobody.query("listTests", headers)).status_code == 401, headers
        two = nobody.head(
            "/rpc/listTests", f"Authorization: Bearer {bad}", f"Authorization: Bearer {good}", "Connection: close"
        )
        assert status_of(await nobody.raw(two)) in (400, 401)


@ATTACKS.attack("token: a wrong one beside a good session cookie", "401: it is never left aside")
async def _(system: System) -> None:
    async with system.visitor() as nobody:
        signed_in = await nobody.rpc("signIn", {"token": system.ann()})
        assert signed_in.status_code in (200, 204), signed_in.text
        cookie = signed_in.headers["set-cookie"].split(";")[0]
        assert (await nobody.query("listTests", {"cookie": cookie})).status_code == 200
        for wrong in (f"Bearer {system.other_keys.good()}", "Bearer", "Bearer x.y.z"):
            await is_refused(nobody, {"cookie": cookie, "authorization": wrong})


@ATTACKS.attack("token: 500 with unknown kids", "all refused, and a good one is taken meanwhile")
async def _(system: System) -> None:
    async with system.visitor() as stranger, system.visitor(system.ann()) as ann:
        forged = [by_attacker(kid=f"k{number}") for number in range(500)]
        piece = 100
        for start in range(0, len(forged), piece):
            heads = b"".join(
                stranger.head("/rpc/listTests", f"Authorization: Bearer {each}")
                for each in forged[start : start + piece]
            )
            with contextlib.suppress(ConnectionError):
                received = await stranger.raw(heads, stranger.head("/rpc/listTests", "Connection: close"))
                assert b"HTTP/1.1 200" not in received
        assert (await ann.query("listTests")).status_code == 200


test_attack = as_test(ATTACKS)
