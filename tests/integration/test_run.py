"""TestRun against a real broker: stored once and in order through outages, and silent once fenced.

Longer than 400 lines: many small tests that share the helpers at the top.
"""

from __future__ import annotations

import asyncio
import signal
import time
from typing import Any

import orjson
import pytest

from agent_worker.publish import run as run_module
from agent_worker.publish.outbox import MAX_PENDING_BYTES, MAX_PENDING_EVENTS
from agent_worker.publish.run import TestRun
from agent_worker.publish.writer import History, read_history
from broker import identity
from broker.clock import now_ms
from broker.contract import subjects
from broker.contract.errors import AlreadyEnded, BadInput, BrokerUnavailable, Fenced, InvalidTestId, NotFound
from broker.contract.events import Event
from broker.contract.ports import Ack
from broker.contract.snapshot import Snapshot
from broker.jetstream import runs, topology
from broker.jetstream.api import Stored, Streams
from broker.jetstream.connection import Connection
from broker.jetstream.event_log import JetStreamLog
from broker.jetstream.parser import Message
from broker.local.embedded_server import EmbeddedServer
from tests.harness import event_log, until


async def stored(streams: Streams, test_id: str) -> list[Stored]:
    page = await streams.read(subjects.EVENTS, subjects.events(test_id), 0, 20_000, max_bytes=64 << 20)
    assert page.complete
    return page.messages


async def events(streams: Streams, test_id: str) -> list[dict[str, Any]]:
    return [orjson.loads(message.data) for message in await stored(streams, test_id)]


async def messages(streams: Streams, test_id: str) -> list[str]:
    return [event["message"] for event in await events(streams, test_id)]


async def snapshot(streams: Streams, test_id: str) -> Snapshot:
    found = (await runs.read(event_log(streams), test_id)).snapshot
    assert found is not None
    return found


async def test_each_attempt_names_the_project_again(nats_server: EmbeddedServer, streams: Streams) -> None:
    with pytest.raises(BadInput):
        TestRun.create(nats_server.url, title="My game", project="Team A")
    async with TestRun.create(nats_server.url, title="My game", project="team-a") as run:
        await run.hand_on("elsewhere")
    async with TestRun.join(nats_server.url, run.test_id) as again:
        await again.complete(score=1)
    named = [each.get("data", {}).get("project") for each in await events(streams, run.test_id)]
    assert named == ["team-a", "team-a", None, "team-a", None]
    assert (await snapshot(streams, run.test_id)).project == "team-a"


async def test_a_run_from_its_first_event_to_its_score(nats_server: EmbeddedServer, streams: Streams) -> None:
    async with TestRun.create(nats_server.url, title="My game", game_url="https://game.example/", worker="me") as run:
        await run.phase(1, "Loading")
        await run.progress("Level 1 loaded", level=1)
        await run.phase(2)
        await run.action("Testing WASD movement")
        await run.complete(score=78, metrics={"fps": 60})

    told = await events(streams, run.test_id)
    assert [(each["type"], each.get("status"), each.get("phase"), each["message"]) for each in told] == [
        ("status", "queued", None, "Queued: My game"),
        ("status", "running", None, "Started by me"),
        ("status", "running", "phase1", "Loading"),
        ("progress", None, "phase1", "Level 1 loaded"),
        ("status", "running", "phase2", "Discovering controls"),
        ("progress", None, "phase2", "Testing WASD movement"),
        ("complete", None, "phase2", "Test complete! Score 78/100"),
    ]
    assert [each.get("data") for each in told] == [
        {"title": "My game", "gameUrl": "https://game.example/"},
        {"attempt": 1, "worker": "me"},
        None,
        {"level": 1},
        None,
        {"action": "Testing WASD movement"},
        {"score": 78, "metrics": {"fps": 60}},
    ]
    end = await snapshot(streams, run.test_id)
    assert (end.status, end.score, end.attempt, end.worker, end.title) == ("completed", 78, 1, "me", "My game")
    writers = {message.header("Testcast-Writer") for message in await stored(streams, run.test_id)}
    assert len(writers) == 1


async def test_phases_are_data_of_the_run(streams: Streams) -> None:
    async with TestRun.create(event_log(streams), title="Build", phases=["Compiling", "Linking"]) as run:
        await run.phase(2)
        await run.phase(1, "Compiling again")
        for n in (0, 3, 1.5, "1"):
            with pytest.raises(BadInput, match=r"phase: expected 1 to 2"):
                await run.phase(n)  # type: ignore[arg-type]
        await run.complete(score=1)
    told = [(each.get("phase"), each["message"]) for each in await events(streams, run.test_id)]
    assert told[2:4] == [("phase2", "Linking"), ("phase1", "Compiling again")]


@pytest.mark.parametrize("phases", [[], ["a", "b", "c", "d", "e"], ["a", " "], "abc"])
def test_there_are_one_to_four_phases_each_with_a_title(phases: Any) -> None:
    with pytest.raises(BadInput, match="phases"):
        TestRun.create("nats://127.0.0.1:1", title="Game", phases=phases)


async def test_what_fails_a_run_is_told_without_the_brokers_words(streams: Streams) -> None:
    error = BrokerUnavailable("no NATS server answers at nats://10.0.0.7:4222")
    with pytest.raises(BrokerUnavailable):
        async with TestRun.create(event_log(streams), title="Game") as run:
            raise error
    assert (await snapshot(streams, run.test_id)).error == f"The agent failed: {error.public_message}"


async def test_leaving_with_an_exception_fails_the_run_with_its_reason(streams: Streams) -> None:
    with pytest.raises(ZeroDivisionError):
        async with TestRun.create(event_log(streams), title="Game") as run:
            raise ZeroDivisionError("no such \ud800 level")
    end = await snapshot(streams, run.test_id)
    assert (end.status, end.error) == ("failed", "The agent failed: no such ? level")


async def test_leaving_without_a_result_fails_the_run(streams: Streams) -> None:
    async with TestRun.create(event_log(streams), title="Game") as run:
        await run.progress("Playing")
    end = await snapshot(streams, run.test_id)
    assert (end.status, end.error) == ("failed", "The agent ended without a result")


async def test_an_interrupted_agent_says_so(streams: Streams) -> None:
    opened: asyncio.Future[TestRun] = asyncio.get_running_loop().create_future()

    async def agent() -> None:
        async with TestRun.create(event_log(streams), title="Game") as run:
            opened.set_result(run)
            await asyncio.Event().wait()

    task = asyncio.create_task(agent())
    run = await opened
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (await events(streams, run.test_id))[-1]["data"] == {"code": "interrupted"}


async def test_nothing_is_lost_doubled_or_reordered_while_the_broker_is_killed(nats_server: EmbeddedServer) -> None:
    async with TestRun.create(nats_server.url, title="Game") as run:
        for number in range(300):
            if number == 100:
                nats_server.child.signal(signal.SIGKILL)
                await nats_server.child.wait()
            if number == 200:
                await nats_server.start()
            await run.progress(f"step {number}")
        await run.complete(score=1)
    nats = await Connection.connect(nats_server.url, name="look")
    told = await messages(Streams(nats), run.test_id)
    await nats.close()
    assert told[2:-1] == [f"step {number}" for number in range(300)]


async def test_a_stream_of_an_earlier_version_takes_batches_from_now_on(nats: Connection, streams: Streams) -> None:
    config = (await streams.api("STREAM.INFO.EVENTS"))["config"]
    without = config | {"allow_atomic": False}
    for metadata, takes in (({"testcast-topology": "3"}, True), ({}, False)):
        await streams.api("STREAM.UPDATE.EVENTS", without | {"metadata": metadata})
        looks = topology.Topology(nats, manages=False, uses=[subjects.EVENTS])
        await looks.once()  # for one that only looks, nothing is missing
        await topology.apply(nats)
        after = (await streams.api("STREAM.INFO.EVENTS"))["config"]
        assert after.get("allow_atomic", False) == takes
    await streams.api("STREAM.UPDATE.EVENTS", without)  # an operator takes it back
    await topology.apply(nats)
    assert not (await streams.api("STREAM.INFO.EVENTS"))["config"].get("allow_atomic")


class LosesAcks(JetStreamLog):
    """The event log; every second acknowledgement is lost."""

    calls = 0

    async def append(self, *args: Any, **kwargs: Any) -> Ack:
        ack = await super().append(*args, **kwargs)
        self.calls += 1
        if self.calls % 2:
            raise BrokerUnavailable("the acknowledgement was lost")
        return ack

    async def append_batch(self, *args: Any, **kwargs: Any) -> int:
        await super().append_batch(*args, **kwargs)
        raise BrokerUnavailable("the acknowledgement was lost")


async def test_what_waits_is_stored_at_once(streams: Streams) -> None:
    """Where the stream takes batches. Where an operator has switched them off, one event goes after the other."""
    info = await streams.api("STREAM.INFO.EVENTS")
    for takes_batches in (True, False):
        await streams.api("STREAM.UPDATE.EVENTS", info["config"] | {"allow_atomic": takes_batches})
        async with TestRun.create(event_log(streams), title="Game", worker="me") as run:
            for number in range(700):
                await run.progress(f"step {number}")
            await run.complete(score=1)
        told = await stored(streams, run.test_id)
        assert [orjson.loads(each.data)["message"] for each in told][2:-1] == [
            f"step {number}" for number in range(700)
        ]
        batches = {each.header("Nats-Batch-Id") for each in told} - {None}
        assert len(batches) in (range(1, 20) if takes_batches else (0,))
        # Each names the one before it: where the run's beginning is gone, none passes for the first.
        page = await event_log(streams).read(run.test_id, 0, 20_000)
        assert [event.expected_last for event in page.events] == [0, *(each.seq for each in told[:-1])]


async def test_a_lost_acknowledgement_is_no_second_event(nats: Connection, streams: Streams) -> None:
    async with TestRun.create(LosesAcks(nats), title="Game", worker="me") as run:
        for number in range(20):
            await run.progress(f"step {number}")
        await run.complete(score=1)
    told = await messages(streams, run.test_id)
    assert told == [
        "Queued: Game",
        "Started by me",
        *(f"step {number}" for number in range(20)),
        "Test complete! Score 1/100",
    ]


async def test_a_strangers_events_do_not_stop_the_writer(streams: Streams) -> None:
    async with TestRun.create(event_log(streams), title="Game") as run:
        for number in range(10):
            stranger = Event(type="progress", message=f"stranger {number}", timestamp=now_ms())
            await streams.store(subjects.events(run.test_id), stranger.encode())
            await streams.store(subjects.events(run.test_id), b"not even JSON")
            await run.progress(f"own {number}")
            await run.flush()
        await run.complete(score=1)
    told = [orjson.loads(each.data)["message"] for each in await stored(streams, run.test_id) if each.data[:1] == b"{"]
    assert told[2:-1] == [f"{who} {number}" for number in range(10) for who in ("stranger", "own")]


async def test_of_two_writers_only_the_higher_attempt_goes_on(streams: Streams) -> None:
    with pytest.raises(Fenced) as fenced:
        async with TestRun.create(event_log(streams), title="Game") as first:
            await first.flush()
            async with TestRun.join(event_log(streams), first.test_id, worker="second") as second:
                await first.progress("from the grave")
                with pytest.raises(Fenced):
                    await first.flush()
                with pytest.raises(Fenced):
                    await first.complete(score=100)
                await second.complete(score=5)
    assert fenced.value.reason == "attempt"  # told again on leaving: something was not stored
    told = await events(streams, first.test_id)
    assert [each["message"] for each in told[2:]] == [
        "Attempt 2: the previous worker was lost",
        "Test complete! Score 5/100",
    ]
    assert told[2]["data"] == {"attempt": 2, "worker": "second"}


async def test_two_that_claim_the_same_attempt_do_not_both_get_it(streams: Streams) -> None:
    async with TestRun.create(event_log(streams), title="Game") as first:
        first.leave()
    history = await read_history(event_log(streams), first.test_id)
    claims = [TestRun.claim(event_log(streams), first.test_id, worker=name, history=history) for name in "ab"]
    outcomes = await asyncio.gather(*(claim.__aenter__() for claim in claims), return_exceptions=True)
    lost = [outcome for outcome in outcomes if isinstance(outcome, Fenced)]
    won = [outcome for outcome in outcomes if isinstance(outcome, TestRun)]
    assert (len(lost), len(won)) == (1, 1)
    await won[0].complete(score=1)
    await won[0].__aexit__(None, None, None)


async def test_a_cancel_is_heard_at_once_and_nothing_is_written_after_it(nats: Connection, streams: Streams) -> None:
    async with TestRun.create(event_log(streams), title="Game") as run:
        await run.flush()
        await runs.cancel(event_log(streams), run.test_id)
        await until(lambda: run.over, within_s=8)  # the next look at the run is after 10 s
        assert isinstance(run.over, Fenced)
        assert run.over.reason == "ended"
        with pytest.raises(Fenced, match="Cancelled"):
            await run.progress("too late")
    assert (await messages(streams, run.test_id))[-1] == "Cancelled"


async def test_an_end_without_a_wake_up_is_seen_at_the_next_look(streams: Streams) -> None:
    async with TestRun.create(event_log(streams), title="Game") as first:
        first.leave()
    history = await read_history(event_log(streams), first.test_id)
    async with TestRun.claim(event_log(streams), first.test_id, worker="w", history=history, beat_s=0.05) as run:
        ended = Event(type="error", status="failed", message="Given up", timestamp=now_ms())
        await runs.end(event_log(streams), run.test_id, ended)
        await asyncio.wait_for(run.wait_over(), 20)


async def test_signs_of_life_and_renewals_stop_with_the_right_to_the_run(nats: Connection, streams: Streams) -> None:
    alive: asyncio.Queue[Message] = asyncio.Queue()
    renewed: asyncio.Queue[float] = asyncio.Queue()

    async def renew() -> None:
        renewed.put_nowait(time.monotonic())

    async with TestRun.create(event_log(streams), title="Game") as first:
        first.leave()
    await nats.subscribe(subjects.alive(first.test_id), alive.put_nowait)
    history = await read_history(event_log(streams), first.test_id)
    async with TestRun.claim(
        event_log(streams), first.test_id, worker="w", history=history, renew=renew, beat_s=0.05
    ) as run:
        for _ in range(3):
            assert orjson.loads((await asyncio.wait_for(alive.get(), 20)).data) == {"attempt": 2, "worker": "w"}
            await asyncio.wait_for(renewed.get(), 20)
        async with TestRun.join(event_log(streams), run.test_id) as thief:
            await asyncio.wait_for(run.wait_over(), 20)
            thief_since = time.monotonic()
            thief.leave()
        while not renewed.empty():
            assert renewed.get_nowait() <= thief_since


async def test_an_agent_waits_when_as_much_is_pending_as_is_kept(nats_server: EmbeddedServer) -> None:
    async with TestRun.create(nats_server.url, title="Game") as run:
        nats_server.child.signal(signal.SIGKILL)
        await nats_server.child.wait()
        for number in range(MAX_PENDING_EVENTS):
            await asyncio.wait_for(run.progress(f"step {number}"), 20)
        waiting = asyncio.create_task(run.progress("one too many"))
        await asyncio.wait({waiting}, timeout=0.3)
        assert not waiting.done()
        assert run.statistics().pending == MAX_PENDING_EVENTS
        await nats_server.start()
        await asyncio.wait_for(waiting, 20)
        await run.complete(score=1)
    assert run.statistics().stored == MAX_PENDING_EVENTS + 4
    assert run.statistics().pending_bytes == 0


async def test_pending_bytes_are_bounded_as_well(nats_server: EmbeddedServer) -> None:
    async with TestRun.create(nats_server.url, title="Game") as run:
        nats_server.child.signal(signal.SIGKILL)
        await nats_server.child.wait()

        async def chatter() -> None:
            while True:
                await run.progress("x", text="y" * 50_000)

        chattering = asyncio.create_task(chatter())
        await until(lambda: run.statistics().pending_bytes > MAX_PENDING_BYTES - 60_000)
        assert not chattering.done()
        assert MAX_PENDING_BYTES - 60_000 < run.statistics().pending_bytes <= MAX_PENDING_BYTES
        chattering.cancel()
        run.leave()


async def test_leaving_while_the_broker_is_away_for_good_says_what_was_not_stored(
    nats_server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_module, "CLOSE_PATIENCE_S", 0.3)
    with pytest.raises(BrokerUnavailable, match=r"2 events of test .* were not stored"):
        async with TestRun.create(nats_server.url, title="Game") as run:
            nats_server.child.signal(signal.SIGKILL)
            await nats_server.child.wait()
            await run.progress("Playing on")


async def test_bad_events_are_refused_and_change_nothing(streams: Streams) -> None:
    async with TestRun.create(event_log(streams), title="Game") as run:
        with pytest.raises(BadInput, match=r"has \d+ bytes; at most 61440"):
            await run.progress("x", text="y" * 61_440)
        with pytest.raises(BadInput, match="phase"):
            await run.phase(5)
        for score in (-1, 100.5, float("nan"), True, "9"):
            with pytest.raises(BadInput, match="score"):
                await run.complete(score=score)  # type: ignore[arg-type]
        with pytest.raises(BadInput, match="JSON"):
            await run.progress("x", what=object())
        with pytest.raises(BadInput, match="message"):
            await run.progress(5)  # type: ignore[arg-type]
        await run.progress("half a pair: \ud83d", detail=["\udc00"])
        await run.complete(score=0)
        with pytest.raises(AlreadyEnded):
            await run.progress("more")
        with pytest.raises(AlreadyEnded):
            await run.complete(score=1)
    told = await events(streams, run.test_id)
    assert [(each["message"], each.get("data")) for each in told[2:]] == [
        ("half a pair: ?", {"detail": ["?"]}),
        ("Test complete! Score 0/100", {"score": 0, "metrics": {}}),
    ]


async def test_what_cannot_be_joined(streams: Streams) -> None:
    with pytest.raises(InvalidTestId):
        TestRun.join(event_log(streams), "../etc/passwd")
    with pytest.raises(NotFound):
        async with TestRun.join(event_log(streams), identity.new_test_id()):
            pytest.fail("opened")
    async with TestRun.create(event_log(streams), title="Game") as run:
        await run.complete(score=1)
    with pytest.raises(AlreadyEnded):
        async with TestRun.join(event_log(streams), run.test_id):
            pytest.fail("opened")
    with pytest.raises(BadInput, match="title"):
        TestRun.create(event_log(streams), title=" ")


async def test_a_publisher_declares_the_streams_that_are_missing(tmp_path: Any) -> None:
    async with EmbeddedServer(tmp_path / "bare") as server:
        first = Event(type="status", status="queued", message="Queued", timestamp=now_ms())
        run = TestRun(server.url, identity.new_test_id(), worker=None, first=first)
        with pytest.raises(RuntimeError, match="not open"):
            await run.progress("x")
        async with run:
            await run.flush()
        nats = await Connection.connect(server.url, name="test")
        assert (await read_history(event_log(Streams(nats)), run.test_id)).head > 0
        await nats.close()


async def test_a_handed_on_run_is_queued_again_and_not_lost(streams: Streams) -> None:
    async with TestRun.create(event_log(streams), title="Game", worker="me") as run:
        await run.hand_on()
    assert (await snapshot(streams, run.test_id)).status == "queued"
    history = await read_history(event_log(streams), run.test_id)
    assert history == History(history.head, False, frozenset({1}), frozenset({1}))
    assert (history.lost, history.next_attempt) == (0, 2)
    async with TestRun.join(event_log(streams), run.test_id, worker="you") as again:
        await again.complete(score=1)
    assert (await messages(streams, run.test_id))[3] == "Attempt 2: the previous worker handed it on"
