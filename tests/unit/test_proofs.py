"""Proofs: session cookies, tickets and share links, with a clock and a bucket in memory."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

import orjson
import pytest

from broker.contract.errors import BadInput, BrokerUnavailable
from tests.access_stand_ins import (
    ANN,
    OTHER,
    PAGE,
    ROOT,
    RUN,
    SESSION_KEY,
    START_S,
    Clock,
    MemoryBucket,
    NamedTokens,
    access_of,
    begin,
    cookie_of,
    follow,
    headers,
    offer,
    ticket,
    tokens,
)
from ws_edge.access import Action, NotAuthenticated, Principal, Undecided
from ws_edge.access.cookies import SESSION, clear_cookie
from ws_edge.access.proofs import ProofAccess
from ws_edge.access.records import session_proof, token_proof
from ws_edge.access.sessions import Sessions
from ws_edge.access.signer import NotSigned, Signer
from ws_edge.access.tickets import LIFETIME_S, Tickets

# -- session cookies ------------------------------------------------------------------------------------------------


def test_a_session_is_what_its_token_permits_and_ends_with_it() -> None:
    clock = Clock()
    access = access_of(tokens(), clock=clock)
    assert access.sessions is not None
    new = access.sessions.begin(ANN._replace(shared_runs=frozenset({OTHER})))
    assert new.cookie.startswith(f"{SESSION}=")
    assert new.cookie.endswith("; Max-Age=3600; Path=/; Secure; HttpOnly; SameSite=Lax")
    read = access.identify(headers(cookie=cookie_of(new.cookie)))
    assert read == new.principal == ANN._replace(session_id=read.session_id)
    assert read.session_id
    clock.now += 3599.5
    assert access.identify(headers(cookie=cookie_of(new.cookie))) == read
    clock.now += 0.5
    with pytest.raises(NotAuthenticated, match="expired"):
        access.identify(headers(cookie=cookie_of(new.cookie)))
    with pytest.raises(NotAuthenticated, match="expired"):
        access.sessions.begin(ANN)


def test_the_cookie_holds_no_token_and_fits_a_browser() -> None:
    access = access_of(tokens())
    body = begin(access).split(".")[1]
    claims = orjson.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    assert set(claims) == {"sub", "projects", "can", "until", "jti", "sid", "exp"}
    with pytest.raises(BadInput, match="too many projects"):
        begin(access, ANN._replace(projects=frozenset(f"project-{number:040}" for number in range(100))))


def altered(cookie: str) -> list[str]:
    name, _, value = cookie.partition("=")
    head, body, signature = value.split(".")
    other = Sessions(b"another key of 32 bytes .........", Clock()).begin(ANN).cookie
    none = base64.urlsafe_b64encode(b'{"alg":"none","typ":"testcast-session+jwt"}').rstrip(b"=").decode()
    return [
        f"{name}=",
        f"{name}=x",
        f"{name}={head}.{body}.",
        f"{name}={head}.{body}",
        f"{name}={head}.{body}.{signature[:-4]}AAAA",
        f"{name}={head}.{body[:-2]}AA.{signature}",
        f"{name}={none}.{body}.",
        f"{name}={none}.{body}.{signature}",
        f"{name}={value}.x.y",
        f"{name}={value}é",
        f"{name}={'a' * 20_000}",
        cookie_of(other),
        f"{cookie}; {name}={value}",
    ]


@pytest.mark.parametrize("number", range(13))
def test_a_cookie_that_is_not_right_is_refused_and_removed(number: int) -> None:
    access = access_of(NamedTokens({}, anonymous=Principal("anonymous", frozenset({"red"}))))
    given = headers(cookie=altered(begin(access))[number])
    with pytest.raises(NotAuthenticated):
        access.identify(given)
    assert access.wrong_cookies(given) == [clear_cookie(SESSION)]
    assert access.wrong_cookies(headers(cookie=f"theirs=1; {begin(access)}")) == []


def test_other_cookies_are_nobodys_proof() -> None:
    anonymous = Principal("anonymous", frozenset({"red"}))
    access = access_of(NamedTokens({}, anonymous=anonymous))
    for other in (
        "a=b",
        f"x=y,{begin(access)}",
        f"x=y, {begin(access)}",
        "__Host-other=x",
        "testcast=x",
        "__Host-testcast-share-x=y",
        ";;;",
        "=",
        "",
    ):
        assert access.identify(headers(cookie=other)) is anonymous


async def test_a_session_ends_with_its_token_or_by_itself_on_every_edge() -> None:
    bucket = MemoryBucket()
    edges = [access_of(tokens(), bucket), access_of(tokens(), bucket)]
    following = [await follow(edge.records, bucket) for edge in edges]
    first, second = begin(edges[0]), begin(edges[0])
    session_id = edges[0].identify(headers(cookie=first)).session_id
    assert session_id is not None
    await edges[1].records.revoke(session_proof(session_id), ANN.expires_at, "ann")
    for edge in edges:
        with pytest.raises(NotAuthenticated, match="revoked"):
            edge.identify(headers(cookie=first))
        assert edge.identify(headers(cookie=second)).subject == "ann"
    await edges[0].records.revoke(token_proof("t1"), ANN.expires_at, "root")
    for edge in edges:
        for given in (headers(cookie=second), headers(authorization="Bearer ann")):
            with pytest.raises(NotAuthenticated, match="revoked"):
                edge.identify(given)
        with pytest.raises(NotAuthenticated, match="revoked"):
            edge.authorize(ANN, Action.WATCH, RUN)
        assert edge.identify(headers(authorization="Bearer root")) == ROOT
    for task in following:
        task.cancel()


# -- one proof is judged ----------------------------------------------------------------------------------------------


def test_a_wrong_token_is_not_saved_by_a_cookie_or_a_ticket() -> None:
    access = access_of(tokens())
    for authorization in ("Bearer nobody", "Bearer ", "", "Basic YQ=="):
        named = {"authorization": authorization, "cookie": begin(access), "sec-websocket-protocol": "ticket.x"}
        with pytest.raises(NotAuthenticated):
            access.identify(named.get)


def test_an_edge_that_has_not_read_the_revocations_lets_nobody_in() -> None:
    bucket = MemoryBucket()
    ready = access_of(tokens(), bucket)
    access = access_of(NamedTokens({"ann": ANN}, anonymous=Principal("anonymous")), bucket, filled=False)
    for given in (headers(), headers(authorization="Bearer ann"), headers(cookie=begin(ready)), offer(ticket(ready))):
        with pytest.raises(BrokerUnavailable):
            access.identify(given)
        with pytest.raises(BrokerUnavailable):
            asyncio.run(access.identify_later(given))


def test_without_a_session_key_there_are_no_cookies_and_tickets() -> None:
    with_key = access_of(tokens())
    access = ProofAccess(tokens(), with_key.records, None, Clock())
    assert (access.sessions, access.tickets, access.shares) == (None, None, None)
    for given in (headers(cookie=begin(with_key)), offer(ticket(with_key))):
        with pytest.raises(NotAuthenticated):
            access.identify(given)
    assert access.identify(headers(authorization="Bearer ann")) == ANN


def test_one_kind_is_never_taken_for_another() -> None:
    signed = {
        typ: Signer(SESSION_KEY, typ).sign({"exp": START_S + 60, "sub": "x"})
        for typ in ("testcast-session+jwt", "testcast-ticket+jwt", "testcast-share+jwt", "JWT")
    }
    for typ in signed:
        for other, text in signed.items():
            if typ == other:
                assert Signer(SESSION_KEY, typ).read(text, START_S)["sub"] == "x"
            else:
                with pytest.raises(NotSigned):
                    Signer(SESSION_KEY, typ).read(text, START_S)
    with pytest.raises(NotSigned):  # the same key for all kinds would not do it either
        Signer(SESSION_KEY, "a").read(signed["JWT"].replace(signed["JWT"].split(".")[0], "e30"), START_S)


@pytest.mark.parametrize("claims", [{}, {"exp": None}, {"exp": "9"}, {"exp": True}, {"exp": START_S}, {"exp": -1}])
def test_what_has_no_end_or_has_ended_is_not_read(claims: dict[str, Any]) -> None:
    signer = Signer(SESSION_KEY, "x")
    with pytest.raises(NotSigned):
        signer.read(signer.sign(claims), START_S)


# -- tickets --------------------------------------------------------------------------------------------------------


async def test_a_ticket_works_once_on_any_edge() -> None:
    bucket = MemoryBucket()
    edges = [access_of(tokens(), bucket) for _ in range(4)]
    given = offer(ticket(edges[0]))
    for edge in edges:
        with pytest.raises(Undecided):
            edge.identify(given)
    answers = await asyncio.gather(*(edge.identify_later(given) for edge in edges * 3), return_exceptions=True)
    let_in = [each for each in answers if isinstance(each, Principal)]
    assert let_in == [ANN]
    refused = [each for each in answers if isinstance(each, NotAuthenticated)]
    assert len(refused) == 11 and all("used before" in str(each) for each in refused)
    assert all(ttl is not None and ttl > LIFETIME_S for ttl in bucket.ttls.values()), "longer than it lives"


async def test_a_ticket_is_for_its_origin_and_for_half_a_minute() -> None:
    clock, bucket = Clock(), MemoryBucket()
    access = access_of(tokens(), bucket, clock)
    given = ticket(access)
    for origin in (None, "https://other.example", "http://edge.example", "https://edge.example:8443", "null", ""):
        with pytest.raises(NotAuthenticated, match="another origin"):
            access.identify(offer(given, origin))
        with pytest.raises(NotAuthenticated, match="another origin"):
            await access.identify_later(offer(given, origin))
    with pytest.raises(NotAuthenticated, match="another origin"):
        await access.identify_later(offer(ticket(access, origin=None)))
    assert bucket.values == {}, "a thief has not used it up"
    clock.now += LIFETIME_S
    with pytest.raises(NotAuthenticated, match="expired"):
        await access.identify_later(offer(given))
    clock.now -= 0.5
    assert await access.identify_later(offer(given)) == ANN


async def test_a_ticket_lives_no_longer_than_its_token_and_ends_with_it() -> None:
    clock = Clock()
    access = access_of(tokens(), clock=clock)
    assert access.tickets is not None
    soon = ANN._replace(expires_at=START_S + 5)
    assert access.tickets.issue(soon, PAGE)[1] == 5
    given = ticket(access)
    await access.records.revoke(token_proof("t1"), ANN.expires_at, "root")
    with pytest.raises(NotAuthenticated, match="revoked"):
        await access.identify_later(offer(given))


async def test_a_ticket_is_refused_where_it_cannot_be_used_up() -> None:
    bucket = MemoryBucket()
    access = access_of(tokens(), bucket)
    bucket.is_away = True
    with pytest.raises(BrokerUnavailable):
        await access.identify_later(offer(ticket(access)))
    several = headers(sec_websocket_protocol=f"ticket.{ticket(access)}, ticket.{ticket(access)}", origin=PAGE)
    with pytest.raises(NotAuthenticated, match="more than one"):
        access.identify(several)
    for wrong in ("", "x", "a.b.c", ticket(access)[:-3]):
        with pytest.raises(NotAuthenticated):
            access.identify(offer(wrong))
    for protocols in ("testcast.v1", "Ticket.x", "tickets", ""):
        assert access_of(NamedTokens({}, anonymous=ROOT)).identify(headers(sec_websocket_protocol=protocols)) is ROOT
    assert Tickets(SESSION_KEY, Clock()).read(ticket(access), PAGE).principal == ANN
