"""Traces: nothing without a collector, contexts as W3C has them, limits, and collectors that misbehave."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from broker import tracing
from broker.config import TraceSettings
from broker.log import RateLimited
from tests.collector import Collector
from tests.harness import free_port, until

GIVEN = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
RUN = "4f9c2d3e-8a51-4c0b-9d57-2f1f6f0a7b11"
STATUS = b'{"type":"status","message":"x"}'
PROGRESS = b'{"type":"progress","message":"x"}'


@pytest.fixture
def ended(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Ends what a test has started; each begins with a full allowance and no trouble told."""
    monkeypatch.setattr(tracing, "_state", tracing._Tracing())
    monkeypatch.setattr(tracing, "_troubles", RateLimited(logging.getLogger("testcast.traces"), per_s=60.0))
    theirs = logging.getLogger("opentelemetry")
    before = theirs.propagate, list(theirs.handlers)
    yield
    tracing.stop(0.1)
    theirs.propagate, theirs.handlers[:] = before


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        (GIVEN, GIVEN),
        (GIVEN.encode(), GIVEN),
        (GIVEN[:-2] + "00", GIVEN[:-2] + "00"),
        (f"cc{GIVEN[2:]}-what-the-future-brings", GIVEN),
        (f"{GIVEN}-more", ""),
        (f"ff{GIVEN[2:]}", ""),
        (GIVEN.upper(), ""),
        (f"00-{'0' * 32}-b7ad6b7169203331-01", ""),
        (f"00-{'1' * 32}-{'0' * 16}-01", ""),
        (GIVEN[:-1], ""),
        (b"\xff\x00\r\n", ""),
        ("x" * 100_000, ""),
        (f"cc{GIVEN[2:]}-{'x' * 10_000}", ""),
        (None, ""),
        ("", ""),
    ],
    ids=range(15),
)
def test_a_context_is_taken_where_it_is_well_formed(given: str | bytes | None, taken: str) -> None:
    assert tracing.parsed(given) == taken


def test_nothing_is_imported_and_nothing_happens_without_a_collector() -> None:
    program = (
        "import sys; from broker import tracing; tracing.start('edge'); "
        "\nwith tracing.span('x') as span: assert span is tracing.NO_SPAN and tracing.headers() == {}"
        "\ntracing.step('phase 1'); tracing.note(a=1); tracing.stop()"
        "\nassert not tracing.on and not [each for each in sys.modules if each.startswith('opentelemetry')]"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", program], env={"PYTHONPATH": str(root)}, capture_output=True, timeout=60
    )
    assert done.returncode == 0, done.stderr


def test_without_the_extra_a_line_says_what_to_install(
    ended: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    tracing.start("edge", TraceSettings("http://127.0.0.1:1/v1/traces"))
    assert not tracing.on and "pip install 'testcast[traces]'" in caplog.text


async def test_spans_stand_below_one_another(ended: None) -> None:
    with Collector() as collector:
        tracing.start("agent", TraceSettings(f"{collector.url}/v1/traces"))
        with tracing.queued(GIVEN.encode(), 1, run=RUN):
            task = asyncio.create_task(attempt())
        await task
        assert not tracing.current(), "the trace was the task's"
        tracing.stop(30)
    spans = {each.name: each for each in collector.spans}
    assert {each.trace_id for each in collector.spans} == {GIVEN[3:35]}
    assert spans["queue wait"].parent_id == spans["attempt"].parent_id == GIVEN[36:52]
    assert spans["queue wait"].start_ns == 1_000_000 and spans["attempt"].attributes["testcast.outcome"] == "stored"
    assert spans["phase 1"].parent_id == spans["phase 2"].parent_id == spans["attempt"].span_id
    assert spans["phase 1"].end_ns <= spans["phase 2"].start_ns <= spans["phase 2"].end_ns <= spans["attempt"].end_ns
    assert spans["store"].parent_id == spans["phase 2"].span_id
    assert spans["store"].attributes["error.type"] == "ValueError" and "hush" not in repr(spans["store"])


async def attempt() -> None:
    with tracing.span("attempt"):
        tracing.note(outcome="stored", nothing=None)
        tracing.step("phase 1")
        tracing.step("phase 2")
        await asyncio.create_task(store())


async def store() -> None:
    tracing.store(RUN, STATUS).end(ValueError("hush"))


@pytest.mark.parametrize("sample", [0.0, 0.5])
def test_the_sample_decides_once_for_a_run(ended: None, sample: float) -> None:
    tracing.start("edge", TraceSettings("http://127.0.0.1:1/v1/traces", sample))
    for _ in range(50):
        with tracing.span("submit") as span:
            [context] = tracing.headers().values()
            assert tracing.is_sampled(context) == span.sampled and (sample or not span.sampled)
            assert tracing.store(RUN, STATUS).sampled == span.sampled


def test_a_flood_of_events_makes_few_spans(ended: None, monkeypatch: pytest.MonkeyPatch) -> None:
    tracing.start("edge", TraceSettings("http://127.0.0.1:1/v1/traces"))
    monkeypatch.setattr("broker.tracing.time.monotonic", lambda: 1000.0)
    with tracing.span("attempt"):
        assert sum(tracing.store(RUN, PROGRESS).sampled for _ in range(1000)) <= 100
        assert tracing.store(RUN, STATUS).sampled, "what is no progress is never left out"
    assert tracing.received(GIVEN.encode(), RUN, 1, 0) is None
    monkeypatch.setattr("broker.tracing.time.monotonic", lambda: 1001.0)
    assert tracing.received(GIVEN.encode(), RUN, 1, 0) is not None
    assert tracing.received(GIVEN[:-1].encode() + b"0", RUN, 1, 0) is None, "not sampled"
    assert tracing.received(b"nonsense", RUN, 1, 0) is None


@pytest.mark.parametrize("trouble", ["away", "hangs", "fails"])
async def test_a_collector_in_trouble_delays_nothing(
    ended: None, trouble: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(tracing, "_EXPORT_S", 0.5)
    monkeypatch.setattr(tracing, "_SEND_EVERY_MS", 20)
    with Collector(500 if trouble == "fails" else 0) as collector:
        url = f"http://127.0.0.1:{free_port()}" if trouble == "away" else collector.url
        tracing.start("edge", TraceSettings(f"{url}/v1/traces"))

        def told() -> list[str]:
            return [each.getMessage() for each in caplog.records if each.getMessage().startswith("spans do not reach")]

        async def until_told() -> None:
            while not told():
                with tracing.span("submit"):
                    await asyncio.sleep(0.02)

        async with asyncio.timeout(60):
            await until_told()
        for _ in range(10):
            with tracing.span("submit"):
                await asyncio.sleep(0.02)
        assert len(told()) == 1, told()
        with tracing.span("submit"):
            pass
        tracing.stop(0.05)
        assert not tracing.on and not collector.over.is_set(), "it did not wait for the collector"
        assert trouble == "away" or await until(lambda: collector.requests > 0)
