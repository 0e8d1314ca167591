"""Signing in with OpenID Connect, against a provider that runs here, and what must not get through."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx
import pytest
from joserfc import jwt
from joserfc.jwk import OctKey
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.routing import Route

from broker.contract.errors import InvalidSetting
from broker.log_lines import JsonLines
from tests.oidc_provider import CLIENT_ID, SECRET, FakeProvider, new_key
from ws_edge.access import Action, Principal
from ws_edge.access.oidc_settings import OidcConfig, claim_of, oidc_config, projects_of
from ws_edge.access.settings import Secret
from ws_edge.api.oidc import STATE_COOKIE, Oidc, safe_next
from ws_edge.origins import parse_public_url

EDGE = "https://tests.example.org"
KEY = bytes(range(32))
RUN = "/tests/4f9c2d3e-8a51-4c0b-9d57-2f1f6f0a7b11"


@pytest.fixture
def provider() -> Iterator[FakeProvider]:
    standing = FakeProvider()
    yield standing
    standing.stop()


class Person:
    """A browser in front of an edge with the two routes."""

    def __init__(self, provider: FakeProvider, key: bytes = KEY, prefix: str = "", **settings: Any) -> None:
        self.provider = provider
        self.sessions: list[Principal] = []
        callback = f"{EDGE}{prefix}/oidc/callback"
        known: dict[str, Any] = {"prefix": prefix, "client_secret": Secret(SECRET.encode()), **settings}
        config = OidcConfig(provider.issuer, CLIENT_ID, callback, **known)
        oidc = Oidc(config, key, self._issue, lambda _request: "192.0.2.1")
        routes = [Route("/oidc/login", oidc.login), Route("/oidc/callback", oidc.callback)]
        self.http = httpx.AsyncClient(transport=httpx.ASGITransport(Starlette(routes=routes)), base_url=EDGE)

    def _issue(self, _request: Request, principal: Principal) -> str:
        self.sessions.append(principal)
        return "__Host-testcast=session; Path=/; Secure; HttpOnly; SameSite=Lax"

    async def begin(self, after: str = "/") -> str:
        """To the provider. Returns the address there."""
        answer = await self.http.get("/oidc/login", params={"next": after})
        assert answer.status_code == 303
        return answer.headers["location"]

    async def back(self, url: str) -> httpx.Response:
        """To the address that the provider names."""
        parts = urlsplit(url)
        assert url.startswith(f"{EDGE}/"), "the redirect address is the edge's, whatever it was asked as"
        answer = await self.http.get(f"{parts.path}?{parts.query}")
        assert answer.status_code == 303
        assert answer.headers["cache-control"] == "no-store"
        return answer

    async def sign_in(self, after: str = "/") -> httpx.Response:
        return await self.back(self.provider.authorize(await self.begin(after)))


def problem(answer: httpx.Response) -> str | None:
    found = parse_qs(urlsplit(answer.headers["location"]).query).get("sign-in-problem")
    assert "__Host-testcast=" not in str(answer.headers.get_list("set-cookie")) or found is None
    return found[0] if found else None


async def test_signing_in(provider: FakeProvider, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    person = Person(provider)
    url = await person.begin(f"{RUN}?feed=steps")
    asked = {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
    assert asked["redirect_uri"] == f"{EDGE}/oidc/callback"
    assert (asked["response_type"], asked["code_challenge_method"], asked["scope"]) == ("code", "S256", "openid")
    assert min(len(asked[name]) for name in ("state", "nonce", "code_challenge")) >= 43
    answer = await person.back(provider.authorize(url))
    assert answer.headers["location"] == f"{RUN}?feed=steps"
    cookies = answer.headers.get_list("set-cookie")
    assert cookies[0].startswith(f"{STATE_COOKIE}=; Max-Age=0;")
    assert cookies[1].startswith("__Host-testcast=session")
    [principal] = person.sessions
    assert (principal.subject, principal.projects) == ("ann", frozenset({"web"}))
    assert principal.actions == {Action.LIST, Action.WATCH, Action.SUBMIT}
    [sent] = provider.token_requests
    texts = "".join([caplog.text, *map(JsonLines("test").format, caplog.records)]).replace(url, "")
    for secret in (sent["code"], sent["code_verifier"], SECRET, asked["nonce"], asked["state"]):
        assert secret not in texts
    assert 'outcome="done" action="signIn" subject="ann"' in caplog.text


async def test_the_state_cookie_tells_little_and_leaves_no_page(provider: FakeProvider) -> None:
    person = Person(provider)
    answer = await person.http.get("/oidc/login")
    [cookie] = answer.headers.get_list("set-cookie")
    assert re.fullmatch(r"__Host-testcast-oidc=[\w.-]+; Max-Age=600; Path=/; Secure; HttpOnly; SameSite=Lax", cookie)
    await person.back(provider.authorize(answer.headers["location"]))
    [sent] = provider.token_requests
    assert sent["code_verifier"] not in cookie
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    "after",
    [
        "https://evil.example/",
        "//evil.example/",
        "/\\evil.example",
        "/\t/evil.example",
        "/rpc/getConfig",
        "/tests/../../evil",
        "/tests/x",
        "/?a=//evil#x",
        "javascript:alert(1)",
        "/\r\nset-cookie: a=b",
        "",
    ],
)
async def test_no_open_redirect(provider: FakeProvider, after: str) -> None:
    assert safe_next(after) == "/"
    assert (await Person(provider).sign_in(after)).headers["location"] == "/"


def test_pages_to_go_on_at() -> None:
    for after in ("/", RUN, "/?status=running&query=a%20b", f"{RUN}?feed=steps"):
        assert safe_next(after) == after
    assert safe_next(None) == "/"


async def test_below_a_prefix(provider: FakeProvider) -> None:
    person = Person(provider, prefix="/testcast")
    answer = await person.http.get("/oidc/login")
    back = provider.authorize(answer.headers["location"])
    assert back.startswith(f"{EDGE}/testcast/oidc/callback?")
    assert (await person.back(back.replace("/testcast", "", 1))).headers["location"] == "/testcast/"


async def test_a_wrong_state(provider: FakeProvider) -> None:
    person, other = Person(provider), Person(provider)
    url = provider.authorize(await person.begin())
    code = parse_qs(urlsplit(url).query)["code"][0]
    for state in ("", "x", "é"):
        answer = await person.back(f"{EDGE}/oidc/callback?{urlencode({'code': code, 'state': state})}")
        assert problem(answer) == "wrong_state"
        url = provider.authorize(await person.begin())
    assert problem(await other.back(url)) == "wrong_state", "somebody else's browser has no state"
    await other.begin()
    assert problem(await other.back(url)) == "wrong_state", "somebody else's state"
    assert not other.sessions and not provider.token_requests


@pytest.mark.parametrize("forged", ["none", "other key", "other type", "expired", "nonsense"])
async def test_a_forged_state_cookie(provider: FakeProvider, forged: str) -> None:
    person = Person(provider)
    claims = {"state": "s", "nonce": "n", "next": "/", "exp": int(time.time()) + (-60 if forged == "expired" else 60)}
    oidc = Oidc(OidcConfig(provider.issuer, CLIENT_ID, EDGE), KEY, lambda _, __: "", lambda _: "")
    key = OctKey.import_key(b"x" * 32) if forged == "other key" else oidc._key
    header = {"alg": "HS256", "typ": "JWT" if forged == "other type" else "testcast-oidc-state+jwt"}
    value = "a.b.c" if forged == "nonsense" else jwt.encode(header, claims, key)
    if forged == "none":
        value = "eyJhbGciOiJub25lIn0." + value.split(".")[1] + "."
    answer = await person.http.get("/oidc/callback?code=c&state=s", headers={"cookie": f"{STATE_COOKIE}={value}"})
    assert problem(answer) == "wrong_state"


async def test_a_code_is_good_once(provider: FakeProvider) -> None:
    person = Person(provider)
    started = await person.http.get("/oidc/login")
    cookie = started.headers["set-cookie"].partition(";")[0]
    url = provider.authorize(started.headers["location"])
    assert problem(await person.back(url)) is None
    assert problem(await person.back(url)) == "wrong_state", "the state is used up"
    query = urlsplit(url).query
    stolen = await person.http.get(f"/oidc/callback?{query}", headers={"cookie": cookie})
    assert problem(stolen) == "not_valid", "with the cookie kept, the provider refuses the code"
    assert len(person.sessions) == 1


@pytest.mark.parametrize(
    ("claims", "word"),
    [
        ({"nonce": "another"}, "not_valid"),
        ({"nonce": None}, "not_valid"),
        ({"iss": "https://evil.example"}, "not_valid"),
        ({"iss": None}, "not_valid"),
        ({"aud": "another-client"}, "not_valid"),
        ({"aud": [CLIENT_ID, "another"]}, "not_valid"),  # and no azp
        ({"aud": [CLIENT_ID, "another"], "azp": "another"}, "not_valid"),
        ({"azp": "another"}, "not_valid"),
        ({"exp": 1_000_000_000}, "not_valid"),
        ({"exp": None}, "not_valid"),
        ({"sub": None}, "not_valid"),
        ({"sub": 7}, "not_valid"),
        ({"at_hash": "AAAAAAAAAAAAAAAAAAAAAA"}, "not_valid"),
        ({"testcast_projects": None}, "no_project"),
        ({"testcast_projects": ["NOT A NAME", 7]}, "no_project"),
        ({"sub": "x" * 201}, "no_subject"),
    ],
)
async def test_an_id_token_that_does_not_fit(provider: FakeProvider, claims: dict[str, Any], word: str) -> None:
    provider.claims |= claims
    person = Person(provider)
    assert problem(await person.sign_in()) == word
    assert not person.sessions


async def test_an_id_token_signed_by_somebody_else(provider: FakeProvider) -> None:
    person = Person(provider)
    provider.signs_with = new_key("first of somebody else")
    assert problem(await person.sign_in()) == "not_valid"
    provider.signs_with = provider.key.as_pem(private=False)  # HS256 with the public key as the secret
    assert problem(await person.sign_in()) == "not_valid"
    provider.signs_with, provider.algorithm = provider.key, "PS256"
    assert problem(await person.sign_in()) == "not_valid", "an algorithm that is not configured"
    assert not person.sessions


async def test_a_new_key_of_the_provider(provider: FakeProvider, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr("ws_edge.api.oidc.time", SimpleNamespace(monotonic=lambda: now[0], time=time.time))
    person = Person(provider)
    assert problem(await person.sign_in()) is None
    provider.key = provider.signs_with = new_key("second")
    assert problem(await person.sign_in()) == "not_valid", "the keys were asked for a moment ago"
    now[0] += 61
    assert problem(await person.sign_in()) is None
    assert provider.asked.count("/jwks_uri") == 2
    assert provider.asked.count("/.well-known/openid-configuration") == 1


async def test_the_provider_is_down(provider: FakeProvider) -> None:
    issuer = provider.issuer
    person = Person(provider)
    url = provider.authorize(await person.begin(RUN))
    stopped = FakeProvider()
    stopped.stop()
    late = Person(stopped)
    answer = await late.http.get("/oidc/login", params={"next": RUN})
    assert (answer.status_code, answer.headers["location"]) == (303, f"{RUN}?sign-in-problem=provider_unavailable")
    person.provider.stop()
    assert problem(await person.back(url)) == "provider_unavailable"
    assert issuer not in answer.text


@pytest.mark.parametrize(
    "metadata",
    [
        {"issuer": "https://evil.example"},
        {"token_endpoint": "http://evil.example/token"},
        {"jwks_uri": "file:///etc/passwd"},
        {"authorization_endpoint": None},
        {"padding": "x" * 300_000},
    ],
)
async def test_a_discovery_that_is_wrong(provider: FakeProvider, metadata: dict[str, Any]) -> None:
    provider.metadata = metadata
    person = Person(provider)
    answers = [await person.http.get("/oidc/login") for _ in range(3)]
    assert {problem(answer) for answer in answers} == {"provider_unavailable"}
    assert len(provider.asked) == 1, "after a failure nobody asks for a while"


async def test_what_the_provider_says_no_to(provider: FakeProvider) -> None:
    person = Person(provider)
    provider.deny = "access_denied"
    assert problem(await person.sign_in(RUN)) == "denied"
    provider.deny = "<script>alert(1)</script>"
    answer = await person.sign_in(RUN)
    assert answer.headers["location"] == f"{RUN}?sign-in-problem=refused"
    provider.deny = ""
    provider.metadata = {"authorization_response_iss_parameter_supported": True}
    mixed = Person(provider)
    assert problem(await mixed.sign_in()) == "not_valid", "such a provider names itself in each answer (RFC 9207)"
    url = provider.authorize(await mixed.begin())
    assert problem(await mixed.back(f"{url}&{urlencode({'iss': provider.issuer})}")) is None
    assert problem(await Person(provider, client_secret=Secret(b"wrong")).sign_in()) == "not_valid"


def test_claims() -> None:
    claims = {"a": {"b": ["web", "App!", 1]}, "https://x.example/p": "*"}
    assert projects_of(claim_of(claims, "a.b")) == frozenset({"web"})
    assert projects_of(claim_of(claims, "https://x.example/p")) is None
    assert projects_of("web, api  web") == frozenset({"web", "api"})
    assert projects_of(["web", "*"]) == frozenset({"web"}), "a name beside others is a name"
    assert claim_of(claims, "a.b.c") is None and projects_of(None) == frozenset()


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"TESTCAST_OIDC_CLIENT_ID": "x"}, "CLIENT_ID"),
        ({"TESTCAST_OIDC_ISSUER": "https://p.example"}, "CLIENT_ID"),
        ({"TESTCAST_OIDC_ISSUER": "http://p.example", "TESTCAST_OIDC_CLIENT_ID": "x"}, "ISSUER"),
        ({"TESTCAST_OIDC_ISSUER": "https://u:p@p.example", "TESTCAST_OIDC_CLIENT_ID": "x"}, "ISSUER"),
        ({"TESTCAST_OIDC_ISSUER": "https://p.example?x", "TESTCAST_OIDC_CLIENT_ID": "x"}, "ISSUER"),
        (
            {
                "TESTCAST_OIDC_ISSUER": "https://p.example",
                "TESTCAST_OIDC_CLIENT_ID": "x",
                "TESTCAST_OIDC_ALGORITHMS": "RS256,none",
            },
            "ALGORITHMS",
        ),
        (
            {
                "TESTCAST_OIDC_ISSUER": "https://p.example",
                "TESTCAST_OIDC_CLIENT_ID": "x",
                "TESTCAST_OIDC_SESSION_S": "1e9",
            },
            "SESSION_S",
        ),
    ],
)
def test_wrong_settings(settings: dict[str, str], named: str) -> None:
    with pytest.raises(InvalidSetting, match=named):
        oidc_config(settings, None, None, "127.0.0.1", 8000)


def test_where_the_provider_sends_people_back_to() -> None:
    settings = {"TESTCAST_OIDC_ISSUER": "https://p.example", "TESTCAST_OIDC_CLIENT_ID": "x"}
    public = parse_public_url("https://tests.example.org/testcast")
    found = oidc_config(settings, None, public, "0.0.0.0", 8000)
    assert found is not None and found.redirect_uri == "https://tests.example.org/testcast/oidc/callback"
    local = oidc_config(settings, None, None, "::1", 8000)
    assert local is not None and local.redirect_uri == "http://[::1]:8000/oidc/callback"
    for public_url, host in ((None, "0.0.0.0"), (parse_public_url("http://tests.example.org"), "0.0.0.0")):
        with pytest.raises(InvalidSetting, match="TESTCAST_EDGE_PUBLIC_URL"):
            oidc_config(settings, None, public_url, host, 8000)
    assert oidc_config({}, None, None, "127.0.0.1", 8000) is None
