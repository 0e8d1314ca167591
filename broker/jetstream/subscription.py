"""What a connection gives its users: a subscription to close, and its own figures."""

from __future__ import annotations

from typing import NamedTuple

from broker.jetstream.client import NatsClient, NatsSubscription


class Subscription:
    """Interest in one subject."""

    __slots__ = ("_client", "_subscription")

    def __init__(self, client: NatsClient, subscription: NatsSubscription) -> None:
        self._client = client
        self._subscription = subscription

    def __repr__(self) -> str:
        return f"<Subscription {self._subscription.subject}>"

    async def close(self) -> None:
        """Ends the interest; no handler call follows. Harmless when it is closed already, or disconnected."""
        await self._client.unlisten(self._subscription)


class ConnectionStatistics(NamedTuple):
    """A connection at one moment."""

    connected: bool
    reconnects: int
    """Times the connection came back after it was lost."""
    dropped: int
    """Messages whose handler raised, or that nats-py could not decode."""
    subscriptions: int
    waiting_requests: int
    """Requests whose replies have not all arrived."""
