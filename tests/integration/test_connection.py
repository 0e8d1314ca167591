"""The adapter around nats-py, against a real broker that is killed, stopped and sent nonsense."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import pytest

from broker.contract import subjects
from broker.contract.errors import BrokerRefused, BrokerUnavailable, InvalidSetting, ServerNotStarted, WrongLastSequence
from broker.contract.frames import Frame, MalformedFrame
from broker.jetstream import topology
from broker.jetstream.api import Stored, Streams
from broker.jetstream.connection import Connection
from broker.jetstream.frame_store import FrameStore, Picture
from broker.jetstream.ordered_consumer import OrderedConsumer
from broker.jetstream.parser import Message
from broker.jetstream.pull_consumer import PullConsumer, ack, nak, term
from broker.local.embedded_server import EmbeddedServer, find_binary
from tests.harness import answers, begin, event_bytes, free_port, publish, until


async def test_the_topology_can_be_applied_again_and_by_two_at_once(
    nats_server: EmbeddedServer, nats: Connection
) -> None:
    other = await Connection.connect(nats_server.url, name="other")
    await asyncio.gather(topology.apply(nats), topology.apply(other), topology.apply(nats))
    info = (await Streams(nats).api(f"STREAM.INFO.{subjects.EVENTS}"))["config"]
    assert info["republish"] == {"src": "test.*.events", "dest": "test.{{wildcard(1)}}.live"}
    await other.close()


async def test_a_core_subscriber_of_all_events_sees_every_event(nats: Connection, streams: Streams) -> None:
    heard: list[Message] = []
    await nats.subscribe("test.*.events", heard.append)
    test_id = await begin(streams)
    for number in range(50):
        await publish(streams, test_id, f"{number}")
    await until(lambda: len(heard) == 52)


async def test_live_events_name_their_sequence_and_predecessor_whatever_the_publisher_says(
    nats: Connection, streams: Streams
) -> None:
    heard: list[Message] = []
    await nats.subscribe(subjects.ALL_LIVE, heard.append)
    test_id = await begin(streams)
    forged = {"Nats-Sequence": "999", "Nats-Last-Sequence": "888"}
    ack_of = await streams.store(subjects.events(test_id), event_bytes("forged"), headers=forged)
    await until(lambda: len(heard) == 3)
    assert heard[-1].header(b"Nats-Sequence") == str(ack_of.seq).encode()
    assert heard[-1].header(b"Nats-Last-Sequence") == str(ack_of.seq - 1).encode()


async def test_a_flush_is_sent_behind_what_it_waits_for(nats_server: EmbeddedServer) -> None:
    """nats-py writes its ping past what is pending: the broker would answer before it has heard of the interest."""
    sent = bytearray()

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, tap: bytearray) -> None:
        while data := await reader.read(1 << 16):
            tap += data
            writer.write(data)
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", nats_server.port)
        await asyncio.gather(relay(reader, back, sent), relay(there, writer, bytearray()), return_exceptions=True)

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        nats = await Connection.connect(f"nats://127.0.0.1:{server.sockets[0].getsockname()[1]}", name="test")
        for number in range(20):
            await nats.subscribe(f"interest.{number}", lambda message: None)
            await nats.flush()
            assert sent.rindex(b"SUB interest.%d " % number) < sent.rindex(b"PING\r\n")
        await nats.close()


async def test_a_subject_that_is_not_utf8_does_not_end_the_reading(
    nats_server: EmbeddedServer, nats: Connection
) -> None:
    heard: list[Message] = []
    await nats.subscribe("test.*.events", heard.append)
    await nats.flush()
    _, writer = await asyncio.open_connection("127.0.0.1", nats_server.port)
    writer.write(b"CONNECT {}\r\nPUB test.\xff\xfe.events 2\r\nhi\r\n")
    await writer.drain()
    await until(lambda: len(heard) == 1)
    assert heard[0].subject == b"test.\xff\xfe.events"
    await nats.publish("test.x.events", b"still here")
    await until(lambda: len(heard) == 2)
    writer.close()


async def test_a_handler_that_raises_does_not_end_the_reading(nats: Connection) -> None:
    heard: list[bytes] = []

    def handler(message: Message) -> None:
        heard.append(message.data)
        raise RuntimeError("on purpose")

    await nats.subscribe("some.subject", handler)
    for number in range(3):
        await nats.publish("some.subject", b"%d" % number)
    await until(lambda: len(heard) == 3)
    assert nats.dropped == 3


async def test_interest_outlives_a_broker_that_is_killed(nats_server: EmbeddedServer, nats: Connection) -> None:
    streams, heard, back = Streams(nats), [], []
    await nats.subscribe(subjects.ALL_LIVE, lambda message: heard.append(message.data))
    nats.on_reconnect.append(lambda: back.append(True))
    test_id = await begin(streams)
    nats_server.child.signal(signal.SIGKILL)
    await nats_server.child.wait()
    with pytest.raises(BrokerUnavailable):
        await streams.state(subjects.EVENTS)
    await nats_server.start()
    await until(lambda: bool(back))
    stored = await publish(streams, test_id, "after")
    await until(lambda: event_count(heard, b"after") == 1)
    page = await streams.read(subjects.EVENTS, subjects.events(test_id), 0, 10)
    assert [message.seq for message in page.messages][-1] == stored.seq and len(page.messages) == 3
    assert nats.statistics() == (True, 1, 0, 2, 0)  # connected, reconnects, dropped, subscriptions, waiting requests
    assert repr(nats).endswith("connected reconnects=1 dropped=0>")
    assert nats_server.statistics() == (True, nats_server.port, 2)


def event_count(heard: list[bytes], message: bytes) -> int:
    return sum(1 for data in heard if message in data)


async def test_a_request_that_waits_when_the_broker_dies_fails_at_once(
    nats_server: EmbeddedServer, nats: Connection
) -> None:
    pull_consumer = PullConsumer(nats, subjects.JOBS, subjects.WORKERS)
    pulling = asyncio.create_task(pull_consumer.pull(1, expires_s=30))
    waiting = asyncio.create_task(nats.request("nobody.answers.here.but.us", timeout_s=30))
    await nats.subscribe("nobody.answers.here.but.us", lambda _message: None)
    await until(lambda: nats.statistics().waiting_requests == 1)
    nats_server.child.signal(signal.SIGKILL)
    async with asyncio.timeout(20):  # each would wait for 30 s
        for task in (pulling, waiting):
            with pytest.raises(BrokerUnavailable):
                await task
    assert not nats.statistics().connected
    assert nats.statistics().waiting_requests == 0


async def test_nobody_listens_is_said_at_once(nats: Connection) -> None:
    with pytest.raises(BrokerUnavailable, match="nobody answers"):  # another error says that it was waited for
        await nats.request("nobody.listens")


async def test_no_broker_is_said_in_time() -> None:
    with pytest.raises(BrokerUnavailable, match="no NATS server answers"):
        await Connection.connect("nats://127.0.0.1:1", name="test", timeout_s=0.5)
    with pytest.raises(InvalidSetting):
        await Connection.connect("nats://127.0.0.1:notaport", name="test", timeout_s=1)


async def test_an_expected_last_sequence_that_is_not_names_the_last(streams: Streams) -> None:
    test_id = await begin(streams)
    last = await streams.last(subjects.EVENTS, subjects.events(test_id))
    assert last is not None
    with pytest.raises(WrongLastSequence) as refused:
        await streams.store(subjects.events(test_id), event_bytes("m"), expected_last=last.seq - 1)
    assert refused.value.last == last.seq
    stored = await streams.store(subjects.events(test_id), event_bytes("m"), expected_last=last.seq, msg_id="a.1")
    assert (stored.seq, stored.duplicate) == (last.seq + 1, False)
    assert (await streams.store(subjects.events(test_id), event_bytes("m"), msg_id="a.1")).duplicate


async def test_reading_in_pages(streams: Streams) -> None:
    test_id, other = await begin(streams), await begin(streams)
    for number in range(10):
        await publish(streams, test_id, f"{number}")
        await publish(streams, other, f"{number}")
    seen, after = [], 0
    while True:
        page = await streams.read(subjects.EVENTS, subjects.events(test_id), after, 5)
        seen += [message.seq for message in page.messages]
        if page.complete:
            break
        after = seen[-1]
    assert len(seen) == 12 and seen == sorted(set(seen))
    assert await streams.read(subjects.EVENTS, subjects.events(test_id), seen[-1], 5) == ([], True)
    state = await streams.state(subjects.EVENTS)
    newest = await streams.newest(subjects.EVENTS, [subjects.events(test_id), subjects.events(other)])
    assert newest.up_to == state.last_seq and {message.seq for message in newest.messages} == {seen[-1], state.last_seq}


async def test_a_publishers_inline_status_is_no_end_of_a_page(nats_server: EmbeddedServer, streams: Streams) -> None:
    test_id = await begin(streams)
    _, writer = await asyncio.open_connection("127.0.0.1", nats_server.port)
    head = b"NATS/1.0 204 No\r\nX: y\r\n\r\n"
    writer.write(
        b'CONNECT {"headers":true}\r\nHPUB test.%b.events %d %d\r\n%b\r\n'
        % (test_id.encode(), len(head), len(head), head)
    )
    await writer.drain()

    async def is_stored() -> bool:
        return (await streams.state(subjects.EVENTS)).messages == 3

    await until(is_stored)
    await publish(streams, test_id, "behind it")
    page = await streams.read(subjects.EVENTS, subjects.events(test_id), 0, 10)
    assert [message.seq for message in page.messages] == [1, 2, 3, 4]
    writer.close()


async def test_a_job_that_is_handed_back_comes_again(nats: Connection, streams: Streams) -> None:
    await streams.store(subjects.job("x"), b"{}")
    with pytest.raises(BrokerRefused):
        await streams.store(subjects.job("x"), b"{}")
    pull_consumer = PullConsumer(nats, subjects.JOBS, subjects.WORKERS)
    (first,) = await pull_consumer.pull(1, expires_s=2)
    await nak(nats, first)
    (second,) = await pull_consumer.pull(1, expires_s=2)
    assert (second.delivered, second.seq) == (2, first.seq)
    await ack(streams, second)
    assert await pull_consumer.pull(1, expires_s=0.1) == []
    assert (await streams.state(subjects.JOBS)).messages == 0
    assert pull_consumer.statistics() == (3, 2, 0)  # pulls, delivered, waiting
    await pull_consumer.close()


async def test_a_job_that_is_terminated_does_not_come_again(nats: Connection, streams: Streams) -> None:
    await streams.store(subjects.job("x"), b"{}")
    pull_consumer = PullConsumer(nats, subjects.JOBS, subjects.WORKERS)
    (first,) = await pull_consumer.pull(1, expires_s=2)
    await term(nats, first)

    async def is_gone() -> bool:
        return (await streams.state(subjects.JOBS)).messages == 0

    await until(is_gone)
    await pull_consumer.close()


async def test_the_newest_picture_of_a_run(streams: Streams) -> None:
    store = FrameStore(streams)
    one, two = (b"\xff\xd8\xff" + each for each in (b"one", b"two"))
    assert await store.newest("x") is None
    numbers = [await store.put("x", one, seq=7, time_ms=1000), await store.put("x", two)]
    newest = await store.newest("x")
    assert newest is not None and (newest.jpeg, newest.frame.number) == (two, numbers[1])
    assert await store.at("x", numbers[0]) == Picture(Frame(numbers[0], 7, 1000, len(one)), one)
    assert await store.newest("y") is None and await store.at("y", numbers[0]) is None
    assert await store.at("x", numbers[1] + 1) is None
    await streams.store(subjects.frames("x"), b"GIF89a")
    assert await store.newest("x") is None, "what is no picture is not shown"
    with pytest.raises(MalformedFrame, match="not a JPEG"):
        await store.at("x", numbers[1] + 1)
    with pytest.raises(MalformedFrame):
        await store.put("x", b"GIF89a")


async def test_a_pull_takes_what_is_there_and_leaves_no_request_standing(nats: Connection, streams: Streams) -> None:
    """A standing request would have the broker send each new message by itself."""
    for name in "abcde":
        await streams.store(subjects.job(name), b"{}")
    pull_consumer = PullConsumer(nats, subjects.JOBS, subjects.WORKERS)
    taken = [await pull_consumer.pull(3, expires_s=2), await pull_consumer.pull(10, expires_s=2)]
    assert [[each.seq for each in some] for some in taken] == [[1, 2, 3], [4, 5]]
    assert [each.pending for each in taken[1]] == [1, 0]
    info = await streams.api(f"CONSUMER.INFO.{subjects.JOBS}.{subjects.WORKERS}")
    assert (info["num_waiting"], info["num_ack_pending"]) == (0, 5)
    assert await pull_consumer.pull(10, expires_s=0.1) == []
    await pull_consumer.close()


async def test_a_follower_misses_nothing_across_restarts_and_a_new_stream(
    nats_server: EmbeddedServer, nats: Connection, streams: Streams
) -> None:
    seen: list[str] = []
    resets: list[int] = []
    current: list[int] = []

    def on_message(entry: Stored) -> None:
        seen.append(entry.data.decode())

    ordered_consumer = OrderedConsumer(
        nats, "KV_RUNS", "$KV.RUNS.>", on_message, lambda: current.append(len(seen)), lambda: resets.append(len(seen))
    )
    await streams.kv_put("RUNS", "a", b"old")
    await streams.kv_put("RUNS", "a", b"a1")
    following = asyncio.create_task(ordered_consumer.run())
    await until(lambda: bool(current))
    assert seen == ["a1"], "at the start the newest of each key"
    await streams.kv_put("RUNS", "b", b"b1")
    await until(lambda: seen == ["a1", "b1"])
    nats_server.child.signal(signal.SIGKILL)
    await nats_server.child.wait()
    await nats_server.start()
    await until(lambda: answers(nats), within_s=30)
    await streams.kv_put("RUNS", "c", b"c1")
    await until(lambda: seen == ["a1", "b1", "c1"])
    assert resets == []
    await streams.api("STREAM.DELETE.KV_RUNS")
    await topology.apply(nats)
    await streams.kv_put("RUNS", "d", b"d1")
    await until(lambda: seen[-1] == "d1")
    assert resets == [3]
    assert ordered_consumer.statistics().resets == 1
    assert ordered_consumer.statistics().restarts >= 2
    following.cancel()


async def test_a_taken_port_and_a_missing_binary_are_named(nats_server: EmbeddedServer, tmp_path: Path) -> None:
    with pytest.raises(ServerNotStarted, match=f"port {nats_server.port} is taken"):
        await EmbeddedServer(tmp_path / "second", port=nats_server.port).start()
    with pytest.raises(ServerNotStarted, match="NATS_SERVER"):
        await EmbeddedServer(tmp_path / "third", binary="no-such-program").start()
    assert find_binary()
    (tmp_path / "file").write_text("in the way")
    broken = EmbeddedServer(tmp_path / "fourth", port=free_port(), host="192.0.2.1")
    with pytest.raises(ServerNotStarted, match="no such address"):
        await broken.start()
