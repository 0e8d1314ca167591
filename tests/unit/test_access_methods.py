"""Signing in, tickets, share links and revocation over HTTP, and which pages may send what."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from broker.contract.projects import DEFAULT
from broker.jetstream.connection import Connection
from tests.harness import NO_SUCH_TEST, free_port
from tests.rpc_stand_ins import CONFIG, FOREIGN_RUN, FRIEND, HOST, LATER, OWN, RUN, Browser, Edge, bearer, code_of
from ws_edge.access import Action, Principal
from ws_edge.access.cookies import SESSION, share_cookie
from ws_edge.api.app import make_app
from ws_edge.config import EdgeConfig
from ws_edge.node import Node
from ws_edge.origins import parse_public_url


@pytest.fixture
async def edge() -> AsyncIterator[Edge]:
    nats = Connection.dial(f"nats://127.0.0.1:{free_port()}", name="test")
    yield Edge(Node(nats, CONFIG, 1), CONFIG)
    await nats.close()


# -- sessions -----------------------------------------------------------------------------------------------------


async def test_who_signs_in_is_known_until_they_sign_out(edge: Edge) -> None:
    browser = Browser(edge)
    nobody = {"required": True, "ways": ["token"]}
    assert (await browser("getSession")).json() == nobody
    assert code_of(await browser("signIn", token="wrong")) == (401, "unauthenticated")
    assert browser.cookies == {}
    answer = await browser("signIn", token="ann")
    ann = {
        "required": True,
        "ways": ["token"],
        "subject": "ann",
        "projects": [DEFAULT],
        "actions": sorted(action.value for action in Action),
        "expiresAt": int(LATER * 1000),
    }
    assert answer.json() == ann
    assert answer.headers["cache-control"] == "no-store"
    assert (await browser("getSession")).json() == ann
    copied = dict(browser.cookies)
    assert (await browser("getConfig")).status_code == 200
    assert (await browser("signOut")).json() == {"ended": True}
    assert browser.cookies == {}
    assert code_of(await browser("getConfig")) == (401, "unauthenticated")
    browser.cookies = copied
    assert code_of(await browser("getConfig")) == (401, "unauthenticated"), "for a thief as well"


async def test_a_cookie_that_does_not_count_hinders_nobody_from_signing_in(edge: Edge) -> None:
    browser = Browser(edge)
    await browser("signIn", token="ann")
    good = browser.cookies[SESSION]
    for wrong in ("", "x", good[:-5] + "AAAAA"):
        browser.cookies = {SESSION: wrong, share_cookie(RUN): "x"}
        assert code_of(await browser("getConfig")) == (401, "unauthenticated")
        assert (await browser("signIn", token="ann")).status_code == 200
        browser.cookies = {SESSION: wrong, share_cookie(RUN): "x"}
        answer = await browser("getSession")
        assert "subject" not in answer.json() and browser.cookies == {}
    browser.cookies = {SESSION: "x"}
    assert (await browser("signOut")).json() == {"ended": False}
    assert browser.cookies == {}


async def test_without_reading_the_revocations_nothing_is_given_out(edge: Edge) -> None:
    browser = Browser(edge)
    await browser("signIn", token="ann")
    edge.records.filled = False
    for method, params in {
        "getSession": {},
        "getConfig": {},
        "signIn": {"token": "ann"},
        "getTicket": {},
        "openShare": {"testId": RUN, "secret": "x"},
    }.items():
        assert code_of(await browser(method, **params)) == (503, "broker_unavailable"), method


async def test_an_open_edge_has_nothing_to_sign_in_to() -> None:
    nats = Connection.dial(f"nats://127.0.0.1:{free_port()}", name="test")
    node = Node(nats, CONFIG, 1)
    browser = Browser(edge_of(node))
    assert (await browser("getSession")).json() == {"required": False, "ways": []}
    calls: dict[str, dict[str, Any]] = {
        "signIn": {"token": "x"},
        "signOut": {},
        "getTicket": {},
        "shareTest": {"testId": RUN, "forSeconds": 60},
        "openShare": {"testId": RUN, "secret": "x"},
        "revokeToken": {"jti": "x"},
    }
    for method, params in calls.items():
        assert code_of(await browser(method, **params)) == (400, "access_is_open"), method
    await nats.close()


def edge_of(node: Node) -> Edge:
    made = Edge.__new__(Edge)
    made.node, made._app = node, make_app("", 1, CONFIG, lambda _: None)
    return made


# -- which pages may send what ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "origin",
    [
        None,
        "null",
        FRIEND,
        f"http://{HOST}",
        f"https://{HOST}:8443",
        f"https://sub.{HOST}",
        f"https://{HOST}.evil.example",
        f"https://evil{HOST}",
        f"{OWN}, {OWN}",
        f"{OWN} ",
        "",
    ],
)
async def test_a_session_is_of_no_use_to_other_pages(edge: Edge, origin: str | None) -> None:
    browser = Browser(edge)
    await browser("signIn", token="ann")
    session = browser.cookies[SESSION]
    other = Browser(edge, origin)
    calls: dict[str, dict[str, Any]] = {"getConfig": {}, "getTicket": {}, "cancelTest": {"testId": RUN}, "signOut": {}}
    for method, params in calls.items():
        other.cookies = {SESSION: session}
        answer = await other(method, **params)
        wanted = {401, 403}
        assert answer.status_code in wanted, (method, answer.text)
        assert "access-control-allow-credentials" not in answer.headers
    assert (await browser("getConfig")).status_code == 200, "nobody has signed anybody out"


@pytest.mark.parametrize("origin", [FRIEND, f"http://{HOST}", "https://evil.example", "null"])
async def test_cookies_are_set_for_own_pages_over_tls_only(edge: Edge, origin: str) -> None:
    made = (await Browser(edge, None)("shareTest", headers=bearer("ann"), testId=RUN, forSeconds=60)).json()
    other = Browser(edge, origin)
    for method, params in {
        "signIn": {"token": "ann"},
        "openShare": {"testId": RUN, "secret": made["path"].partition("=")[2]},
    }.items():
        answer = await other(method, **params)
        assert code_of(answer) == (403, "foreign_origin"), method
        assert "set-cookie" not in answer.headers


@pytest.mark.parametrize("host", ["localhost:8000", "127.0.0.1:8000", "[::1]:8000", "demo.localhost:8000"])
async def test_on_loopback_cookies_need_no_tls(edge: Edge, host: str) -> None:
    browser = Browser(edge, f"http://{host}", host)
    assert (await browser("signIn", token="ann")).status_code == 200
    assert (await browser("getConfig")).status_code == 200
    other = Browser(edge, f"http://{host.rpartition(':')[0]}:9999", host)
    other.cookies = dict(browser.cookies)
    assert (await other("getConfig")).status_code in (401, 403), "the port is part of an origin"


async def test_a_get_with_cookies_answers_own_pages_only(edge: Edge) -> None:
    browser = Browser(edge)
    await browser("signIn", token="ann")
    cookie = {"cookie": f"{SESSION}={browser.cookies[SESSION]}"}
    async with httpx.AsyncClient(transport=httpx.ASGITransport(edge), base_url=f"http://{HOST}") as client:
        answers: dict[str, int] = {}
        for site in ("same-origin", "none", "same-site", "cross-site", ""):
            answer = await client.get("/rpc/getConfig", headers={**cookie, "sec-fetch-site": site})
            answers[site] = answer.status_code
        assert answers == {"same-origin": 200, "none": 200, "same-site": 401, "cross-site": 401, "": 401}
        answer = await client.get("/rpc/getConfig", headers={**cookie, "origin": FRIEND})
        assert answer.status_code == 401
        answer = await client.get("/rpc/getConfig", headers={**bearer("ann"), "origin": FRIEND})
        assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, FRIEND)
        assert "access-control-allow-credentials" not in answer.headers
        preflight = await client.options(
            "/rpc/getTicket",
            headers={
                "origin": FRIEND,
                "access-control-request-method": "POST",
                "access-control-request-headers": "authorization,content-type",
            },
        )
        assert preflight.status_code == 200
        assert "access-control-allow-credentials" not in preflight.headers


@pytest.mark.parametrize("media_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""])
async def test_a_page_posts_json_and_nothing_else(edge: Edge, media_type: str) -> None:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(edge), base_url=f"http://{HOST}") as client:
        for origin in ({"origin": OWN}, {"origin": FRIEND}):
            headers = {**bearer("ann"), **origin, "content-type": media_type}
            answer = await client.post("/rpc/getConfig", content=b"{}", headers=headers)
            assert code_of(answer) == (415, "unsupported_media_type")
        headers = {**bearer("ann"), "content-type": media_type}
        answer = await client.post("/rpc/getConfig", content=b"{}", headers=headers)
        assert answer.status_code == 200, "a program without an Origin is no browser"
        headers = {"origin": OWN, **bearer("ann"), "content-type": "Application/JSON; charset=utf-8"}
        assert (await client.post("/rpc/getConfig", content=b"{}", headers=headers)).status_code == 200


async def test_a_page_without_tls_is_foreign_where_the_edge_is_known_to_have_it() -> None:
    public = parse_public_url(OWN)
    nats = Connection.dial(f"nats://127.0.0.1:{free_port()}", name="test")
    config = EdgeConfig(public_url=public)
    edge = Edge(Node(nats, config, 1), config)
    assert code_of(await Browser(edge, f"http://{HOST}")("getConfig", headers=bearer("ann"))) == (403, "foreign_origin")
    assert (await Browser(edge, OWN)("getConfig", headers=bearer("ann"))).status_code == 200
    behind = Browser(edge, OWN, "10.0.0.7:8000")
    assert (await behind("signIn", token="ann")).status_code == 200, "a proxy has changed the Host"
    await nats.close()


# -- tickets and revocation -------------------------------------------------------------------------------------------


async def test_tickets_are_for_who_may_watch_and_has_a_token(edge: Edge) -> None:
    browser = Browser(edge)
    await browser("signIn", token="ann")
    for answer in (await browser("getTicket"), await Browser(edge, FRIEND)("getTicket", headers=bearer("ann"))):
        assert answer.headers["cache-control"] == "no-store"
        assert set(answer.json()) == {"ticket", "expiresInMs"} and 29_000 < answer.json()["expiresInMs"] <= 30_000
    assert code_of(await Browser(edge)("getTicket")) == (401, "unauthenticated")
    assert code_of(await Browser(edge)("getTicket", headers=bearer("publisher"))) == (403, "forbidden")
    edge.tokens.anonymous = Principal("anonymous", frozenset({DEFAULT}), frozenset({Action.LIST, Action.WATCH}))
    assert code_of(await Browser(edge)("getTicket")) == (401, "unauthenticated")


async def test_only_who_sees_all_projects_revokes_tokens(edge: Edge) -> None:
    program = Browser(edge, None)
    assert code_of(await program("revokeToken", headers=bearer("ann"), jti="r1")) == (403, "forbidden")
    assert (await program("getConfig", headers=bearer("ann"))).status_code == 200
    assert code_of(await program("revokeToken", headers=bearer("root"), jti="")) == (400, "invalid_params")
    answer = await program("revokeToken", headers=bearer("root"), jti="a1", until=LATER)
    assert answer.json() == {"jti": "a1", "until": int(LATER * 1000)}
    assert code_of(await program("getConfig", headers=bearer("ann"))) == (401, "unauthenticated")
    assert not any("a1" in key for key in edge.bucket.values), "the id itself is stored nowhere"


# -- share links ------------------------------------------------------------------------------------------------------


async def test_a_link_is_made_opened_listed_and_ended(edge: Edge) -> None:
    owner, visitor = Browser(edge), Browser(edge)
    await owner("signIn", token="ann")
    made = await owner("shareTest", testId=RUN, forSeconds=3600)
    assert made.headers["cache-control"] == "no-store"
    share_id, path = made.json()["shareId"], made.json()["path"]
    assert path.startswith(f"/tests/{RUN}#share=")
    secret = path.partition("#share=")[2]
    listed = (await owner("listShares", testId=RUN)).json()["shares"]
    assert [(each["shareId"], each["by"]) for each in listed] == [(share_id, "ann")]
    assert listed[0]["expiresAt"] == made.json()["expiresAt"] > listed[0]["createdAt"]
    assert secret not in str(listed)
    opened = await visitor("openShare", testId=RUN, secret=secret)
    assert opened.json() == {"testId": RUN, "expiresAt": made.json()["expiresAt"]}
    assert set(visitor.cookies) == {share_cookie(RUN)}
    for method, params, wanted in (
        ("listTests", {}, (403, "forbidden")),
        ("getConfig", {}, (403, "forbidden")),
        ("cancelTest", {"testId": RUN}, (403, "forbidden")),
        ("shareTest", {"testId": RUN, "forSeconds": 60}, (403, "forbidden")),
        ("listShares", {"testId": RUN}, (403, "forbidden")),
        ("unshareTest", {"testId": RUN, "shareId": share_id}, (403, "forbidden")),
        ("getTicket", {}, (403, "forbidden")),
        ("getTest", {"testId": FOREIGN_RUN}, (404, "not_found")),
        ("getTest", {"testId": NO_SUCH_TEST}, (404, "not_found")),
        ("getTest", {"testId": RUN}, (503, "broker_unavailable")),  # it may watch, and the broker is away
    ):
        assert code_of(await visitor(method, **params)) == wanted, method
    assert (await visitor("getSession")).json()["actions"] == []
    assert (await owner("unshareTest", testId=RUN, shareId=share_id)).json() == {"shareId": share_id}
    assert code_of(await visitor("getTest", testId=RUN)) == (401, "unauthenticated")
    assert code_of(await visitor("openShare", testId=RUN, secret=secret)) == (404, "not_found")
    await visitor("getSession")
    assert visitor.cookies == {}


async def test_who_may_share_what_and_for_how_long(edge: Edge) -> None:
    program = Browser(edge, None)
    for seconds in (0, 59, 90 * 86400 + 1, -1, 1e300, "60", None):
        answer = await program("shareTest", headers=bearer("ann"), testId=RUN, forSeconds=seconds)
        assert code_of(answer) == (400, "invalid_params"), seconds
    foreign = [
        code_of(await program("shareTest", headers=bearer("ann"), testId=each, forSeconds=60))
        for each in (FOREIGN_RUN, NO_SUCH_TEST)
    ]
    assert foreign == [(404, "not_found")] * 2
    for method in ("listShares", "unshareTest"):
        params: dict[str, Any] = {"shareId": "x"} if method == "unshareTest" else {}
        assert code_of(await program(method, headers=bearer("ann"), testId=FOREIGN_RUN, **params))[0] == 404
        assert code_of(await program(method, headers=bearer("publisher"), testId=RUN, **params))[0] == 403
    edge.tokens.anonymous = Principal("anonymous", frozenset({DEFAULT}), frozenset({Action.LIST, Action.WATCH}))
    calls: dict[str, dict[str, Any]] = {
        "shareTest": {"forSeconds": 60},
        "listShares": {},
        "unshareTest": {"shareId": "x"},
    }
    for method, params in calls.items():
        assert code_of(await program(method, testId=RUN, **params)) == (403, "forbidden")


async def test_every_wrong_link_is_answered_alike(edge: Edge) -> None:
    browser = Browser(edge)
    made = (await browser("shareTest", headers=bearer("ann"), testId=RUN, forSeconds=60)).json()
    secret = made["path"].partition("=")[2]
    answers = [
        (await browser("openShare", testId=test_id, secret=given)).text.replace(test_id, "ID")
        for test_id, given in ((RUN, "x"), (NO_SUCH_TEST, secret), (FOREIGN_RUN, "x"), (RUN, secret + "x"))
    ]
    assert len(set(answers)) == 1 and browser.cookies == {}
