"""What an edge counts, and the names under which it tells it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from types import SimpleNamespace
from typing import Any, cast

import orjson
import pytest
from prometheus_client.parser import text_string_to_metric_families

from broker.contract.errors import MalformedEvent
from broker.contract.events import check
from broker.jetstream import api
from broker.jetstream.connection import Connection
from broker.metrics import children
from tests.harness import free_port
from tests.socket_stand_ins import Browser, Edge, bearer, watch
from tests.unit.test_socket_fuzz import TEST_ID
from ws_edge.api.methods import METHODS
from ws_edge.config import EdgeConfig
from ws_edge.fanout.figures import FanoutFigures, SocketFigures
from ws_edge.metrics.served import page_of_node
from ws_edge.node import Node
from ws_edge.transport.call_figures import CallFigures
from ws_edge.views import installation
from ws_edge.views.broker_clock import BrokerClock

EDGE = {
    "gauge": "ready draining degraded_reasons failed_parts stale_seconds sockets max_sockets http_connections "
    "topics sessions oldest_behind_seconds list_listeners catch_up_waiting projector_pending broker_connected "
    "canary_running frames_cache_bytes frames_listed frames_followers deletions_pending keeper_look_age_seconds "
    "event_streams polls_waiting",
    "counter": "handshakes handshakes_refused connections_refused closes drops events_received deliveries sends "
    "sent_bytes catch_up_reads catch_up_pages catch_up_bytes gaps gaps_repaired forged_events syncs resets "
    "unreadable_events token_checks calls limited projector_written projector_conflicts projector_failures runs_reaped "
    "runs_requeued runs_refilled broker_reconnects broker_dropped canary_missing frames_received frames_sent "
    "frames_refused frames_floods frames_reads frames_cache_hits frames_list_reads runs_deleted subjects_purged "
    "deletion_failures poll_answers poll_bodies",
    "histogram": "publish_to_send_seconds pubsub_lag_seconds call_seconds canary_seconds",
}
"""By type, without `testcast_edge_` and `_total`. Alerts and dashboards name them: none is renamed or goes away."""
EVERYWHERE = {
    *("testcast_build_info", "testcast_runs", "testcast_queue_jobs", "testcast_queue_oldest_seconds"),
    *("testcast_agents", "testcast_stream_bytes", "testcast_stream_messages", "process_cpu_seconds"),
    "testcast_runs_pinned",
}
HOSTILE = 'evil"}\n# x\\ http://10.0.0.1/<b>'


@pytest.fixture
async def node() -> AsyncIterator[Node]:
    """Never started; its broker is away."""
    made = Node(Connection.dial(f"nats://127.0.0.1:{free_port()}", name="test"), EdgeConfig(), 1)
    made.calls.tell(METHODS)
    yield made
    await made.stop()


async def page(node: Node) -> dict[str, Any]:
    text = (await page_of_node(node)()).decode()
    return {family.name: family for family in text_string_to_metric_families(text)}


async def test_an_edge_tells_everything_under_its_name(node: Node) -> None:
    families = await page(node)
    wanted = {f"testcast_edge_{name}": kind for kind, names in EDGE.items() for name in names.split()}
    told = {name: family.type for name, family in families.items() if name.startswith("testcast_edge_")}
    assert told == wanted
    assert families.keys() >= EVERYWHERE
    assert {sample.labels["method"] for sample in families["testcast_edge_calls"].samples} == {*METHODS, "unknown"}
    for name in ("drops", "closes", "handshakes_refused", "resets", "syncs", "token_checks", "limited"):
        assert families[f"testcast_edge_{name}"].samples, "each value is told from the beginning, as 0"


async def test_no_text_from_outside_becomes_a_label(node: Node) -> None:
    node.calls.took(HOSTILE, 404, 0.1)
    node.installation.on_alive(orjson.dumps({"worker": HOSTILE}))
    for code in (1000, 3333, 4999):
        node.hub.socket_figures.closed(code)
    for seq, raw in enumerate((orjson.dumps({"type": HOSTILE * 9}), b'{"type":"status"}', HOSTILE.encode()), start=1):
        with pytest.raises(MalformedEvent) as malformed:
            check(raw)
        node.hub.unreadable.note(HOSTILE, seq, malformed.value)
    text = (await page_of_node(node)()).decode()
    families = {family.name: family for family in text_string_to_metric_families(text)}
    assert not any(piece in text for piece in ("evil", "10.0.0.1", "<b>", TEST_ID, "nats://", "127.0.0.1"))
    counted = {
        (sample.labels["method"], sample.labels["code"]): sample.value
        for sample in families["testcast_edge_calls"].samples
    }
    assert counted["unknown", "404"] == 1
    closes = {sample.labels["code"]: sample.value for sample in families["testcast_edge_closes"].samples}
    assert (closes["1000"], closes["other"]) == (1, 2)
    assert families["testcast_agents"].samples[0].value == 1
    labels = {key for family in families.values() for sample in family.samples for key in sample.labels}
    assert labels <= {"part", "version", "python", "state", "reason", "code", "outcome", "method", "quota", "status",
                      "stream", "le"}  # fmt: skip


async def test_a_broker_without_a_leader_does_not_hold_the_page(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = list[str]()

    class Streams:
        nats = SimpleNamespace(connected=True)

        async def api(self, subject: str, **_: object) -> None:
            asked.append(subject)
            await asyncio.Event().wait()

    assert installation.WITHIN_S * 2 <= children.TIMEOUT_S, "the parent of several edges waits for longer"
    monkeypatch.setattr(installation, "WITHIN_S", 0.01)
    monkeypatch.setattr(node, "installation", installation.Installation(cast("api.Streams", Streams())))
    assert "testcast_edge_ready" in await page(node) and len(asked) == 7


def test_lags_are_by_the_brokers_clock_and_unknown_without_it() -> None:
    clock, now = BrokerClock(), 100.0
    figures = FanoutFigures(lambda: now)
    figures.broker = clock
    figures.on_received(1_000_000)
    figures.on_sent([1_000_000])
    assert (figures.received, figures.pubsub_lag.count, figures.publish_to_send.count) == (1, 0, 0)
    clock.set(1_000_000, 90.0)
    figures.on_received(1_009_980)
    figures.on_received(0)  # the broker does not say
    figures.on_sent([1_009_900, 1_010_500, 0])
    assert (figures.pubsub_lag.count, round(figures.pubsub_lag.sum, 6)) == (1, 0.02)
    assert (figures.publish_to_send.count, round(figures.publish_to_send.sum, 6)) == (2, 0.1), "never below 0"


def test_the_brokers_clock_follows_the_answers_that_were_quickest() -> None:
    clock = BrokerClock()
    clock.set(1_000_000, 10.0)
    clock.set(1_004_950, 15.0)  # this answer waited for 50 ms
    assert clock.at(15.0) == 1_004_999
    clock.set(1_010_000, 20.0)
    assert clock.at(20.0) == 1_010_000
    clock.set(1_010_400, 20.0)  # it was put forward
    assert clock.at(20.0) == 1_010_400
    clock.set(900_000, 25.0)  # it was set back
    assert clock.at(25.0) == 900_000


def test_calls_are_told_by_method_and_status() -> None:
    calls = CallFigures(["listTests"])
    calls.took("listTests", 200, 0.003)
    calls.took("listTests", 429, 0.001)
    calls.took("dropTables", 404, 0.001)
    told = calls.statistics()
    assert told.calls == {
        ("listTests", "200"): 1,
        ("unknown", "200"): 0,
        ("listTests", "429"): 1,
        ("unknown", "404"): 1,
    }
    assert (told.seconds["listTests"].count, told.seconds["unknown"].count) == (2, 1)


def test_close_codes_are_a_short_list() -> None:
    figures = SocketFigures()
    for code in (0, 1006, 1012, 4429, 3000, 65535):
        figures.closed(code)
    closes = {code: count for code, count in figures.statistics().closes.items() if count}
    assert closes == {"1006": 2, "1012": 1, "4429": 1, "other": 2}


@pytest.fixture
def edge() -> Iterator[Edge]:
    made = Edge()
    yield made
    made.close()


def closes(edge: Edge) -> dict[str, int]:
    return {code: count for code, count in edge.node.hub.socket_figures.statistics().closes.items() if count}


def test_what_viewers_got_is_what_was_counted(edge: Edge) -> None:
    viewers = [edge.connects(bearer("ann"), query=f"?testId={TEST_ID}") for _ in range(3)]
    edge.loop.run_for(0.5)
    hub = edge.node.hub
    before = hub.figures.statistics()
    assert (before.syncs, before.deliveries) == ({"live": 3, "recovered": 0, "reset": 0}, 9), "three events of the past"
    assert hub.statistics().live == 3
    for message in ("one", "two"):
        edge.publish(message)
        edge.loop.run_for(0.1)
    after = hub.figures.statistics()
    assert [viewer.events() for viewer in viewers] == [["0", "1", "2", "one", "two"]] * 3
    assert (after.received, after.deliveries - before.deliveries, after.sends - before.sends) == (2, 6, 6)
    assert after.sent_bytes > before.sent_bytes > 0
    refused = edge.connects(bearer("nobody"))
    assert refused.status == 401
    told = hub.socket_figures.statistics()
    assert (told.accepted, told.refused["unauthenticated"]) == (3, 1)
    viewers[0].sends(b"\x88\x82\0\0\0\0\x03\xe9")  # 1001: the page is left
    viewers[1].leaves()
    viewers[2].says({"type": "no verb"})
    viewers[2].leaves()
    edge.loop.run_for(5.0)
    assert closes(edge) == {"1001": 1, "1006": 1, "4400": 1}
    assert hub.statistics().sockets == 0


def test_gaps_are_counted_when_found_and_when_closed(edge: Edge) -> None:
    viewer = edge.connects(bearer("ann"), query=f"?testId={TEST_ID}")
    edge.loop.run_for(0.5)
    event = b'{"type":"error","message":"%d","timestamp":1}'
    edge.loop.call(lambda: edge.broker.put(event % 1, True, []))  # nobody hears of it
    edge.loop.call(lambda: edge.broker.put(event % 2, True, [0.01]))
    edge.loop.run_for(1.0)
    assert viewer.events()[-2:] == ["1", "2"]
    figures = edge.node.hub.statistics()
    assert (figures.gaps, figures.gaps_repaired) == (1, 1)
    viewer.leaves()
    edge.loop.run_for(10.0)
    figures = edge.node.hub.statistics()
    assert (figures.topics, figures.gaps, figures.gaps_repaired) == (0, 1, 1), "also when its topic has gone"


def test_the_gaps_of_a_topic_that_is_replaced_stay_counted(edge: Edge) -> None:
    edge.connects(bearer("ann"), query=f"?testId={TEST_ID}")
    edge.loop.run_for(0.5)
    hub = edge.node.hub
    topic = hub.topics[TEST_ID]
    topic.order.gaps, topic.state = 2, "missing"
    edge.connects(bearer("ann"), query=f"?testId={TEST_ID}")
    edge.loop.run_for(0.1)
    assert hub.topics[TEST_ID] is not topic
    figures = hub.statistics()
    assert (figures.gaps, figures.gaps_repaired) == (2, 2), "a counter never falls"


def test_the_oldest_session_behind_says_since_when(edge: Edge) -> None:
    viewer = Browser(edge, (bearer("ann"),), "")
    viewer.transport.room(0)
    viewer.says(watch(TEST_ID))
    for number in range(60):
        edge.publish("x" * 400 + str(number))
    edge.loop.run_for(4.0)
    hub = edge.node.hub
    assert hub.statistics().behind == 1 and 3.5 <= hub.statistics().oldest_behind_s <= 4.5
    viewer.transport.room(float("inf"))
    edge.loop.run_for(1.0)
    assert (hub.statistics().behind, hub.statistics().live, hub.statistics().oldest_behind_s) == (0, 1, 0.0)


def test_a_viewer_that_is_given_up_is_told_with_the_reason(edge: Edge) -> None:
    edge.connects(bearer("ann"))  # asks for nothing
    half = edge.connects(bearer("ann"), query=f"?testId={TEST_ID}")
    half.sends(b"\x81")
    edge.loop.run_for(14.0)
    edge.loop.run_for(90.0)
    drops = {reason: count for reason, count in edge.node.hub.socket_figures.statistics().drops.items() if count}
    assert drops == {"half_frame": 1, "nothing_subscribed": 1, "close_unanswered": 2}
