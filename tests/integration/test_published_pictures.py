"""Pictures on their way from an agent to the broker."""

from __future__ import annotations

import orjson
import pytest

from agent_worker.publish.run import TestRun
from broker.contract import subjects
from broker.contract.errors import Fenced
from broker.jetstream.api import Streams
from broker.local.embedded_server import EmbeddedServer
from tests.harness import JPEG, event_log


async def test_screenshots_newest_wins_and_bad_ones_hurt_nobody(
    streams: Streams, caplog: pytest.LogCaptureFixture
) -> None:
    async with TestRun.create(event_log(streams), title="Game") as run:
        await run.progress("Look")
        await run.flush()
        for number in range(50):
            await run.screenshot(JPEG + b"%d" % number)
        await run.screenshot(JPEG + b"x" * 64 * 1024)
        await run.screenshot(JPEG + b"x" * 80 * 1024)
        await run.screenshot(b"GIF89a")
        await run.complete(score=1)
    statistics = run.statistics()
    assert (statistics.screenshots_refused, statistics.screenshots_failed) == (3, 0)
    found = (await streams.read(subjects.FRAMES, subjects.frames(run.test_id), 0, 100)).messages
    assert len(found) == statistics.screenshots <= 3
    assert found[-1].data == JPEG + b"49"
    stored = (await streams.read(subjects.EVENTS, subjects.events(run.test_id), 0, 100)).messages
    assert found[-1].header("Testcast-Seq") == str(stored[2].seq), "the newest event that was stored by then"
    last = await streams.last(subjects.EVENTS, subjects.events(run.test_id))
    assert last is not None and found[-1].stored_ms <= last.stored_ms, "the last picture is there before the end"
    assert len([each for each in caplog.messages if "nor are others like it" in each]) == 2


async def test_a_run_that_was_taken_over_publishes_no_more_pictures(streams: Streams) -> None:
    first = TestRun.create(event_log(streams), title="Game")
    async with first, TestRun.join(event_log(streams), first.test_id) as second:
        with pytest.raises(Fenced):
            await first.progress("still here")
            await first.flush()
        await first.screenshot(JPEG + b"of the first")
        await second.screenshot(JPEG + b"of the second")
        await second.complete(score=1)
        first.leave()
    found = (await streams.read(subjects.FRAMES, subjects.frames(first.test_id), 0, 100)).messages
    assert [each.data for each in found] == [JPEG + b"of the second"]


async def test_a_picture_of_evidence_belongs_to_its_event_for_good(streams: Streams) -> None:
    async with TestRun.create(event_log(streams), title="Game") as run:
        await run.screenshot(JPEG + b"ordinary")
        await run.evidence("It breaks", JPEG + b"one", kind="finding", finding={"id": "f1"})
        await run.screenshot(JPEG + b"later")
        await run.evidence("It breaks again", JPEG + b"two", kind="finding", finding={"id": "f2"})
        await run.evidence("No picture could be had", None, kind="finding")
        await run.evidence("This is none", b"GIF89a", kind="finding")
        await run.complete(score=1)
    events = (await streams.read(subjects.EVENTS, subjects.events(run.test_id), 0, 100)).messages
    told = {orjson.loads(each.data)["message"]: each.seq for each in events}
    pictures = (await streams.read(subjects.FRAMES, subjects.frames(run.test_id), 0, 100)).messages
    seqs = {each.data.removeprefix(JPEG): int(each.header("Testcast-Seq") or 0) for each in pictures}
    assert (seqs[b"one"], seqs[b"two"]) == (told["It breaks"], told["It breaks again"])
    in_order = [int(each.header("Testcast-Seq") or 0) for each in pictures]
    assert in_order == sorted(in_order), "a picture below one before it is not shown"
    assert {"No picture could be had", "This is none"} <= told.keys()
    assert run.statistics().screenshots_refused == 1


async def test_evidence_is_not_waited_for_without_a_broker(streams: Streams, nats_server: EmbeddedServer) -> None:
    run = TestRun.create(event_log(streams), title="Game")
    async with run:
        await run.flush()
        await nats_server.stop()
        await run.evidence("It breaks", JPEG + b"one", kind="finding")
        assert run.statistics().pending == 1, "the line is kept to be stored"
        run.leave()
