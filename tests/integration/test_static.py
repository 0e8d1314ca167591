"""The dashboard's files as an edge serves them."""

from __future__ import annotations

import gzip
from pathlib import Path

import httpx
import pytest

from broker.export.comments import without_comments
from tests.conftest import Stack
from tests.harness import NO_SUCH_TEST
from ws_edge.api.static import PAGES, rooted

UI = Path(__file__).parents[2] / "dashboard_ui"
FILES = sorted(file.relative_to(UI).as_posix() for file in UI.rglob("*") if file.is_file())


async def ask(stack: Stack, path: str, method: str = "GET", **headers: str) -> tuple[httpx.Response, bytes]:
    """The answer, and its body as it came."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    async with (
        httpx.AsyncClient(base_url=stack.edge_url) as client,
        client.stream(method, path, headers={"accept-encoding": "identity"} | named) as answer,
    ):
        return answer, b"".join([piece async for piece in answer.aiter_raw()])


@pytest.mark.parametrize("name", FILES)
async def test_each_file_comes_whole_plain_and_compressed(stack: Stack, name: str) -> None:
    expected = (UI / name).read_bytes()
    if name.endswith(".html"):  # in the sources an address that begins with a slash leads to the edge's root
        expected = rooted(expected, "./")
        assert b'"/' not in expected and expected.count(b'"./') > 30
    elif name.endswith((".js", ".css")):
        expected = without_comments(expected)
    plain, body = await ask(stack, f"/{name}")
    assert body == expected
    assert "content-encoding" not in plain.headers
    compressed, body = await ask(stack, f"/{name}", accept_encoding="br, gzip;q=0.8")
    assert compressed.headers["content-encoding"] == "gzip"
    assert gzip.decompress(body) == expected
    assert plain.headers["vary"] == compressed.headers["vary"] == "accept-encoding"


@pytest.mark.parametrize("path", ["/", "/view/main.js", f"/tests/{NO_SUCH_TEST}"])
async def test_files_are_revalidated_and_mostly_unchanged(stack: Stack, path: str) -> None:
    answer, _ = await ask(stack, path)
    assert answer.headers["cache-control"] == "no-cache"
    etag = answer.headers["etag"]
    for asked in (etag, etag.removeprefix("W/"), f'"other", {etag}', f'"a,b",{etag} ,', "*"):
        same, body = await ask(stack, path, if_none_match=asked)
        assert (same.status_code, body, same.headers["etag"]) == (304, b"", etag), asked
        assert "content-security-policy" in same.headers
    for asked in ('"other"', etag.strip('W/"'), f"{etag} junk", '"*", "other"'):
        assert (await ask(stack, path, if_none_match=asked))[0].status_code == 200, asked


@pytest.mark.parametrize("accepted", ["", "br", "gzip;q=0", "gzip; q=0.00, identity", "xgzip"])
async def test_only_clients_that_accept_gzip_get_it(stack: Stack, accepted: str) -> None:
    answer, body = await ask(stack, "/view/main.js", accept_encoding=accepted)
    assert "content-encoding" not in answer.headers
    assert body == without_comments((UI / "view/main.js").read_bytes())


async def test_head_has_the_headers_and_no_body(stack: Stack) -> None:
    whole, body = await ask(stack, "/style.css")
    head, nothing = await ask(stack, "/style.css", "HEAD")
    assert nothing == b""
    assert int(head.headers["content-length"]) == len(body)
    assert {name: head.headers[name] for name in ("etag", "content-type", "vary")} == {
        name: whole.headers[name] for name in ("etag", "content-type", "vary")
    }


async def test_types_and_security(stack: Stack) -> None:
    for name, media_type in {
        "view/main.js": "text/javascript; charset=utf-8",
        "style.css": "text/css; charset=utf-8",
        "": "text/html; charset=utf-8",
        "favicon.svg": "image/svg+xml",
    }.items():
        answer, _ = await ask(stack, f"/{name}")
        assert answer.headers["content-type"] == media_type
        assert answer.headers["x-content-type-options"] == "nosniff"
        policy = answer.headers["content-security-policy"]
        assert ("script-src 'self'" in policy) == (name == "")
        assert not any(loose in policy for loose in ("unsafe", "ws:", "wss:", "*", "http"))


@pytest.mark.parametrize(
    "path",
    [
        "/nothing.js",
        "/main.js",
        "/client",
        "/client/nothing.js",
        "/nothing/main.js",
        "/view/../main.js",
        "/../pyproject.toml",
        "/%2e%2e/pyproject.toml",
        "/..%2fpyproject.toml",
        "/view/..%2findex.html",
        "/view/%2e%2e/%2e%2e/pyproject.toml",
        "/client/..%2f..%2fpyproject.toml",
        "/client/%2fetc%2fpasswd",
    ],
)
async def test_nothing_else_is_served(stack: Stack, path: str) -> None:
    answer, _ = await ask(stack, path)
    assert answer.status_code == 404
    assert (await ask(stack, "/view/main.js", "POST"))[0].status_code == 405


async def test_the_public_addresses_of_the_client(stack: Stack) -> None:
    """Other pages import /testcast.js and its types; all else may move."""
    module, body = await ask(stack, "/testcast.js")
    assert module.headers["content-type"] == "text/javascript; charset=utf-8"
    assert b'export * from "./client/testcast.js"' in body
    types, body = await ask(stack, "/testcast.d.ts")
    assert types.status_code == 200
    assert body == (UI / "client/testcast.d.ts").read_bytes()
    assert b"import" not in body.split(b"export", 1)[0], "complete by itself"


async def test_a_run_s_page_with_a_slash_at_its_end(stack: Stack) -> None:
    answer, _ = await ask(stack, f"/tests/{NO_SUCH_TEST}/")
    assert (answer.status_code, answer.headers["location"]) == (307, f"../{NO_SUCH_TEST}")


async def test_the_page_of_a_malformed_test_id_has_status_404(stack: Stack) -> None:
    answer, body = await ask(stack, "/tests/not-an-id")
    assert (answer.status_code, answer.headers["x-error"]) == (404, "invalid_test_id")
    assert body == rooted((UI / "run.html").read_bytes(), "../")
    assert "etag" not in answer.headers


async def test_a_further_page_has_a_route_if_its_file_exists(stack: Stack) -> None:
    for address, name in PAGES.items():
        exists = (UI / name).is_file()
        answer, body = await ask(stack, address)
        assert answer.status_code == (200 if exists else 404), address
        if exists:
            assert body == rooted((UI / name).read_bytes(), "./")
            assert "script-src 'self'" in answer.headers["content-security-policy"]
