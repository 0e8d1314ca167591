"""The streams, buckets and consumers on the broker, declared in one place.

`apply` is idempotent: two processes that start at the same moment may both call it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final

from broker.contract import subjects
from broker.contract.errors import BrokerRefused, BrokerUnavailable
from broker.jetstream import kv
from broker.jetstream.api import Streams
from broker.jetstream.connection import Connection
from broker.log import RateLimited
from broker.retry import Backoff, retry

DAY_S: Final = 24 * 3600
RETENTION_S: Final = 7 * DAY_S
LEASE_S: Final = 30
MAX_EVENT_MESSAGE_BYTES: Final = 64 * 1024
MAX_EVENTS_PER_RUN: Final = 20_000
MAX_QUEUED_JOBS: Final = 10_000
MAX_SHOT_BYTES: Final = 64 * 1024

_NAME_IN_USE: Final = 10058
"""A stream of this name has another configuration."""
_NO_PEERS: Final = 10005
"""The cluster's nodes have not all found each other yet, or it has fewer nodes than replicas."""
_CONSUMER_EXISTS: Final = {10148, 10013, 10105}
_NS: Final = 1_000_000_000
_LONGEST_PAUSE_S: Final = 0.5
"""Elections of a cluster that starts take 1 to 3 s, and every process waits for them."""

_log = logging.getLogger("testcast.topology")
_limited = RateLimited(_log, per_s=10.0)


def streams(replicas: int) -> list[dict[str, Any]]:
    """Returns the configurations of the streams, as the broker's API takes them."""
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
        _bucket(subjects.SHOTS, replicas, max_value_bytes=MAX_SHOT_BYTES + 1024),  # room for headers
    ]


def _bucket(name: str, replicas: int, max_value_bytes: int) -> dict[str, Any]:
    return {
        "name": kv.stream(name),
        "subjects": [kv.subject(name, ">")],
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
    """Returns the durable pull consumers as (stream, configuration)."""
    return [
        (
            subjects.EVENTS,
            {
                "durable_name": subjects.PROJECTOR,
                "deliver_policy": "all",
                "ack_policy": "explicit",
                "ack_wait": 10 * _NS,
                "max_ack_pending": 20_000,
                "headers_only": True,  # an event is a hint that a snapshot is out of date; its data is read elsewhere
            },
        ),
        (
            subjects.JOBS,
            {
                "durable_name": subjects.WORKERS,
                "deliver_policy": "all",
                "ack_policy": "explicit",
                "ack_wait": LEASE_S * _NS,
                "max_deliver": 20,  # a safety net: attempts are counted in the run's own events
                "max_ack_pending": 10_000,
            },
        ),
    ]


async def apply(nats: Connection, *, replicas: int = 1, lease_s: float | None = None, timeout_s: float = 30.0) -> None:
    """Creates or updates the streams, buckets and consumers.

    Args:
        replicas: copies of each stream, 1 to 5. A stream that has more keeps them.
        lease_s: how long a worker that has died keeps its jobs, seconds. None: unchanged, or `LEASE_S` at first.
        timeout_s: how long to try while the broker elects leaders.

    Raises:
        BrokerUnavailable: no leader accepted the requests within `timeout_s`.
        BrokerRefused: a stream or consumer of the same name exists and cannot be changed into this one.
    """
    api = Streams(nats)
    clock = asyncio.get_running_loop().time
    deadline = clock() + timeout_s

    async def apply_one(work: Callable[[], Awaitable[None]]) -> None:
        await retry(
            work,
            on=(BrokerUnavailable, BrokerRefused),
            within_s=deadline - clock(),
            backoff=Backoff(longest_s=_LONGEST_PAUSE_S),
            source=nats,
            on_failure=_raise_unless_it_passes,
        )

    for config in streams(replicas):
        await apply_one(partial(_apply_stream, api, config))
    for stream, config in consumers():
        lease = {"ack_wait": int(lease_s * _NS)} if stream == subjects.JOBS and lease_s is not None else {}
        await apply_one(partial(_apply_consumer, api, stream, config, lease))
    _log.debug("topology applied with %d replica(s)", replicas)


def _raise_unless_it_passes(error: Exception) -> None:
    if isinstance(error, BrokerRefused):
        if error.err_code != _NO_PEERS:
            raise error
        _limited.warning("the broker's cluster has too few nodes at the moment: %s", error)


async def _apply_stream(api: Streams, config: dict[str, Any]) -> None:
    try:
        await api.api(f"STREAM.CREATE.{config['name']}", config)
    except BrokerRefused as error:
        if error.err_code != _NAME_IN_USE:
            raise
        # It may have been given more replicas; an edge that starts with the default of 1 must not remove them.
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
    """Returns how long a worker keeps a job that it does not renew, seconds, as set on the broker."""
    info = await api.api(f"CONSUMER.INFO.{subjects.JOBS}.{subjects.WORKERS}")
    return float(info["config"]["ack_wait"]) / _NS
