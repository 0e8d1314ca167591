"""Why a stream or consumer cannot be declared, with what an operator can do about it. Pure."""

from __future__ import annotations

from typing import Final

from broker.contract.errors import BrokerRefused, BrokerUnavailable, NotPermitted, NotThere, TestcastError

OVERLAP: Final = 10065
"""Another stream takes messages of its subjects."""
NO_PEERS: Final = 10005
"""The cluster's nodes have not all found each other yet, or it has fewer nodes than replicas."""
_NOT_CLUSTERED: Final = 10074
_NO_STORAGE: Final = 10047
_NO_JETSTREAM: Final = (10039, 10076)


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
    if not isinstance(error, BrokerRefused):
        return BrokerUnavailable(f"{name}: {error.message}")
    text = error.message
    if error.err_code == OVERLAP:
        text += overlapping
    elif error.err_code == _NOT_CLUSTERED:
        text += f": TESTCAST_NATS_REPLICAS is {replicas}, and this server is no cluster"
    elif error.err_code == NO_PEERS:
        text += f": TESTCAST_NATS_REPLICAS is {replicas}, and the cluster has fewer nodes at the moment"
    elif error.err_code == _NO_STORAGE:
        text += ": give the server or the account more, or set a smaller TESTCAST_EVENTS_MAX_BYTES"
    elif error.err_code in _NO_JETSTREAM:
        text += ": start the server with JetStream (`nats-server -js`), and enable it for this account"
    return BrokerRefused(f"{name}: {text}", error.err_code)
