"""Session cookies that are stolen, swapped, tampered with, and sent by pages of other sites."""

from __future__ import annotations

from typing import Any, Final

from broker.clock import now_ms
from tests.security.attacks import Act, Table, as_test
from tests.security.mint import token
from tests.security.proofs import REFUSED, SESSION, changed, cookie_of
from tests.security.system import System, code_of, status_of

ATTACKS: Final[Table[System]] = Table()


@ATTACKS.attack("cookie: its attributes", "__Host-, Secure, HttpOnly, SameSite=Lax, Path=/, no Domain")
async def _(system: System) -> None:
    async with system.visitor() as nobody:
        answer = await nobody.rpc("signIn", {"token": system.ann()})
        parts = [part.strip().lower() for part in answer.headers["set-cookie"].split(";")]
        assert parts[0].startswith("__host-testcast=")
        assert {"secure", "httponly", "samesite=lax", "path=/"} <= set(parts)
        assert not any(part.startswith("domain") for part in parts)
        assert "no-store" in answer.headers.get("cache-control", "")


@ATTACKS.attack("cookie: as a bearer token, and a token as a cookie", "401")
async def _(system: System) -> None:
    async with system.visitor() as nobody:
        given = system.ann()
        name, _, value = (await cookie_of(nobody, given)).partition("=")
        for headers in ({"authorization": f"Bearer {value}"}, {"cookie": f"{name}={given}"}):
            assert (await nobody.query("listTests", headers)).status_code == 401, headers
            assert (await nobody.refusal("", headers)).code in REFUSED


@ATTACKS.attack("cookie: changed, cut, signed with nothing", "401, never anonymous")
async def _(system: System) -> None:
    async with system.visitor() as nobody:
        name, _, value = (await cookie_of(nobody, system.ann())).partition("=")
        for what, tampered in changed(value).items():
            answer = await nobody.query("listTests", {"cookie": f"{name}={tampered}"})
            assert answer.status_code == 401, what
        signed = token({"alg": "EdDSA", "typ": "JWT", "kid": "ed"}, {"sub": "x"}, system.keys.ed)
        assert (await nobody.query("listTests", {"cookie": f"{name}={signed}"})).status_code == 401


OTHER_NAMES: Final = (
    b"testcast",
    b"__host-testcast",
    b"__Secure-testcast",
    b"__Host-Testcast",
    b"session",
    b"\xa0__Host-testcast",
    b"\xc2\xa0__Host-testcast",
    b"\xe2\x80\x80__Host-testcast",
    b"\x85__Host-testcast",
    b"\x1f__Host-testcast",
    b"\x0b__Host-testcast",
    b'"__Host-testcast"',
    b"=__Host-testcast",
    b"$Version=1; testcast",
)
"""Names that a page of a neighbouring domain, or one without TLS, can set; or that another parser reads as ours."""


@ATTACKS.attack("cookie: without the __Host- prefix, in other case, behind blanks of every kind", "it is not read")
async def _(system: System) -> None:
    async with system.visitor() as nobody:
        _, _, value = (await cookie_of(nobody, system.ann())).partition("=")
        for name in OTHER_NAMES:
            head = nobody.head("/rpc/listTests", "Connection: close")
            cookie = b"Cookie: " + name + b"=" + value.encode() + b"\r\n\r\n"
            assert status_of(await nobody.raw(head[:-2] + cookie)) in (400, 401), name


@ATTACKS.attack("cookie: two of them, one the attacker's", "401, or the same reading everywhere; never both")
async def _(system: System) -> None:
    async with system.visitor() as nobody:
        mine, yours = await cookie_of(nobody, system.ann()), await cookie_of(nobody, system.bob())
        answer = await nobody.query("listTests", {"cookie": f"{mine}; {yours}"}, limit=200)
        assert not (system.alpha.test_id in answer.text and system.beta.test_id in answer.text)


@ATTACKS.attack("cookie: after it was signed out", "401")
async def _(system: System) -> None:
    async with system.visitor() as nobody:
        cookie = await cookie_of(nobody, system.ann())
        assert (await nobody.query("listTests", {"cookie": cookie})).status_code == 200
        signed_out = await nobody.rpc("signOut", headers={"cookie": cookie})
        assert signed_out.status_code in (200, 204)
        assert f"{SESSION}=" in signed_out.headers["set-cookie"]
        assert "max-age=0" in signed_out.headers["set-cookie"].lower() or "1970" in signed_out.headers["set-cookie"]


@ATTACKS.attack("cookie: signing in with what opens nothing", "401, no cookie, nothing of it in the log")
async def _(system: System) -> None:
    async with system.visitor() as nobody:
        cookie = (await cookie_of(nobody, system.ann())).partition("=")[2]
        for given in (system.other_keys.good(), cookie, "", "x", None, 7, ["a"], {"a": 1}, "a.b.c", "t" * 15_000):
            answer = await nobody.rpc("signIn", {"token": given})
            assert answer.status_code in (400, 401), (given, answer.text)
            assert "set-cookie" not in answer.headers


@ATTACKS.attack("cookie: a long life for a short token", "the session ends with its token")
async def _(system: System) -> None:
    async with system.visitor() as nobody:
        answer = await nobody.rpc("signIn", {"token": system.ann()})
        ages = [part for part in answer.headers["set-cookie"].lower().split(";") if "max-age" in part]
        assert all(int(part.split("=")[1]) <= 3600 for part in ages)
        cookie = answer.headers["set-cookie"].split(";")[0]
        session = (await nobody.query("getSession", {"cookie": cookie})).json()
        assert session["expiresAt"] <= now_ms() + 3600 * 1000


# -- pages of other sites --------------------------------------------------------------------------------------------


def _foreign_origins(port: int) -> tuple[str, ...]:
    return (
        "https://evil.example",
        "null",
        "file://",
        "http://127.0.0.1",
        f"http://127.0.0.1:{port + 1}",
        f"http://localhost:{port}",
        f"http://127.0.0.1:{port}.evil.example",
        f"http://evil.example@127.0.0.1:{port}",
        f"http://127.0.0.1:{port}@evil.example",
        f"http://sub.127.0.0.1:{port}",
        f"http://127.0.0.1:{port}, https://evil.example",
        "http://[",
        "",
    )


CHANGING: Final[dict[str, dict[str, Any]]] = {
    "submitTest": {"gameUrl": "http://93.184.216.34/"},
    "cancelTest": {"testId": "<alpha>"},
    "pinTest": {"testId": "<alpha>"},
    "deleteTest": {"testId": "<alpha>"},
    "signIn": {"token": "<token>"},
    "signOut": {},
    "getTicket": {},
    "shareTest": {"testId": "<alpha>", "forSeconds": 60},
    "createRun": {"title": "x"},
    "openShare": {"testId": "<alpha>", "secret": "x"},
}


def _cross_site(method: str, params: dict[str, Any]) -> Act:
    async def act(system: System) -> None:
        async with system.visitor() as browser:
            given = system.ann()
            cookie = await cookie_of(browser, given)
            filled = {
                name: {"<alpha>": system.alpha.test_id, "<token>": given}.get(str(value), value)
                for name, value in params.items()
            }
            for origin in _foreign_origins(system.edge.port):
                headers = {"cookie": cookie, "origin": origin}
                answer = await browser.rpc(method, filled, headers)
                assert (answer.status_code, code_of(answer)) == (403, "foreign_origin"), (origin, answer.text)
                assert "set-cookie" not in answer.headers
                assert answer.headers.get("access-control-allow-origin") is None
            for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""):
                answer = await browser.rpc(method, filled, {"cookie": cookie, "content-type": kind})
                assert 400 <= answer.status_code < 500, (kind, answer.text)
                assert "set-cookie" not in answer.headers
            got = await browser.http.get(f"/rpc/{method}", params=filled, headers={"cookie": cookie})
            assert got.status_code in (400, 405), got.text
        async with system.visitor(system.bob()) as bob:
            assert (await bob.query("listTests")).status_code == 200

    return act


for _method, _given in CHANGING.items():
    ATTACKS.add(f"cross-site: {_method} by a page of another site", "403 foreign_origin", _cross_site(_method, _given))


@ATTACKS.attack("cross-site: a POST with a cookie and without an Origin", "403, since every browser sends one")
async def _(system: System) -> None:
    async with system.visitor() as browser:
        cookie = await cookie_of(browser, system.ann())
        headers = {"cookie": cookie, "content-type": "application/json"}
        answer = await browser.http.post("/rpc/getTicket", content=b"{}", headers=headers)
        assert answer.status_code in (401, 403), answer.text


@ATTACKS.attack("cross-site: a socket with the cookie by a page of another site", "403 before the upgrade")
async def _(system: System) -> None:
    async with system.visitor() as browser:
        cookie = await cookie_of(browser, system.ann())
        for origin in _foreign_origins(system.edge.port):
            refused = await browser.refusal("", {"cookie": cookie, "origin": origin})
            assert refused.code == 403, (origin, refused)


@ATTACKS.attack("cross-site: a preflight of another site", "no permission")
async def _(system: System) -> None:
    async with system.visitor() as browser:
        headers = {
            "origin": "https://evil.example",
            "access-control-request-method": "POST",
            "access-control-request-headers": "authorization, content-type",
        }
        for path in ("/rpc/submitTest", "/rpc/signIn", "/"):
            answer = await browser.http.options(path, headers=headers)
            assert "access-control-allow-origin" not in answer.headers, answer.headers


test_attack = as_test(ATTACKS)
