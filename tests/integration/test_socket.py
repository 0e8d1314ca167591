"""A viewer's socket on a real edge: join, resume, live, several tests, the list, and everything one can do wrong.

Longer than 400 lines: many small tests that share the helpers at the top.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from broker.contract import subjects
from broker.jetstream.api import Streams
from tests.conftest import Stack
from tests.harness import NO_SUCH_TEST, EdgeProcess, Reader, begin, is_event, publish, say, until


async def closing(connection: ClientConnection) -> tuple[int, list[dict[str, Any]]]:
    """Reads until the server closes; its code and what it said before."""
    said: list[dict[str, Any]] = []
    async with asyncio.timeout(30):
        try:
            while True:
                received = orjson.loads(await connection.recv())
                said += received if isinstance(received, list) else [received]
        except ConnectionClosed as closed:
            assert closed.rcvd is not None, "the server did not close, the connection broke"
            return closed.rcvd.code, said


def seqs(events: list[dict[str, Any]]) -> list[int]:
    return [event["seq"] for event in events]


async def test_a_viewer_without_a_position_sees_the_whole_run_then_live(stack: Stack, stack_streams: Streams) -> None:
    test_id = await begin(stack_streams)
    for number in range(20):
        await publish(stack_streams, test_id, f"past {number}")
    async with connect(f"{stack.ws_url}?testId={test_id}") as connection:
        reader = Reader(connection)
        sync = await reader.next()
        assert (sync["type"], sync["outcome"], sync["snapshot"]["title"]) == ("sync", "live", "A game")
        past = await reader.events(22)
        assert [event["message"] for event in past] == ["Queued", "Running", *(f"past {n}" for n in range(20))]
        assert {event["testId"] for event in past} == {test_id}
        assert seqs(past)[-1] == sync["head"]
        stored = await publish(stack_streams, test_id, "now", data={"x": 1}, extra="kept")
        (live,) = await reader.events(1)
        assert (live["seq"], live["message"], live["data"], live["extra"]) == (stored.seq, "now", {"x": 1}, "kept")


async def test_the_resume_table(stack: Stack, stack_streams: Streams) -> None:
    test_id = await begin(stack_streams)
    stored = [(await publish(stack_streams, test_id, f"{number}")).seq for number in range(10)]
    epoch = (await stack_streams.state(subjects.EVENTS)).epoch

    async def resume(query: str) -> tuple[dict[str, Any], list[int]]:
        async with connect(f"{stack.ws_url}?testId={test_id}&{query}") as connection:
            reader = Reader(connection)
            sync = await reader.next()
            await say(connection, {"type": "subscribe", "testId": NO_SUCH_TEST})
            seen: list[int] = []  # the error is the mark behind which nothing more is coming by itself
            marked = False
            while not (marked and (not seen or seen[-1] == stored[-1])):
                message = await reader.next()
                marked = marked or message["type"] == "error"
                if is_event(message):
                    seen.append(message["seq"])
            return sync, seen

    sync, seen = await resume(f"after={stored[-1]}&epoch={epoch}")
    assert (sync["outcome"], sync["head"], seen) == ("recovered", stored[-1], [])
    sync, seen = await resume(f"after={stored[3]}&epoch={epoch}")
    assert (sync["outcome"], seen) == ("recovered", stored[4:])
    sync, seen = await resume(f"after={stored[-1] + 10**6}&epoch={epoch}")
    assert (sync["outcome"], sync["reason"], len(seen)) == ("reset", "ahead", 12)
    sync, seen = await resume(f"after={stored[3]}&epoch=other")
    assert (sync["outcome"], sync["reason"], len(seen)) == ("reset", "epoch", 12)
    sync, seen = await resume(f"after=0&epoch={epoch}")
    assert (sync["outcome"], len(seen)) == ("live", 12)


async def test_a_position_that_is_not_retained_is_reset(streams: Streams, nats_edge: EdgeProcess) -> None:
    test_id = await begin(streams)
    stored = [(await publish(streams, test_id, f"{number}")).seq for number in range(10)]
    await streams.api(f"STREAM.PURGE.{subjects.EVENTS}", {"seq": stored[5]})
    async with connect(f"{nats_edge.ws_url}?testId={test_id}&after={stored[2]}") as connection:
        reader = Reader(connection)
        sync = await reader.next()
        assert (sync["outcome"], sync["reason"]) == ("reset", "expired")
        assert seqs(await reader.events(5)) == stored[5:]
        await publish(streams, test_id, "more")
        assert [event["message"] for event in await reader.events(1)] == ["more"]


async def test_a_thousand_events_of_the_past_are_one_read(stack: Stack, stack_streams: Streams) -> None:
    test_id = await begin(stack_streams)
    expected = [(await publish(stack_streams, test_id, f"event {number} " + "x" * 200)).seq for number in range(1500)]

    async def join() -> list[int]:
        async with connect(f"{stack.ws_url}?testId={test_id}") as connection:
            return seqs(await Reader(connection).events(1502))[2:]

    for seen in await asyncio.gather(*(join() for _ in range(20))):
        assert seen == expected


REASONS = {
    "it is not JSON": 2,
    "it is not UTF-8": 1,
    "`type` is not a string": 1,
    "it is not a JSON object": 1,
    "it is empty": 1,
}


async def test_malformed_events_count_as_seen_and_stop_nothing(stack: Stack, stack_streams: Streams) -> None:
    test_id = await begin(stack_streams)
    async with connect(f"{stack.ws_url}?testId={test_id}") as connection:
        reader = Reader(connection)
        await reader.events(2)
        noise = (b"nonsense", b"\xff\xfe", b'{"type":7,"message":"m","timestamp":1}', b"[]", b"", b"nonsense")
        seqs = [(await stack_streams.store(subjects.events(test_id), raw)).seq for raw in noise]
        await stack_streams.nats.publish("test.\u00ff.events", b"{}")
        told: Counter[str] = Counter()
        while told.total() < len(noise):
            message = await reader.control("unreadable")
            assert message["testId"] == test_id and message["count"] == sum(message["reasons"].values())
            assert message["seq"] == seqs[told.total() + message["count"] - 1], "the newest of them"
            told.update(message["reasons"])
        assert told == REASONS
        stored = await publish(stack_streams, test_id, "after the noise")
        (event,) = await reader.events(1)
        assert (event["message"], event["seq"]) == ("after the noise", stored.seq)

    async with connect(f"{stack.ws_url}?testId={test_id}") as connection:
        reader = Reader(connection)
        assert [event["message"] for event in await reader.events(3)][-1] == "after the noise"
        again = await reader.control("unreadable")
        assert (again["seq"], again["count"], again["reasons"]) == (seqs[-1], len(noise), REASONS), "after the batch"
    async with connect(f"{stack.ws_url}?testId={test_id}&after={seqs[3]}") as connection:
        reader = Reader(connection)
        later = await reader.control("unreadable")
        assert (later["seq"], later["count"]) == (seqs[-1], 2), "only those past its position"


async def test_several_tests_and_the_list_on_one_socket(stack: Stack, stack_streams: Streams) -> None:
    first, second, third = [await begin(stack_streams, title) for title in ("one", "two", "three")]
    async with connect(f"{stack.ws_url}?testId={first}&testId={second}") as connection:
        reader = Reader(connection)
        assert {event["testId"] for event in await reader.events(4)} == {first, second}
        await say(connection, {"type": "subscribe", "testId": third})
        assert {event["testId"] for event in await reader.events(2)} == {third}
        await say(connection, {"type": "unsubscribe", "testId": first})
        await say(connection, {"type": "subscribe", "channel": "tests"})
        listed = await reader.control("tests")
        assert listed["full"] is True
        assert sum(listed["counts"].values()) >= len(listed["upserts"]), "all there are, not only the newest"
        known = {run["testId"] for run in listed["upserts"]}
        while not {first, second, third} <= known:
            known |= {run["testId"] for run in (await reader.control("tests"))["upserts"]}
        await publish(stack_streams, first, "unheard")
        await publish(stack_streams, second, "heard")
        (event,) = await reader.events(1)
        assert (event["testId"], event["message"]) == (second, "heard")
        changed = await reader.control("tests")
        assert set(changed["counts"]) == {"queued", "running", "completed", "failed", "cancelled"}
        assert {run["testId"]: run["message"] for run in changed["upserts"]}.get(first, "unheard") == "unheard"


async def test_cancel_by_message(stack: Stack, stack_streams: Streams) -> None:
    test_id = await begin(stack_streams)
    async with connect(f"{stack.ws_url}?testId={test_id}") as connection:
        reader = Reader(connection)
        await reader.events(2)
        await say(connection, {"type": "cancel", "testId": test_id})
        (event,) = await reader.events(1)
        assert (event["type"], event["status"], event["data"]) == ("error", "failed", {"code": "cancelled"})
        await say(connection, {"type": "cancel", "testId": test_id})
        assert (await reader.control("error"))["data"]["code"] == "already_ended"


@pytest.mark.parametrize("test_id", ["bad", "", NO_SUCH_TEST.upper(), "%00", "a" * 500, "%ff%fe"])
async def test_an_invalid_id_is_4400(stack: Stack, test_id: str) -> None:
    async with connect(f"{stack.ws_url}?testId={test_id}") as connection:
        code, said = await closing(connection)
    assert (code, said[-1]["type"], said[-1]["data"]["code"]) == (4400, "error", "invalid_test_id")


async def test_an_unknown_id_is_4404_where_the_socket_was_opened_for_it(stack: Stack) -> None:
    async with connect(f"{stack.ws_url}?testId={NO_SUCH_TEST}") as connection:
        code, said = await closing(connection)
    assert (code, said[-1]["testId"], said[-1]["data"]["code"]) == (4404, NO_SUCH_TEST, "not_found")


async def test_an_unknown_id_on_an_open_socket_leaves_it_open(stack: Stack, stack_streams: Streams) -> None:
    test_id = await begin(stack_streams)
    async with connect(f"{stack.ws_url}?testId={test_id}") as connection:
        reader = Reader(connection)
        await say(connection, {"type": "subscribe", "testId": NO_SUCH_TEST})
        assert (await reader.control("error"))["data"]["code"] == "not_found"
        await publish(stack_streams, test_id, "still here")
        assert (await reader.events(1))[0]["testId"] == test_id


def subscribe(more: str) -> str:
    return f'{{"type":"subscribe","testId":"{NO_SUCH_TEST}",{more}}}'


@pytest.mark.parametrize(
    ("message", "close_code", "error_code"),
    [
        ("nonsense", 4400, "malformed_message"),
        ("[1,2]", 4400, "malformed_message"),
        ('"text"', 4400, "malformed_message"),
        ("{}", 4400, "unknown_type"),
        ('{"type":"publish"}', 4400, "unknown_type"),
        ('{"type":{"a":1}}', 4400, "unknown_type"),
        ('{"type":"subscribe"}', 4400, "invalid_test_id"),
        ('{"type":"subscribe","testId":7}', 4400, "invalid_test_id"),
        ('{"type":"subscribe","channel":"other"}', 4400, "malformed_message"),
        (subscribe('"after":"7"'), 4400, "malformed_message"),
        (subscribe('"after":-1'), 4400, "malformed_message"),
        (subscribe('"after":true'), 4400, "malformed_message"),
        (subscribe('"after":1,"epoch":5'), 4400, "malformed_message"),
        ("[" * 5000, 4400, "malformed_message"),
        (b"binary", 1003, "malformed_message"),
        ("x" * 17_000, 1009, None),
    ],
)
async def test_what_a_client_says_wrong(
    stack: Stack, message: str | bytes, close_code: int, error_code: str | None
) -> None:
    async with connect(stack.ws_url) as connection:
        await connection.send(message)
        code, said = await closing(connection)
    assert code == close_code
    if error_code is not None:
        assert said[-1]["data"]["code"] == error_code and said[-1]["message"]


@pytest.mark.parametrize(
    ("frame", "close_code"),
    [
        (bytes((0x81, 0x82, 0, 0, 0, 0)) + b"\xff\xfe", 1007),
        (bytes((0x81, 0x02)) + b"hi", 1002),  # not masked
        (bytes((0xC1, 0x82, 0, 0, 0, 0)) + b"hi", 1002),  # a reserved bit
        (bytes((0x80, 0x82, 0, 0, 0, 0)) + b"hi", 1002),  # continues nothing
        (bytes((0x83, 0x80, 0, 0, 0, 0)), 1002),  # a reserved opcode
        (bytes((0x81, 0xFF)) + (2**40).to_bytes(8, "big") + bytes(4), 1009),  # a terabyte, it says
    ],
)
async def test_frames_against_the_rules(stack: Stack, frame: bytes, close_code: int) -> None:
    reader, writer = await raw_socket(stack.edge)
    writer.write(frame)
    async with asyncio.timeout(20):
        answer = await reader.readexactly(4)
    assert answer[0] == 0x88 and int.from_bytes(answer[2:4], "big") == close_code
    writer.close()


async def raw_socket(edge: EdgeProcess, **headers: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A WebSocket with nobody's client on it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", edge.port)
    standard = {
        "Host": f"127.0.0.1:{edge.port}",
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    }
    lines = "".join(f"{name}: {value}\r\n" for name, value in (standard | headers).items() if value)
    writer.write(f"GET /ws HTTP/1.1\r\n{lines}\r\n".encode())
    async with asyncio.timeout(20):
        head = await reader.readuntil(b"\r\n\r\n")
    assert b" 101 " in head.split(b"\r\n")[0], head
    assert b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in head, "the accept key of RFC 6455, 1.3"
    return reader, writer


async def test_a_message_in_pieces_with_a_ping_between_them(stack: Stack, stack_streams: Streams) -> None:
    test_id = await begin(stack_streams)
    async with connect(stack.ws_url) as connection:
        text = orjson.dumps({"type": "subscribe", "testId": test_id}).decode()
        await connection.send([text[:5], text[5:20], text[20:]])
        await (await connection.ping())
        assert (await Reader(connection).control("sync"))["testId"] == test_id


@pytest.mark.parametrize("cut", [1, 2, 3, 6, 7, 20])
async def test_a_frame_in_pieces_of_any_size(stack: Stack, stack_streams: Streams, cut: int) -> None:
    test_id = await begin(stack_streams)
    reader, writer = await raw_socket(stack.edge)
    payload = orjson.dumps({"type": "subscribe", "testId": test_id})
    sent = bytes((0x81, 0x80 | len(payload), 0, 0, 0, 0)) + payload
    for piece in (sent[:cut], sent[cut:]):
        writer.write(piece)
        await writer.drain()
        if piece is not sent[cut:]:
            await answered(stack)  # the edge has had time to read the first piece by itself
    async with asyncio.timeout(20):
        assert b'"type":"sync"' in await reader.readuntil(b'"outcome"')
    writer.close()


async def answered(stack: Stack) -> None:
    """A whole request and its answer went by."""
    async with httpx.AsyncClient() as client:
        assert (await client.get(f"{stack.edge_url}/healthz")).status_code == 200


@pytest.mark.parametrize(
    ("headers", "path", "status", "code"),
    [
        ({"Origin": "https://evil.example"}, "/ws", 403, "foreign_origin"),
        ({"Origin": "null"}, "/ws", 403, "foreign_origin"),
        ({}, "/other", 404, "not_found"),
        ({"Sec-WebSocket-Version": "12"}, "/ws", 426, "bad_handshake"),
        ({"Sec-WebSocket-Key": "short"}, "/ws", 400, "bad_handshake"),
        ({"Sec-WebSocket-Key": ""}, "/ws", 400, "bad_handshake"),
    ],
)
async def test_a_handshake_that_is_refused(
    stack: Stack, headers: dict[str, str], path: str, status: int, code: str
) -> None:
    standard = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    }
    async with httpx.AsyncClient() as client:
        answer = await client.get(stack.edge_url + path, headers=standard | headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)


async def test_our_own_pages_may_connect(stack: Stack) -> None:
    async with connect(stack.ws_url, origin=stack.edge_url):  # type: ignore[arg-type]
        pass
    with pytest.raises(InvalidStatus):
        async with connect(stack.ws_url, origin="http://127.0.0.1:1"):  # type: ignore[arg-type]
            pass


async def test_idle_sockets_hear_heartbeats(streams: Streams, make_edge: Callable[..., Any]) -> None:
    edge = await make_edge(TESTCAST_EDGE_HEARTBEAT_S="0.3")
    test_id = await begin(streams)
    async with connect(f"{edge.ws_url}?testId={test_id}") as watching, connect(edge.ws_url) as idle:
        reader = Reader(watching)
        past = await reader.events(2)
        beat = await reader.control("heartbeat")
        assert (beat["testId"], beat["head"]) == (test_id, past[-1]["seq"])
        await streams.store(subjects.events(test_id), b"malformed, so only a heartbeat can tell of it")
        assert (await reader.control("heartbeat"))["head"] >= beat["head"]
        await until(lambda: _beats(reader, past[-1]["seq"] + 1), what="the head moves past a malformed event")
        assert await Reader(idle).control("heartbeat") == {"type": "heartbeat"}


async def _beats(reader: Reader, head: int) -> bool:
    return bool((await reader.control("heartbeat"))["head"] >= head)


async def test_progress_is_paced_and_joiners_replay_to_the_released_head(
    streams: Streams, make_edge: Callable[..., Any]
) -> None:
    edge = await make_edge(TESTCAST_EDGE_PROGRESS_INTERVAL_S="1.5")
    test_id = await begin(streams)
    async with connect(f"{edge.ws_url}?testId={test_id}") as connection:
        reader = Reader(connection)
        await reader.events(2)
        stored = [(await publish(streams, test_id, f"{number}")).seq for number in range(5)]
        assert seqs(await reader.events(1)) == stored[:1]
        async with connect(f"{edge.ws_url}?testId={test_id}&after={stored[3]}") as early:
            # It has seen more on another edge than this one has released: nothing twice, and no reset.
            joiner = Reader(early)
            assert (await joiner.next())["outcome"] == "recovered"
            held = await reader.frame()
            assert seqs(held) == stored[1:], "the rest of the window is one message"
            assert seqs(await joiner.events(1)) == stored[4:]
            await publish(streams, test_id, "soon")
            urgent = await publish(streams, test_id, "Phase 2", "status", status="running", phase="phase2")
            both = await reader.frame()
            assert [event["message"] for event in both] == ["soon", "Phase 2"] and both[-1]["seq"] == urgent.seq
            assert len(await joiner.events(2)) == 2


async def test_a_socket_takes_a_bounded_number_of_tests(streams: Streams, make_edge: Callable[..., Any]) -> None:
    edge = await make_edge(TESTCAST_EDGE_MAX_SUBSCRIPTIONS="2")
    ids = [await begin(streams) for _ in range(3)]
    async with connect("&".join([f"{edge.ws_url}?", *(f"testId={each}" for each in ids)])) as connection:
        assert (await Reader(connection).control("error"))["data"]["code"] == "too_many_subscriptions"


async def test_a_drained_edge_says_goodbye(streams: Streams, make_edge: Callable[..., Any]) -> None:
    edge = await make_edge()
    test_id = await begin(streams)
    async with connect(f"{edge.ws_url}?testId={test_id}") as connection:
        await Reader(connection).events(2)
        stopping = asyncio.create_task(edge.stop())
        code, said = await closing(connection)
        assert (code, said[-1]["type"]) == (1012, "goodbye") and 0 < said[-1]["retryAfterMs"] <= 1000
        assert await stopping == 0


async def test_a_stalled_viewer_costs_a_cursor_and_misses_nothing(
    streams: Streams, make_edge: Callable[..., Any]
) -> None:
    edge = await make_edge()
    test_id = await begin(streams)
    url = f"{edge.ws_url}?testId={test_id}"
    async with connect(url) as good, connect(url, ping_interval=None) as bad:  # its pings would wait in vain as well
        current, reader = Reader(good), Reader(bad)
        await current.events(2)
        await reader.events(2)
        bad.transport.pause_reading()

        async def passed_on(count: int) -> list[int]:
            """Nothing waits in the edge for the machine or for the viewer that reads."""
            found: list[int] = []
            for _ in range(count // 100):
                found += [(await publish(streams, test_id, "y" * 4000)).seq for _ in range(100)]
                assert seqs(await current.events(100, within_s=60)) == found[-100:]
            return found

        stored = await passed_on(500)  # the buffers fill up
        before = memory_kb(edge.child.pid)
        stored += await passed_on(2500)  # 10 MB more
        assert memory_kb(edge.child.pid) - before < 3072, "it holds back far less than the viewer has missed"
        bad.transport.resume_reading()
        assert seqs(await reader.events(3000, within_s=60)) == stored


def memory_kb(pid: int) -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") // 1024
