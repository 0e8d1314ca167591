"""The dashboard of an edge with authentication: signing in, its end, share links, and who may do what."""

from __future__ import annotations

import asyncio
import base64
import re
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import NamedTuple

import httpx
import orjson
import pytest
import pytest_asyncio
from playwright.async_api import Browser, Locator, Page, expect

from broker import identity
from broker.jetstream.api import Streams
from broker.jetstream.connection import Connection
from broker.local.embedded_server import EmbeddedServer
from testcast.local import access_files
from tests.browser.dashboard import LIVE, card, connection_status, feed_lines, opened
from tests.conftest import Stack
from tests.harness import NO_SUCH_TEST, EdgeProcess, PatientStreams, publish
from tests.oidc_provider import CLIENT_ID, SECRET, FakeProvider

pytestmark = pytest.mark.asyncio(loop_scope="session")  # one Chromium for all

SCRIPT = "<img src=x onerror=document.title='taken'><script>document.title='taken'</script>"
ENDED = re.compile("Your sign-in has ended")


class Place(NamedTuple):
    """Two edges with authentication on one broker: one that also has anonymous readers of a project, and one that has a
    provider of OpenID Connect."""

    edge: EdgeProcess
    open_edge: EdgeProcess
    nats_url: str
    provider: FakeProvider
    files: Path

    def token(self, subject: str = "ann", can: str = "list watch submit cancel") -> str:
        key = access_files.read_signing_key(self.files / access_files.SIGNING_KEY)
        grant = access_files.Grant(subject, ["web"], can.split(), 3600)
        return access_files.issue(key, grant, time.time())

    async def revoke(self, token: str) -> None:
        token_id = orjson.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))["jti"]
        admin = access_files.read_token(self.files / access_files.TOKEN)
        async with httpx.AsyncClient(base_url=self.edge.url, headers={"authorization": f"Bearer {admin}"}) as client:
            (await client.post("/rpc/revokeToken", json={"jti": token_id})).raise_for_status()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    directory = tmp_path_factory.mktemp("protected")
    server, provider = EmbeddedServer(directory / "nats"), FakeProvider()
    asyncio.run(server.start())
    access_files.make(directory / "access", time.time())
    (directory / "client-secret").write_text(SECRET)
    settings = access_files.access_settings(directory / "access")
    oidc = {
        "TESTCAST_OIDC_ISSUER": provider.issuer,
        "TESTCAST_OIDC_CLIENT_ID": CLIENT_ID,
        "TESTCAST_OIDC_CLIENT_SECRET_FILE": str(directory / "client-secret"),
        "TESTCAST_OIDC_NAME": "Example Login",
    }
    edges = [
        EdgeProcess(server.url, directory, **settings, **oidc),
        EdgeProcess(server.url, directory, **settings, TESTCAST_ACCESS_ANONYMOUS="open"),
    ]
    try:
        for edge in edges:
            asyncio.run(edge.start())
        yield Place(edges[0], edges[1], server.url, provider, directory / "access")
    finally:
        for edge in edges:
            asyncio.run(edge.stop())
        asyncio.run(server.stop())
        provider.stop()


@pytest_asyncio.fixture(loop_scope="session")
async def streams(place: Place) -> AsyncIterator[Streams]:
    connected = await Connection.connect(place.nats_url, name="test")
    yield PatientStreams(connected)
    await connected.close()


async def begin_in(streams: Streams, project: str, title: str = "Star Hopper") -> str:
    """A run of a project, which has begun."""
    test_id = identity.new_test_id()
    data = {"title": title, "gameUrl": "http://game.example/", "project": project}
    await publish(streams, test_id, "Queued", "status", status="queued", data=data)
    await publish(streams, test_id, "Running", "status", status="running", data={"attempt": 1, "worker": "w1"})
    return test_id


async def sign_in(page: Page, token: str) -> None:
    await page.locator("#token").fill(token)
    await page.get_by_role("button", name="Sign in", exact=True).last.click()


def account(page: Page) -> Locator:
    return page.locator("button.account")


async def test_signing_in_with_a_token(page: Page, place: Place, streams: Streams) -> None:
    await begin_in(streams, "web")
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    await page.goto(place.edge.url)
    await expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    await expect(page.locator("article.card")).to_have_count(0)
    await sign_in(page, "no token")
    await expect(page.get_by_role("alert")).to_contain_text("not accepted")
    token = place.token()
    await sign_in(page, token)
    await expect(account(page)).to_have_text("ann")
    await expect(page.locator("article.card")).to_have_count(1)
    await expect(connection_status(page)).to_have_text(LIVE)
    await account(page).click()
    await expect(page.locator("#account-panel")).to_contain_text("web")
    stored = await page.evaluate("JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie])")
    assert token not in stored and "testcast" not in stored.replace("testcast:", "")
    assert not any(token in url for url in requests)
    await page.get_by_role("button", name="Sign out").click()
    await expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    await expect(page.locator("article.card")).to_have_count(0)


async def test_signing_in_at_a_provider(page: Page, place: Place, streams: Streams) -> None:
    test_id = await begin_in(streams, "web")
    await page.goto(f"{place.edge.url}/tests/{test_id}")
    await page.get_by_role("link", name="Sign in with Example Login").click()
    await expect(page.get_by_role("heading", name="Star Hopper")).to_be_visible()
    assert page.url == f"{place.edge.url}/tests/{test_id}"
    await expect(account(page)).to_have_text("ann")
    await page.get_by_role("button", name="Account: ann").click()
    await page.get_by_role("button", name="Sign out").click()
    await expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    place.provider.deny = "access_denied"
    await page.get_by_role("link", name="Sign in with Example Login").click()
    await expect(page.get_by_role("alert")).to_contain_text("nobody is signed in")
    place.provider.deny = ""
    assert "sign-in-problem" not in page.url


async def test_the_end_of_a_sign_in_loses_nothing(page: Page, place: Place, streams: Streams) -> None:
    """The token is revoked while the page is open, and replaced: every event is there once."""
    test_id, token = await begin_in(streams, "web"), place.token()
    await page.goto(f"{place.edge.url}/tests/{test_id}")
    await sign_in(page, token)
    await publish(streams, test_id, "before the end")
    await expect(page.locator(".line-text", has_text="before the end")).to_be_visible()
    await place.revoke(token)
    await expect(page.get_by_role("heading", name=ENDED)).to_be_visible()
    await publish(streams, test_id, "while it is over")
    await expect(page.locator(".line-text", has_text="before the end")).to_be_attached()
    await sign_in(page, place.token())
    await expect(page.get_by_role("heading", name=ENDED)).to_be_hidden()
    await publish(streams, test_id, "after it")
    await expect(page.locator(".line-text", has_text="after it")).to_be_visible()
    lines = await feed_lines(page.locator(".run-feed"))
    assert lines[-3:] == ["before the end", "while it is over", "after it"]


async def test_share_links(page: Page, browser: Browser, place: Place, streams: Streams) -> None:
    test_id = await begin_in(streams, "web", f"Shared {SCRIPT}")
    other = await begin_in(streams, "web", "Another")
    await page.goto(f"{place.edge.url}/tests/{test_id}")
    await sign_in(page, place.token(subject=f"ann {SCRIPT}"))
    await page.get_by_role("button", name="Share").click()
    await page.get_by_label("For", exact=True).select_option("1 day")
    await page.get_by_role("button", name="Make a link").click()
    shown = re.compile(rf"{re.escape(place.edge.url)}/tests/{test_id}#share=[\w-]{{40,}}")
    await expect(page.get_by_label("The link")).to_have_value(shown)
    link = await page.get_by_label("The link").input_value()
    await expect(page.locator(".shares li")).to_have_count(1)
    context = await browser.new_context(viewport={"width": 1280, "height": 800})
    reader = await context.new_page()
    requests: list[str] = []
    reader.on("request", lambda request: requests.append(f"{request.url} {request.headers.get('referer')}"))
    await reader.goto(link)
    await expect(reader.get_by_role("heading", name="Shared")).to_be_visible()
    await expect(connection_status(reader)).to_have_text(LIVE)
    assert reader.url == f"{place.edge.url}/tests/{test_id}", "the secret is out of the address"
    assert not any(link.partition("=")[2] in request for request in requests)
    for name in ("All tests", "Cancel", "Share", "Test again"):
        await expect(reader.get_by_text(name, exact=True).filter(visible=True)).to_have_count(0)
    await publish(streams, test_id, "seen by who has the link")
    await expect(reader.locator(".line-text", has_text="seen by who has the link")).to_be_visible()
    await reader.goto(f"{place.edge.url}/tests/{other}")
    await expect(reader.get_by_role("heading", name="No such test")).to_be_visible()
    await expect(reader.get_by_role("link", name="All tests")).to_be_hidden()
    await reader.goto(place.edge.url)
    await expect(reader.get_by_role("heading", name="Sign in")).to_be_visible()
    await reader.goto(f"{place.edge.url}/tests/{test_id}")
    await expect(reader.get_by_role("heading", name="Shared")).to_be_visible()
    await page.locator(".shares").get_by_role("button", name="Revoke").click()
    await expect(page.locator(".shares li")).to_have_count(0)
    gone = await context.new_page()
    await gone.goto(link)
    await expect(gone.get_by_role("heading", name="This link no longer works")).to_be_visible()
    await expect(reader.locator(".notice")).to_contain_text("the link has ended")
    await expect(reader.get_by_role("heading", name="Shared")).to_be_visible()
    assert {await each.evaluate("document.querySelectorAll('img[src=x]').length") for each in (page, reader)} == {0}
    assert "taken" not in {await page.title(), await reader.title()}
    await context.close()


async def test_readers_without_an_account(page: Page, place: Place, streams: Streams) -> None:
    seen, hidden = await begin_in(streams, "open", "Public run"), await begin_in(streams, "web", "Private run")
    await opened(page, place.open_edge.url)
    await expect(card(page, seen)).to_be_visible()
    await expect(card(page, hidden)).to_have_count(0)
    await expect(page.locator("form.submit")).to_have_count(0)
    await expect(card(page, seen).get_by_role("button", name="Cancel")).to_be_hidden()
    for missing in (hidden, NO_SUCH_TEST):
        await page.goto(f"{place.open_edge.url}/tests/{missing}")
        await expect(page.get_by_role("heading", name="No such test")).to_be_visible()
        await expect(page.get_by_role("button", name="Sign in")).to_be_visible()
    await page.get_by_role("button", name="Sign in").click()
    await sign_in(page, place.token(can="list watch"))
    await expect(account(page)).to_have_text("ann")
    await page.goto(place.open_edge.url)
    await expect(page.locator(".no-submit")).to_contain_text("not submit")
    await expect(card(page, hidden)).to_be_visible()


async def test_where_nobody_is_asked_there_is_nothing_of_this(page: Page, stack: Stack) -> None:
    loaded: list[str] = []
    page.on("request", lambda request: loaded.append(request.url))
    await opened(page, stack.edge.url)
    assert await page.locator(".account-box, .notice, .sign-in, .share-box").count() == 0
    assert not any(re.search("signed-access|sign-in|account|share|getSession", url) for url in loaded)
