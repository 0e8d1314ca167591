"""What a broker is, and how it differs from what testcast declares. Changes nothing."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, NamedTuple

import orjson

from broker.contract import subjects
from broker.contract.errors import BrokerRefused, BrokerUnavailable, NotThere
from broker.jetstream import topology
from broker.jetstream.api import Streams
from broker.jetstream.connection import Connection

_OPERATORS: Final = frozenset({"max_age", "max_bytes", "num_replicas", "ack_wait"})
"""An operator may set these to any value."""
_OF_FRAMES: Final = _OPERATORS | {"max_msgs_per_subject"}
"""And this of the pictures."""
_NO_JETSTREAM: Final = (10039, 10076)
_FULL_SHARE: Final = 0.9
_PATIENCE_S: Final = 2.0


class Remark(NamedTuple):
    """One thing about a broker."""

    name: str
    ok: bool
    detail: str
    advice: str = ""


async def inspect(nats: Connection, replicas: int = 1) -> list[Remark]:
    """Returns what the broker at the end of a connection is, in the order in which to mend it.

    Raises:
        BrokerUnavailable: the connection was lost.
    """
    remarks = await _server(nats)
    api = Streams(nats, mends=False)  # an inspection changes nothing
    try:
        account = await api.api("INFO", timeout_s=_PATIENCE_S)
    except (BrokerUnavailable, BrokerRefused) as error:
        if isinstance(error, BrokerRefused) and error.err_code not in _NO_JETSTREAM:
            return [*remarks, Remark("JetStream", False, error.message, "let this user send requests to JetStream")]
        advice = "start nats-server with -js, or switch JetStream on for this account"
        return [*remarks, Remark("JetStream", False, "does not answer: it is switched off for this user", advice)]
    remarks.append(_storage(account))
    for wanted in topology.streams(replicas):
        remarks.append(await _compare(api, f"STREAM.INFO.{wanted['name']}", f"stream {wanted['name']}", wanted))
    for stream, wanted in topology.consumers():
        name = wanted["durable_name"]
        remarks.append(await _compare(api, f"CONSUMER.INFO.{stream}.{name}", f"consumer {name}", wanted))
    return remarks


async def _server(nats: Connection) -> list[Remark]:
    """Who we are there, and its clock. Servers answer this request for every user who may send it."""
    asked_at = time.time()
    try:
        reply = await nats.request("$SYS.REQ.USER.INFO", b"", timeout_s=_PATIENCE_S)
        told = orjson.loads(reply.data)
        server, user = told["server"], told.get("data", {})
        theirs = datetime.fromisoformat(server["time"].replace("Z", "+00:00")[:26].rstrip("+") + "+00:00").timestamp()
    except (BrokerUnavailable, ValueError, KeyError, TypeError):
        return [Remark("broker", True, f"{nats.address}; it does not say as whom we are connected")]
    who = f"user {user.get('user') or 'without a name'}, account {user.get('account') or 'unknown'}"
    return [
        Remark("broker", True, f"{nats.address}, nats-server {server.get('ver', '?')}, {who}"),
        clock("broker's clock", theirs, asked_at, time.time()),
    ]


def clock(name: str, theirs_s: float, asked_at_s: float, told_at_s: float) -> Remark:
    """Compares a clock with ours, between whose two readings it was read. A second or two does no harm."""
    skew_s = max(asked_at_s - theirs_s, theirs_s - told_at_s, 0.0)
    detail = f"differs from this machine's by {skew_s:.1f} s" if skew_s >= 0.1 else "the same as this machine's"
    return Remark(name, skew_s <= 2.0, detail, "" if skew_s <= 2.0 else "synchronize both clocks, for example with NTP")


def _storage(account: Mapping[str, Any]) -> Remark:
    used, limit = int(account.get("storage", 0)), int((account.get("limits") or {}).get("max_storage", -1))
    share = used / limit if limit > 0 else 0.0
    room = f"of {limit / 2**20:.0f} MiB" if limit > 0 else "and no limit of its own"
    advice = "" if share < _FULL_SHARE else "raise the account's max_storage, or lower the retention of the streams"
    return Remark("JetStream", share < _FULL_SHARE, f"on; {used / 2**20:.1f} MiB stored {room}", advice)


async def _compare(api: Streams, request: str, name: str, wanted: Mapping[str, Any]) -> Remark:
    try:
        found = (await api.api(request, timeout_s=_PATIENCE_S))["config"]
    except BrokerRefused as error:
        return Remark(name, False, error.message, "let this user ask for it")
    except BrokerUnavailable as error:
        if isinstance(error, NotThere) and error.certain:
            return Remark(name, False, "does not exist", "run `testcast declare`, or start an edge or an agent")
        return Remark(name, False, error.message, "see that the cluster has a leader, or that this user may ask")
    theirs = _OF_FRAMES if wanted.get("name") == subjects.FRAMES else _OPERATORS
    differs = [key for key in wanted if key not in theirs and not _same(found.get(key), wanted[key])]
    if differs:
        listed = ", ".join(f"{key} is {found.get(key)!r} instead of {wanted[key]!r}" for key in differs)
        return Remark(name, False, listed, "set it back: nats stream edit, nats consumer edit")
    own = ", ".join(f"{key} {found[key]}" for key in sorted(theirs & found.keys()))
    return Remark(name, True, f"as declared ({own})")


def _same(found: Any, wanted: Any) -> bool:
    if isinstance(wanted, Mapping):
        return isinstance(found, Mapping) and all(_same(found.get(key), value) for key, value in wanted.items())
    return bool(found == wanted) or (not found and not wanted)
