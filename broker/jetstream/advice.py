"""Why a stream or consumer cannot be declared, with what an operator can do about it. Pure."""

from __future__ import annotations

from typing import Final

from broker.contract import subjects
from broker.contract.errors import (
    BrokerRefused,
    BrokerUnavailable,
    NotPermitted,
    NotThere,
    StorageFull,
    TestcastError,
)

OVERLAP: Final = 10065
"""Another stream takes messages of its subjects."""
NO_PEERS: Final = 10005
"""The cluster's nodes have not all found each other yet, or it has fewer nodes than replicas."""
_NOT_CLUSTERED: Final = 10074
_LARGER_THAN_ALLOWED: Final = 10122
"""A stream's `max_bytes` is above what the account allows each stream."""
_NO_JETSTREAM: Final = (10039, 10076)
_SMALLER: Final = {
    subjects.EVENTS: "give the server or the account more, or set a smaller TESTCAST_EVENTS_MAX_BYTES",
    subjects.FRAMES: "give the server or the account more, or set a smaller TESTCAST_FRAMES_MAX_BYTES",
}


def lacks_room(error: TestcastError) -> bool:
    """Whether a stream was refused because the broker cannot set aside the bytes that it may take."""
    if isinstance(error, BrokerRefused):  # a cluster names it as a lack of peers
        clustered = error.err_code == NO_PEERS and "insufficient storage" in error.message
        return clustered or error.err_code == _LARGER_THAN_ALLOWED
    return isinstance(error, StorageFull)


def explained(name: str, error: TestcastError, replicas: int, overlapping: str) -> TestcastError:
    """Returns the same error, with what an operator can do about it.

    Args:
        name: of the stream or consumer.
        replicas: copies of each stream that is made.
        overlapping: which other stream takes its messages, where the error is `OVERLAP`.
    """
    if isinstance(error, NotPermitted):
        return NotPermitted(f"{name}: {error.message}. Permit it, or have an operator run `testcast declare`")
    if isinstance(error, NotThere):  # also of what is about to be made: the API itself does not answer
        hint = "JetStream is not enabled, has no leader yet, or is in another domain (TESTCAST_NATS_JS_DOMAIN)"
        return BrokerUnavailable(f"{name}: {error.message}: {hint}")
    if lacks_room(error) and name in _SMALLER:
        return type(error)(f"{name}: {error.message}: {_SMALLER[name]}")
    if not isinstance(error, BrokerRefused):
        return BrokerUnavailable(f"{name}: {error.message}")
    text = error.message
    if error.err_code == OVERLAP:
        text += overlapping
    elif error.err_code == _NOT_CLUSTERED:
        text += f": TESTCAST_NATS_REPLICAS is {replicas}, and this server is no cluster"
    elif error.err_code == NO_PEERS:
        text += f": TESTCAST_NATS_REPLICAS is {replicas}, and the cluster has fewer nodes at the moment"
    elif error.err_code in _NO_JETSTREAM:
        text += ": start the server with JetStream (`nats-server -js`), and enable it for this account"
    return BrokerRefused(f"{name}: {text}", error.err_code)
