"""Log lines: their shape, what hostile values do to them, what is kept out of them, and rate limits."""

from __future__ import annotations

import asyncio
import gzip
import io
import logging
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker import config, log_setup
from broker.config import LogSettings
from broker.contract.errors import InvalidSetting
from broker.log import LimitedByKind, RateLimited, about, bound
from broker.log_lines import JsonLines, TextLines
from ws_edge.transport import told

RUN = "4f9c2d3e-8a51-4c0b-9d57-2f1f6f0a7b11"
HOSTILE = [
    "two\nlines",
    "\r\n2026-11-26 12:00:00,000 INFO testcast.edge: forged",
    "\x1b[2J\x1b]0;title\x07",
    "\x9b31mC1\x85next",
    "line\u2028and\u2029paragraph",
    "\u202egnol",
    "half a pair \ud800 and \udcff",
    "nul\0and\x7f",
    'quotes " and \\ and {"level":"error"}',
    "é漢字🎮",
    "x" * (1 << 20),
    "",
]
CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def record(text: str, *args: object, level: int = logging.INFO, **more: Any) -> logging.LogRecord:
    return logging.getLogger("testcast.edge").makeRecord(
        "testcast.edge", level, __file__, 1, text, args, more.pop("exc_info", None), extra=about(**more)
    )


def failure(message: str) -> Any:
    try:
        raise RuntimeError(message)
    except RuntimeError:
        return sys.exc_info()


def as_json(each: logging.LogRecord, part: str = "edge") -> dict[str, Any]:
    line = JsonLines(part).format(each)
    assert "\n" not in line and not CONTROL.search(line), line[:200]
    line.encode("utf-8")
    found: dict[str, Any] = orjson.loads(line)
    return found


def as_text(each: logging.LogRecord) -> str:
    line = TextLines().format(each)
    line.encode("utf-8")
    assert not CONTROL.search(line), line[:200]
    return line


def test_a_json_line_has_its_fields_in_order() -> None:
    line = as_json(record("run %s: %s", RUN, "stored", request="r1", viewer=None, held=3, code=4400))
    assert list(line) == ["time", "level", "logger", "message", "part", "process", "request", "held", "code", "run"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["time"])
    assert (line["level"], line["logger"], line["part"]) == ("info", "testcast.edge", "edge")
    assert (line["message"], line["run"]) == (f"run {RUN}: stored", RUN), "the run that a message names is a field"
    assert isinstance(line["process"], int) and (line["held"], line["code"]) == (3, 4400)


def test_a_text_line_shows_what_its_message_does_not() -> None:
    line = as_text(record("run %s: %s", RUN, "no", request="r1", reason="of a kind", held=2))
    shown = f'run {RUN}: no request=r1 reason="of a kind" (2 similar lines not shown)'
    assert line.endswith(f" INFO testcast.edge: {shown}")


@pytest.mark.parametrize("value", HOSTILE, ids=range(len(HOSTILE)))
def test_no_value_forges_a_line_or_controls_a_terminal(value: str) -> None:
    each = record("%s", value, reason=value, worker=value, exc_info=failure(value))
    line = as_json(each)
    assert set(line) == {"time", "level", "logger", "message", "part", "process", "reason", "worker", "error", "trace"}
    assert all(len(str(part)) < 17_000 for part in line.values())
    text = as_text(each).split("\n")
    assert len(text) > 3 and all(below.startswith("  ") for below in text[1:]), "a traceback is indented"
    assert sum(re.match(r"\d{4}-", each) is not None for each in text) == 1


@settings(max_examples=60)
@given(st.text(st.characters(exclude_categories=())), st.text(st.characters(exclude_categories=())))
def test_any_text_becomes_one_line(message: str, value: str) -> None:
    each = record("%s", message, reason=value)
    assert isinstance(as_json(each)["message"], str)
    assert "\n" not in as_text(each)


class Broken:
    def __str__(self) -> str:
        raise ValueError("no text")


@pytest.mark.parametrize(
    "each",
    [
        record("%d of %s", "one"),
        record("%s", Broken()),
        record("x", reason=Broken(), count=2**80, share=float("nan")),
        record("x", message={"a": 1}),
    ],
    ids=["arguments", "message", "fields", "instead"],
)
def test_a_line_that_cannot_be_formatted_is_written_all_the_same(each: logging.LogRecord) -> None:
    assert as_json(each)["message"] and as_text(each)


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("lost nats://alice:s3cr3t@broker:4222", "s3cr3t"),
        ("Authorization: Bearer abc.def-123456789", "abc.def"),
        ("got eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiJhIn0.c2lnbmF0dXJl today", "eyJ"),
        ("GET https://edge.example/oidc/callback?code=hush&state=quiet", "hush"),
        ("GET https://edge.example/oidc/callback?code=hush&state=quiet", "quiet"),
        ("opened /tests/x#share=0123456789abcdef", "0123456789abcdef"),
        ("cookie __Host-testcast=abcdef; other=1", "abcdef"),
        ("seed SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY", "SUACSSL3"),
        ("ws://edge/ws?testId=1&ticket=abcdef", "abcdef"),
    ],
    ids=["address", "bearer", "token", "code", "state", "share", "cookie", "seed", "ticket"],
)
def test_what_looks_like_a_secret_is_left_out(text: str, secret: str) -> None:
    each = record("%s", text, reason=text, exc_info=failure(text))
    for line in (JsonLines("edge").format(each), TextLines().format(each)):
        assert secret not in line and "[secret]" in line, line


async def test_fields_are_bound_to_a_task_and_those_that_it_starts() -> None:
    async def line() -> dict[str, Any]:
        await asyncio.sleep(0)
        return as_json(record("x"))

    async def work(run: str) -> dict[str, Any]:
        with bound(run=run, worker=None):
            return await asyncio.create_task(line())

    found = await asyncio.gather(work("a"), work("b"), line())
    assert [each.get("run") for each in found] == ["a", "b", None] and "worker" not in found[0]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr("broker.log.time.monotonic", lambda: now[0])
    return now


def test_a_flood_is_one_line_an_interval_with_a_count(clock: list[float], caplog: pytest.LogCaptureFixture) -> None:
    line = RateLimited(logging.getLogger("testcast.x"), per_s=10)
    for _ in range(1000):
        line.warning("bad input: %s", "x", fields={"code": "bad"})
    clock[0] += 10
    line.warning("bad input: %s", "y")
    first, second = caplog.records
    assert "held" not in as_json(first) and as_json(first)["code"] == "bad"
    assert as_json(second)["held"] == 999 and as_json(second)["message"] == "bad input: y"
    assert as_text(second).endswith("bad input: y (999 similar lines not shown)")


def test_a_flood_of_one_kind_hides_no_other(clock: list[float], caplog: pytest.LogCaptureFixture) -> None:
    lines = LimitedByKind(logging.getLogger("testcast.x"), per_s=10)
    for number in range(3000):
        lines.of(number % 3).warning("kind %d", number % 3)
    assert len(caplog.records) == 3
    for number in range(3000):
        lines.of(f"of a client {number}").warning("kind %d", number)
    assert len(caplog.records) < 300, "kinds that never end share a limit"


def test_a_level_that_is_off_counts_nothing(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "testcast.x")
    line = RateLimited(logging.getLogger("testcast.x"), per_s=10)
    line.info("x")
    line.warning("y")
    assert [each.getMessage() for each in caplog.records] == ["y"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TESTCAST_LOG_FORMAT", "xml"),
        ("TESTCAST_LOG_LEVEL", "loud"),
        ("TESTCAST_LOG_LEVEL", "10"),
        ("TESTCAST_OTLP_SAMPLE", "2"),
        ("TESTCAST_OTLP_SAMPLE", "half"),
        ("TESTCAST_OTLP_ENDPOINT", "collector:4318"),
        ("TESTCAST_OTLP_ENDPOINT", "grpc://collector:4317"),
        ("TESTCAST_OTLP_ENDPOINT", "http://"),
        ("TESTCAST_OTLP_ENDPOINT", "http://a:99999"),
        ("TESTCAST_OTLP_ENDPOINT", "http://a b"),
        ("TESTCAST_OTLP_ENDPOINT", "http://user:hush@a"),
        ("TESTCAST_OTLP_ENDPOINT", "http://a/?key=hush"),
    ],
)
def test_a_wrong_setting_is_refused_by_its_name(name: str, value: str) -> None:
    read = config.logs if "LOG" in name else config.traces
    with pytest.raises(InvalidSetting, match=f"^{name}: ") as refused:
        read({name: value})
    assert "hush" not in str(refused.value)


def test_settings() -> None:
    assert config.logs({}) == ("text", "info") and config.logs({"TESTCAST_LOG_FORMAT": " JSON "}).format == "json"
    assert config.traces({}) == ("", 1.0)
    for given_, whole in [
        ("http://a:4318", "http://a:4318/v1/traces"),
        ("https://a/otlp/", "https://a/otlp/v1/traces"),
        ("http://[::1]:4318/v1/traces", "http://[::1]:4318/v1/traces"),
    ]:
        assert config.traces({"TESTCAST_OTLP_ENDPOINT": given_}).endpoint == whole


@pytest.fixture
def restored(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The log of this process as it was."""
    root, ours = logging.getLogger(), logging.getLogger("testcast")
    before = root.level, ours.level
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)
    yield
    logging.captureWarnings(False)
    for each in [each for each in root.handlers if isinstance(each, log_setup._Handler)]:
        root.removeHandler(each)
        each.close()
    root.setLevel(before[0])
    ours.setLevel(before[1])


def test_a_process_logs_as_it_is_set_up(restored: None, tmp_path: Path) -> None:
    file = tmp_path / "logs" / "up.log"
    log_setup.configure("up", LogSettings("json", "debug"), file=file)
    log_setup.always(worker="w1")
    logging.getLogger("testcast.edge").debug("ours")
    logging.getLogger("httpx").debug("GET http://a/?token=hush")
    log_setup.fatal("testcast up", "no")
    log_setup.configure("up", LogSettings("text", "warning"), file=file)
    logging.getLogger("testcast.edge").info("quiet")
    logging.getLogger("testcast.edge").warning("loud")
    lines = file.read_text().splitlines()
    first, last = orjson.loads(lines[0]), orjson.loads(lines[1])
    assert (first["message"], first["part"], first["worker"], first["level"]) == ("ours", "up", "w1", "debug")
    assert (last["message"], last["level"]) == ("testcast up: no", "critical")
    assert len(lines) == 3 and lines[2].endswith("WARNING testcast.edge: loud")


def test_a_stream_that_is_gone_ends_nothing(restored: None, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    log_setup.configure("edge", LogSettings("json"))
    stream.close()
    logging.getLogger("testcast.edge").warning("lost")


@pytest.mark.parametrize("form", ["json", "text"])
def test_the_process_says_why_it_ends(form: str) -> None:
    program = (
        "import sys, warnings; from broker import log_setup; log_setup.configure('edge'); "
        "warnings.warn('old'); raise RuntimeError('a\\nb é')"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        env={"TESTCAST_LOG_FORMAT": form, "PYTHONIOENCODING": "ascii", "PYTHONPATH": "."},
        cwd=Path(__file__).parents[2],
        timeout=60,
    )
    assert done.returncode == 1
    if form == "json":
        warned, ended = map(orjson.loads, done.stderr.splitlines())
        assert (warned["logger"], warned["level"]) == ("py.warnings", "warning")
        assert (ended["level"], ended["error"]) == ("critical", "RuntimeError: a\nb é")
    else:
        assert b"RuntimeError" in done.stderr


def test_a_page_as_the_body_of_an_error_is_not_written_into_the_log() -> None:
    page = b"<!doctype html>\n<html></html>"
    for body in (page, gzip.compress(page)):
        assert str(told.Message(body)) == "with a page that says so"
    assert str(told.Message(b'{"error":{"code":"x","message":"no such test"}}')) == "no such test"
