"""`testcast top`: fetching pages from servers of every kind, the tables, the live view, and the command."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import orjson
import pytest
from prometheus_client import generate_latest
from rich.console import Console

from broker.contract.errors import BadInput
from broker.metrics.figures import counter, gauge, gauges
from broker.metrics.merge import Page
from testcast.cli.terminal import Terminal
from testcast.cli.top import source as source_module
from testcast.cli.top import tables
from testcast.cli.top.app import TopApp
from testcast.cli.top.command import TextualMissing, TopRequest, top
from testcast.cli.top.overview import Source, overview
from testcast.cli.top.source import Fetched, client, metrics_url, name_of
from testcast.client.errors import ConnectionLost
from tests.harness import free_port, until

OURS: Final = generate_latest(
    Page(
        [
            gauge("testcast_edge_ready", "", 1),
            gauge("testcast_edge_sockets", "", 12),
            gauges("testcast_runs", "", "status", {"running": 3}),
            counter("testcast_edge_deliveries_total", "", 7),
        ]
    )
)
HEAD: Final = b"HTTP/1.1 %s\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s"


def answer(body: bytes, status: bytes = b"200 OK") -> bytes:
    return HEAD % (status, len(body), body)


@asynccontextmanager
async def serving(*answers: bytes | None) -> AsyncIterator[str]:
    """Gives these answers one after the other, the last one for ever; None: none at all. Yields host and port."""
    left = list(answers)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        given = left.pop(0) if len(left) > 1 else left[0]
        if given is None:
            await reader.read()  # until the client gives up
        else:
            writer.write(given)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def fetched(where: str, timeout_s: float = 30) -> Source:
    async with client(["http:"]) as http:
        found = Fetched(metrics_url(where), http, timeout_s)
        await found.update()
        return found.source


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (answer(b"<!DOCTYPE html><html>"), "a web page, and no metrics: these have a port of their own"),
        (answer(b"no metrics\x00 at all {"), "not a page of metrics"),
        (answer(b"\xff\xfe"), "not a page of metrics"),
        (answer(b""), "metrics, but none of testcast's"),
        (answer(b"up 1\n"), "metrics, but none of testcast's"),
        (answer(b"", b"401 Unauthorized"), "not allowed (401): give a user"),
        (answer(b"", b"403 Forbidden"), "not allowed (403)"),
        (answer(b"", b"404 Not Found"), "nothing at /metrics (404)"),
        (answer(b"", b"502 Bad Gateway"), "the server answers 502"),
        (
            b"HTTP/1.1 302 Found\r\nLocation: https://x/sign-in\r\nContent-Length: 0\r\n\r\n",
            "moved to https://x/sign-in",
        ),
        (b"SSH-2.0-OpenSSH\r\n", "the connection broke"),
        (b"", "the connection broke"),
    ],
    ids=["html", "text", "bytes", "empty", "others", "401", "403", "404", "502", "moved", "ssh", "closed"],
)
async def test_what_is_no_page_of_ours_is_told_with_what_to_do(given: bytes, expected: str) -> None:
    async with serving(given) as where:
        found = await fetched(where)
    assert found.error.startswith(expected)
    assert found.history.newest is None


async def test_a_huge_answer_is_not_read_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source_module, "MAX_BYTES", 100_000)
    async with serving(answer(b"testcast_edge_ready 1\n" * 20_000)) as where:
        assert "larger than" in (await fetched(where)).error


async def test_nothing_listens() -> None:
    found = await fetched(f"127.0.0.1:{free_port()}")
    assert found.error.startswith("nothing listens there: turn metrics on with TESTCAST_METRICS_PORT=9464")


async def test_a_slow_server_is_late_at_first_and_its_last_page_stays() -> None:
    async with serving(None) as where:
        assert (await fetched(where, 0.05)).error == "no answer within 0.05 s"
    async with serving(answer(OURS), None) as where, client(["http:"]) as http:
        slow = Fetched(metrics_url(where), http)
        await slow.update()
        slow._timeout_s = 0.05
        await slow.update()
    assert (slow.source.error, slow.source.late) == ("", True)
    assert overview([slow.source]).sockets == 12


@pytest.mark.parametrize(
    ("given", "url", "name"),
    [
        ("edge:9464", "http://edge:9464/metrics", "edge:9464"),
        ("http://edge:9464/", "http://edge:9464/metrics", "edge:9464"),
        ("https://a:b@edge/own/metrics", "https://a:b@edge/own/metrics", "edge/own/metrics"),
        (" [::1]:9464 ", "http://[::1]:9464/metrics", "[::1]:9464"),
    ],
)
def test_an_address_needs_no_more_than_a_host(given: str, url: str, name: str) -> None:
    assert metrics_url(given) == url
    assert name_of(url) == name


@pytest.mark.parametrize("given", ["", "http://", "ftp://a/b", "http://a:99999", "http://a:0/", "http://a\x1b/"])
def test_what_is_no_address_is_refused(given: str) -> None:
    with pytest.raises(BadInput, match="is not the address of metrics"):
        metrics_url(given)


@pytest.mark.parametrize("width", [24, 40, 59, 60, 80, 100, 140, 240])
async def test_no_line_is_wider_than_the_terminal_and_the_first_column_is_whole(width: int) -> None:
    down = Source("down:1")
    down.error = "nothing listens there: " + "a very long reason " * 9
    async with serving(answer(OURS)) as where:
        view = overview([await fetched(where), down])
    console = Console(width=width, color_system=None)
    with console.capture() as shown:
        console.print(tables.whole(view, width))
    lines = shown.get().splitlines()
    assert max(map(len, lines)) <= width
    assert any(line.startswith(where[: min(len(where), width // 3)]) for line in lines)
    assert "running" in shown.get() and "—" in shown.get()


async def test_the_live_view_goes_on_with_a_source_down_and_obeys_its_keys() -> None:
    async with serving(answer(OURS)) as where, client(["http:"]) as http:
        sources = [Fetched(metrics_url(each), http) for each in (where, f"127.0.0.1:{free_port()}")]
        app = TopApp(sources, 0.25)
        async with app.run_test(size=(100, 30)) as pilot:

            def shown() -> str:
                lines = ("".join(segment.text for segment in strip) for strip in app.screen._compositor.render_strips())
                return "\n".join(lines)

            await until(lambda: "nothing listens there" in shown() and "12" in shown(), within_s=30, what="both told")
            assert "running" in shown() and "every 0.25 s" in shown() and "sort: name" in shown()
            await pilot.press("s")
            await until(lambda: "sort: state" in shown(), within_s=30, what="another order")
            await pilot.press("p")
            await until(lambda: "PAUSED" in shown() and "go on" in shown(), within_s=30, what="it pauses")
            await pilot.press("p")
            await until(lambda: "PAUSED" not in shown(), within_s=30, what="it goes on")
            await pilot.press("question_mark")
            await until(lambda: "estimated from histograms" in shown(), within_s=30, what="the help is there")
            await pilot.press("escape")
            await until(lambda: "estimated from histograms" not in shown(), within_s=30, what="the help is gone")
            await pilot.resize_terminal(40, 30)
            await until(lambda: "Runs" in shown(), within_s=30, what="the narrow form")
            await pilot.press("q")
        assert app.return_code == 0


async def test_once_prints_one_table_and_json_one_object(capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    later = OURS.replace(b"deliveries_total 7.0", b"deliveries_total 9.0")
    async with serving(answer(OURS), answer(later)) as where:
        assert await top(TopRequest((where,), 0.05, False, False), Terminal()) == 0  # standard output is no terminal
    text = capsysbinary.readouterr().out.decode()
    assert "running" in text and "deliveries" in text and "\x1b" not in text
    assert "…" not in text and "events/s" in text and max(map(len, text.splitlines())) > 100, "in a pipe all is shown"
    assert re.search(r"running +3 ", text)
    gone = f"127.0.0.1:{free_port()}"
    async with serving(answer(OURS), answer(later)) as where:
        assert await top(TopRequest((where, gone), 0.05, False, True), Terminal()) == 0
    found = orjson.loads(capsysbinary.readouterr().out)
    assert found["runs"] == {"running": 3, "queued": None, "completed": None, "failed": None, "cancelled": None}
    assert found["deliveries_per_s"] > 0 and found["events_per_s"] is None
    assert [each["error"] is None for each in found["sources"]] == [True, False]
    assert [each["state"] for each in found["processes"]] == ["ready", "down"]


async def test_without_any_page_it_ends_with_the_reason() -> None:
    with pytest.raises(ConnectionLost, match="nothing listens there"):
        await top(TopRequest((f"127.0.0.1:{free_port()}",), 1, False, False), Terminal())


async def test_without_textual_the_live_view_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    terminal.out = Console(force_terminal=True)
    monkeypatch.setattr("sys.stdin", type("Tty", (), {"isatty": staticmethod(lambda: True)})())
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(TextualMissing, match=r"pip install 'testcast\[top\]'"):
        await top(TopRequest(("127.0.0.1:1",), 1, False, False), terminal)


def test_the_command_alone_does_not_import_what_draws() -> None:
    before = set(sys.modules)
    import testcast.cli.main

    assert testcast.cli.main and "textual" not in set(sys.modules) - before
