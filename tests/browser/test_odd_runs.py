"""What agents, other versions and broken messages may bring: one run never breaks another."""

from __future__ import annotations

import json
import re
from typing import Any, Final

import pytest
from playwright.async_api import Locator, Page, WebSocketRoute, expect

from broker import identity
from broker.clock import now_ms
from broker.jetstream.api import Streams
from tests.browser.conftest import Console
from tests.browser.dashboard import LIVE, badge, card, complete, connection_status, opened
from tests.conftest import Stack
from tests.harness import begin, publish
from tests.proxy import Proxy

pytestmark = pytest.mark.asyncio(loop_scope="session")  # one Chromium for all

ODD: Final[list[Any]] = [
    {"toString": 1, "valueOf": 1},
    [{"toString": 1, "valueOf": 1}],
    {"__proto__": {"x": 1}, "constructor": None},
    "66",
]
MARKS: Final = "\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u061c"


class Edge:
    """The socket of a page, on which a test says more than the edge does.

    Once it has said something of the list, the edge's own lists are left out: its runs go on, and its counts would take
    the place of the test's.
    """

    def __init__(self) -> None:
        self.sockets: list[WebSocketRoute] = []
        self._lists = False

    async def attach(self, page: Page) -> None:
        await page.route_web_socket("**/ws", self._on_socket)

    def _on_socket(self, socket: WebSocketRoute) -> None:
        def pass_on(message: str | bytes) -> None:
            is_list = isinstance(message, str) and message.startswith('{"type":"tests"')
            if not (is_list and self._lists):
                socket.send(message)

        socket.connect_to_server().on_message(pass_on)
        self.sockets.append(socket)

    def say(self, **message: Any) -> None:
        self._lists = self._lists or message["type"] == "tests"
        self.sockets[-1].send(json.dumps(message))

    def list(self, **fields: Any) -> str:
        """Puts a run into the list. Returns its test id."""
        test_id = identity.new_test_id()
        snapshot = {"testId": test_id, "seq": 1, "createdAt": now_ms(), "status": "running", "title": "Odd"} | fields
        self.say(type="tests", upserts=[snapshot])
        return test_id


async def test_one_run_never_breaks_another(stack: Stack, stack_streams: Streams, page: Page, console: Console) -> None:
    """A value that no reader can use in every place of an event, on the list and on the run's page."""
    odd = []
    for value in ODD:
        about = {"title": value, "gameUrl": value, "worker": value, "attempt": value, "handover": value}
        test_id = identity.new_test_id()
        await publish(stack_streams, test_id, "Queued", "status", status="queued", data=about)
        told = {"kind": value, "detail": value, "action": value, "control": value}
        await publish(stack_streams, test_id, "Told", data=told)
        await publish(stack_streams, test_id, "Again", "status", status="running", data=about)
        rubric = [{"part": "load", "score": 1, "max": 2, "reasons": [value]}, value, {"part": value, "score": value}]
        metrics = {"rubric": rubric, "controls": value, "tried": value, "fps": value}
        await publish(stack_streams, test_id, "Done", "complete", data={"score": 50, "metrics": metrics, "code": value})
        odd.append(test_id)
    good = await begin(stack_streams, "The good one")
    await opened(page, stack.edge_url)
    for test_id in odd:
        await expect(badge(card(page, test_id))).to_have_text("completed")
        await expect(card(page, test_id).locator(".ring-number")).to_have_text("50")
    await publish(stack_streams, good, "still drawn")
    await expect(card(page, good).locator(".message")).to_have_text("still drawn")
    for test_id in odd:
        await opened(page, f"{stack.edge_url}/tests/{test_id}")
        await expect(page.locator(".line-text").last).to_have_text("Done")
        await expect(page.locator(".metrics table")).to_be_visible()
        await expect(page.locator(".verdict .rubric-reason").first).not_to_be_empty()
    assert console.count("could not be shown") == 0
    await complete(stack_streams, good)


async def test_what_cannot_be_drawn_says_so(stack: Stack, page: Page, console: Console) -> None:
    """Where coercion did not help: a part of a card, and a whole card; once in the console, and only there."""
    edge = Edge()
    await edge.attach(page)
    await opened(page, stack.edge_url)
    await page.evaluate(
        """async () => {
          const { Card } = await import("/view/card.js");
          const { update } = Card.prototype;
          Card.prototype.update = function (run) {
            if (run.snapshot.title === "Whole") throw new Error("the whole card");
            if (run.snapshot.title === "Part") this.parts.ring.update = () => { throw new Error("the ring"); };
            update.call(this, run);
          };
        }"""
    )
    whole, part, good = edge.list(title="Whole"), edge.list(title="Part"), edge.list(title="Good")
    await expect(card(page, whole)).to_contain_text("could not be shown")
    await expect(card(page, part).locator(".unshown")).to_have_text("The score could not be shown")
    await expect(card(page, part).get_by_role("heading")).to_have_text("Part")
    await expect(card(page, good).get_by_role("heading")).to_have_text("Good")
    edge.say(type="tests", upserts=[snapshot_of(part, seq=2, message="goes on", title="Part")])
    await expect(card(page, part).locator(".message")).to_have_text("goes on")
    assert console.count("could not be shown") == 2


def snapshot_of(test_id: str, **fields: Any) -> dict[str, Any]:
    return {"testId": test_id, "seq": 1, "createdAt": now_ms(), "status": "running"} | fields


async def test_terminal_sequences_and_direction_marks(stack: Stack, stack_streams: Streams, page: Page) -> None:
    """In no text, attribute or title of the page, and not in what is copied."""
    evil = f"\x1b[31mred\x1b[0m {MARKS}txt.exe \x1b]0;owned\x07end \x9b1mbold\x1b"
    expected = "red txt.exe end bold"
    test_id = identity.new_test_id()
    about = {"title": evil, "gameUrl": f"http://game.example/{evil}", "worker": evil}
    await publish(stack_streams, test_id, evil, "status", status="queued", data=about)
    await publish(stack_streams, test_id, evil, phase="phase2", data={"kind": "console", "detail": f"D {evil}"})
    await publish(stack_streams, test_id, evil, "complete", data={"score": 5, "metrics": {evil: [evil, {evil: evil}]}})
    await page.context.grant_permissions(["clipboard-read", "clipboard-write"], origin=stack.edge_url)
    for path in ("/", f"/tests/{test_id}"):
        await opened(page, stack.edge_url + path)
        shown = page.locator("main") if path != "/" else card(page, test_id)
        await expect(shown.locator("h1, h2").first).to_have_text(expected)
        await expect(shown.locator(".message").first).to_have_text(expected)
        if path == "/":
            await shown.get_by_role("button", name="Live Feed").click()
        await expect(shown.locator(".line-text").last).to_have_text(expected)
        assert await left_over(page, shown) == []
    assert await page.title() == f"✓ 5 {expected} · completed · testcast"
    await page.get_by_role("button", name="Copy", exact=True).click()
    await expect(page.locator(".feed-copy")).to_contain_text("Copied")
    copied = str(await page.evaluate("navigator.clipboard.readText()"))
    assert re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]", copied) is None
    assert f"D {expected}" in copied


async def left_over(page: Page, shown: Locator) -> list[str]:
    found: list[str] = await shown.evaluate(
        r"""(root) => {
          const bad = /[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]|\[31m|owned/;
          const texts = [root.textContent];
          for (const element of root.querySelectorAll("*"))
            for (const name of ["title", "aria-label", "alt"]) texts.push(element.getAttribute(name) ?? "");
          return texts.filter((text) => bad.test(text));
        }"""
    )
    return found


async def test_a_cancelled_run_is_no_failed_one(stack: Stack, page: Page) -> None:
    edge = Edge()
    await edge.attach(page)
    await opened(page, stack.edge_url)
    ended = {"status": "failed", "finishedAt": now_ms(), "phase": "phase2"}
    called_off = edge.list(**ended, message="Cancelled by a viewer", error="Cancelled", errorCode="cancelled")
    broken = edge.list(**ended, message="No answer", error="No answer", errorCode="lost")
    counts = {"queued": 0, "running": 0, "completed": 0, "failed": 1, "cancelled": 1}
    edge.say(type="tests", upserts=[], counts=counts)
    await expect(badge(card(page, called_off))).to_have_text("cancelled")
    await expect(badge(card(page, broken))).to_have_text("failed")
    await expect(page.locator("button[data-filter=cancelled] .count")).to_have_text("1")
    await expect(page.locator("button[data-filter=all] .count")).to_have_text("2")
    for what in (".badge", ".message", ".step:nth-child(2) .dot"):
        red, green, blue = await colour(card(page, called_off).locator(what))
        assert max(red, green, blue) - min(red, green, blue) < 40, f"{what} is grey"
        red, green, blue = await colour(card(page, broken).locator(what))
        assert red > green + 60, f"{what} is red"
    await page.locator("button[data-filter=cancelled]").click()
    await expect(card(page, called_off)).to_be_visible()
    await expect(card(page, broken)).to_be_hidden()
    await page.locator("button[data-filter=failed]").click()
    await expect(card(page, called_off)).to_be_hidden()
    await expect(card(page, broken)).to_be_visible()


async def colour(shown: Locator) -> list[int]:
    css = str(
        await shown.evaluate("e => e.matches('.dot') ? getComputedStyle(e).borderTopColor : getComputedStyle(e).color")
    )
    return [int(n) for n in re.findall(r"\d+", css)[:3]]


async def test_a_queued_run_waits_and_does_not_stall(stack: Stack, page: Page) -> None:
    edge = Edge()
    await edge.attach(page)
    await opened(page, stack.edge_url)
    second = edge.list(status="queued", queuePlace=2, stalled=True)
    nobody = edge.list(status="queued", queuePlace=1, noAgent=True)
    begun = edge.list(status="running", stalled=True, updatedAt=now_ms())
    await expect(card(page, second).locator(".phase")).to_have_text("2nd in the queue")
    await expect(card(page, second).locator(".marks")).not_to_contain_text("stalled")
    await expect(card(page, nobody).locator(".marks .mark:visible")).to_have_text("no agent is running")
    await expect(card(page, begun).locator(".marks .mark:visible")).to_have_text(re.compile(r"^stalled since \d"))


async def test_what_is_wrong_is_said_and_which_version_runs(stack: Stack, stack_streams: Streams, page: Page) -> None:
    """The edge's own words, on both pages; and the events of an agent that could not be read."""
    edge = Edge()
    await edge.attach(page)
    answer = {"now": now_ms(), "version": "9.8.7", "degraded": ["the broker refuses writes: its disk is full"]}
    await page.route("**/rpc/getConfig*", lambda route: route.fulfill(json=answer))
    test_id = await begin(stack_streams)
    await opened(page, stack.edge_url)
    await expect(page.locator(".degraded")).to_have_text("The broker refuses writes: its disk is full.")
    await expect(page.locator(".foot")).to_contain_text("testcast 9.8.7")
    await opened(page, f"{stack.edge_url}/tests/{test_id}")
    await expect(page.locator(".degraded")).to_be_visible()
    await expect(page.locator(".line-text").last).to_have_text("Running")
    edge.say(type="unreadable", testId=test_id, seq=10**6, count=3, reasons={"no JSON": 2, "phase is no text": 1})
    await expect(page.locator(".feed-unread")).to_have_text(
        "3 events of this agent could not be read: no JSON (2); phase is no text"
    )
    await complete(stack_streams, test_id)
    await expect(badge(page.locator("main"))).to_have_text("completed")


async def test_the_lists_address(stack: Stack, stack_streams: Streams, page: Page) -> None:
    """Filter, search and open feeds come back on reload, on Back, and wherever the address is opened."""
    mark = identity.new_test_id()[:8]
    going, done = await begin(stack_streams, f"Going {mark}"), await begin(stack_streams, f"Done {mark}")
    await complete(stack_streams, done)
    await opened(page, stack.edge_url)
    await page.get_by_label("Search tests").fill(mark)
    await page.locator("button[data-filter=completed]").click()
    await expect(page.locator("article.card:visible")).to_have_count(1)
    await card(page, done).get_by_role("button", name="Live Feed").click()
    await page.reload()
    await expect(page.locator("button[data-filter=completed]")).to_have_attribute("aria-pressed", "true")
    await expect(page.get_by_label("Search tests")).to_have_value(mark)
    await expect(page.locator("article.card:visible")).to_have_count(1)
    await expect(card(page, done).locator(".line-text").last).to_contain_text("Test complete!")
    await card(page, done).get_by_role("heading").get_by_role("link").click()
    await expect(page.locator("h1")).to_have_text(f"Done {mark}")
    await page.go_back()
    await expect(page.locator("button[data-filter=completed]")).to_have_attribute("aria-pressed", "true")
    await expect(card(page, done).locator(".line-text").last).to_contain_text("Test complete!")
    await page.go_back()
    await expect(page.locator("button[data-filter=all]")).to_have_attribute("aria-pressed", "true")
    await expect(page.locator("article.card:visible")).to_have_count(2)
    await opened(page, f"{stack.edge_url}/?q={mark}&open={going}")
    await expect(card(page, going).locator(".line-text").last).to_have_text("Running")
    await complete(stack_streams, going)


async def test_a_replay_is_no_latency(stack_streams: Streams, page: Page, proxy: Proxy) -> None:
    """What was published while the page was away is none, also where it comes after the answer to the resume."""
    test_id = await begin(stack_streams)
    await page.add_init_script(
        """window.said = [];
        new MutationObserver(() => {
          const label = document.querySelector("#connection .connection-status-label");
          if (label) window.said.push(label.textContent);
        }).observe(document, { subtree: true, childList: true, characterData: true });"""
    )
    await opened(page, f"{proxy.url}/tests/{test_id}")
    last = page.locator(".line[data-seq] .line-text").last
    await expect(last).to_have_text("Running")
    proxy.sockets = "stall"
    proxy.cut()
    past = now_ms() - 50_000
    await publish(stack_streams, test_id, "While away", "status", status="running", timestamp=past)
    proxy.sockets = "pass"
    await expect(last).to_have_text("While away")
    await expect(connection_status(page)).to_have_text(LIVE)
    await publish(stack_streams, test_id, "Late", "status", status="running", timestamp=past)
    await expect(last).to_have_text("Late")
    await publish(stack_streams, test_id, "Here again", "status", status="running")
    await expect(last).to_have_text("Here again")
    await expect(connection_status(page)).to_have_text(re.compile(r"^Live · "))  # measured, so those before it were too
    said: list[str] = await page.evaluate("window.said")
    assert any(text.startswith("Live") for text in said)
    assert not [text for text in said if re.match(r"Live · [5-9]\d\.\d s", text)]
    await complete(stack_streams, test_id)


@pytest.mark.parametrize("said", [{"allowPrivate": True}, {"allowPrivate": False}, {}, {"allowPrivate": "1"}])
async def test_the_example_is_one_that_the_edge_lets_be_tested(stack: Stack, page: Page, said: dict[str, Any]) -> None:
    answer = json.dumps({"now": now_ms()} | said)
    await page.route("**/rpc/getConfig*", lambda route: route.fulfill(body=answer, content_type="application/json"))
    await opened(page, stack.edge_url)
    example = "http://localhost:3000/" if said.get("allowPrivate") is True else "https://my-game.example/"
    await expect(page.get_by_label("Address of the game")).to_have_attribute("placeholder", example)
    await page.get_by_role("button", name="Test this game").click()
    await expect(page.locator("#form-error")).to_have_text(f"Paste the address of a web game, for example {example}")


async def test_the_line_of_a_cancelled_run_is_no_problem(stack: Stack, stack_streams: Streams, page: Page) -> None:
    test_id = await begin(stack_streams)
    await publish(stack_streams, test_id, "Cancelled", "error", status="failed", data={"code": "cancelled"})
    await opened(page, f"{stack.edge_url}/tests/{test_id}")
    await expect(page.locator(".line-cancelled .line-text")).to_have_text("Cancelled")
    await expect(page.locator(".line-error")).to_have_count(0)
    await expect(page.get_by_role("button", name="Problems 0")).to_be_visible()
    await expect(page.locator(".failure")).to_have_text("Cancelled")  # once
