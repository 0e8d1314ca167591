"""Everything that stands on the broker, declared in one place and applied as often as one likes.

Two parts that start at the same moment both apply it, and both find it done.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final

from broker.contract import subjects
from broker.contract.errors import BrokerRefused, BrokerUnavailable
from broker.jetstream.api import Streams
from broker.jetstream.connection import Connection
from broker.log import RateLimited

DAY_S: Final = 24 * 3600
RETENTION_S: Final = 7 * DAY_S
LEASE_S: Final = 30
MAX_EVENT_MESSAGE_BYTES: Final = 64 * 1024
MAX_EVENTS_PER_RUN: Final = 20_000
MAX_QUEUED_JOBS: Final = 10_000
MAX_SHOT_BYTES: Final = 64 * 1024

_NAME_IN_USE = 10058  # a stream of this name with another configuration
_NO_PEERS = 10005  # a cluster whose nodes have not all found each other yet, or one with fewer nodes than replicas
_CONSUMER_EXISTS = {10148, 10013, 10105}
_NS = 1_000_000_000

_log = logging.getLogger("testcast.topology")
_limited = RateLimited(_log, per_s=10.0)


def streams(replicas: int) -> list[dict[str, Any]]:
    """The streams, as the broker's API takes them."""
    return [
        {
            "name": subjects.EVENTS,
            "subjects": [subjects.ALL_EVENTS],
            "retention": "limits",
            "storage": "file",
            "num_replicas": replicas,
            "allow_direct": True,
            "max_age": RETENTION_S * _NS,
            "max_msgs_per_subject": MAX_EVENTS_PER_RUN,
            "max_msg_size": MAX_EVENT_MESSAGE_BYTES,
            "discard": "old",
            "duplicate_window": 120 * _NS,
            "republish": {"src": subjects.ALL_EVENTS, "dest": "test.{{wildcard(1)}}.live"},
        },
        {
            "name": subjects.JOBS,
            "subjects": [subjects.ALL_JOBS],
            "retention": "workqueue",
            "storage": "file",
            "num_replicas": replicas,
            "max_msgs": MAX_QUEUED_JOBS,
            "max_msgs_per_subject": 1,
            "discard": "new",
            "discard_new_per_subject": True,
            "max_msg_size": MAX_EVENT_MESSAGE_BYTES,
        },
        _bucket(subjects.RUNS, replicas, max_value_bytes=256 * 1024),
        _bucket(subjects.SHOTS, replicas, max_value_bytes=MAX_SHOT_BYTES + 1024),  # the header's room
    ]


def _bucket(name: str, replicas: int, max_value_bytes: int) -> dict[str, Any]:
    return {
        "name": subjects.kv_stream(name),
        "subjects": [subjects.kv(name, ">")],
        "retention": "limits",
        "storage": "file",
        "num_replicas": replicas,
        "max_msgs_per_subject": 1,
        "max_msg_size": max_value_bytes,
        "max_age": RETENTION_S * _NS,
        "discard": "new",
        "allow_direct": True,
        "allow_rollup_hdrs": True,
        "deny_delete": True,
    }


def consumers() -> list[tuple[str, dict[str, Any]]]:
    """The durable pull consumers, each with its stream."""
    return [
        (
            subjects.EVENTS,
            {
                "durable_name": subjects.PROJECTOR,
                "deliver_policy": "all",
                "ack_policy": "explicit",
                "ack_wait": 10 * _NS,
                "max_ack_pending": 20_000,
                "headers_only": True,  # an event is a hint that a snapshot is behind; the reading is done elsewhere
            },
        ),
        (
            subjects.JOBS,
            {
                "durable_name": subjects.WORKERS,
                "deliver_policy": "all",
                "ack_policy": "explicit",
                "ack_wait": LEASE_S * _NS,
                "max_deliver": 20,  # a backstop: attempts are counted in the run's own events
                "max_ack_pending": 10_000,
            },
        ),
    ]


async def apply(nats: Connection, *, replicas: int = 1, lease_s: float | None = None, timeout_s: float = 30.0) -> None:
    """Makes the broker hold the streams, buckets and consumers, whatever of them it holds already.

    Args:
        lease_s: how long a worker that has died keeps its jobs; None: what stands, `LEASE_S` where nothing does.

    Raises:
        BrokerUnavailable: no leader took the requests within `timeout_s`.
        BrokerRefused: something of the same name stands in the way and cannot be changed into ours.
    """
    api = Streams(nats)
    deadline = asyncio.get_running_loop().time() + timeout_s
    for config in streams(replicas):
        await _until(deadline, partial(_apply_stream, api, config))
    for stream, config in consumers():
        lease = {"ack_wait": int(lease_s * _NS)} if stream == subjects.JOBS and lease_s is not None else {}
        await _until(deadline, partial(_apply_consumer, api, stream, config, lease))
    _log.debug("topology applied with %d replica(s)", replicas)


async def _until(deadline: float, attempt: Callable[[], Awaitable[None]]) -> None:
    """Tries again while the broker is electing leaders, or its cluster is still coming together."""
    while True:
        try:
            return await attempt()
        except (BrokerUnavailable, BrokerRefused) as error:
            young = isinstance(error, BrokerRefused) and error.err_code == _NO_PEERS
            if isinstance(error, BrokerRefused) and not young:
                raise
            if asyncio.get_running_loop().time() >= deadline:
                raise
            if young:
                _limited.warning("the broker's cluster has too few nodes at the moment: %s", error)
            await asyncio.sleep(0.2)


async def _apply_stream(api: Streams, config: dict[str, Any]) -> None:
    try:
        await api.api(f"STREAM.CREATE.{config['name']}", config)
    except BrokerRefused as error:
        if error.err_code != _NAME_IN_USE:
            raise
        # Somebody may have given it more replicas since; an edge that starts with the default must not take them away.
        standing = (await api.api(f"STREAM.INFO.{config['name']}"))["config"]["num_replicas"]
        wanted = config | {"num_replicas": max(standing, config["num_replicas"])}
        await api.api(f"STREAM.UPDATE.{config['name']}", wanted)


async def _apply_consumer(api: Streams, stream: str, config: dict[str, Any], lease: dict[str, Any]) -> None:
    name = config["durable_name"]
    body = {"stream_name": stream, "config": config | lease, "action": "create"}
    try:
        await api.api(f"CONSUMER.CREATE.{stream}.{name}", body)
    except BrokerRefused as error:
        if error.err_code not in _CONSUMER_EXISTS:
            raise
        standing = (await api.api(f"CONSUMER.INFO.{stream}.{name}"))["config"]["ack_wait"]
        body |= {"config": config | {"ack_wait": standing} | lease, "action": "update"}
        await api.api(f"CONSUMER.CREATE.{stream}.{name}", body)


async def lease_s(api: Streams) -> float:
    """How long a worker keeps a job that it does not renew, seconds, as it is set on the broker."""
    info = await api.api(f"CONSUMER.INFO.{subjects.JOBS}.{subjects.WORKERS}")
    return float(info["config"]["ack_wait"]) / _NS
