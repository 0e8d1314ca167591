"""What a transport needs of the node behind it."""

from __future__ import annotations

from typing import Any, Protocol

from ws_edge.access import Access
from ws_edge.config import EdgeConfig
from ws_edge.fanout.hub import Hub
from ws_edge.transport.admission import Admission
from ws_edge.transport.connections import Connections
from ws_edge.transport.hosts import Hosts
from ws_edge.transport.inbound import Inbound
from ws_edge.transport.quotas import Quotas
from ws_edge.transport.unread import UnreadAnswers


class Channel(Protocol):
    """The list of tests, as viewers follow it."""

    def add(self, listener: Any, /) -> None:
        """The listener gets the whole list, and changes from then on."""

    def remove(self, listener: Any, /) -> None:
        """Ends that; harmless when it is no listener."""

    def __contains__(self, listener: object, /) -> bool:
        """Whether it is a listener."""


class FramesChannel(Protocol):
    """The pictures of runs, as viewers follow them."""

    def add(self, follower: Any, test_id: str, /) -> None:
        """The viewer is told of the run's newest picture, and of newer ones from then on.

        Raises:
            BadInput: it follows too many.
        """

    def remove(self, follower: Any, test_id: str, /) -> bool:
        """Ends that. Returns whether it followed them."""

    def leave(self, follower: Any, /) -> None:
        """Ends all of a viewer's."""

    def follows(self, follower: Any, test_id: str, /) -> bool:
        """Whether the viewer follows a run's pictures."""

    def followed_by(self, follower: Any, /) -> tuple[str, ...]:
        """The runs whose pictures the viewer follows."""


class Pictures(Protocol):
    """The pictures of the node."""

    @property
    def channel(self) -> FramesChannel:
        """Who follows them."""


class Services(Protocol):
    """The node."""

    hub: Hub
    access: Access
    admission: Admission
    connections: Connections
    hosts: Hosts
    inbound: Inbound
    quotas: Quotas
    unread: UnreadAnswers
    config: EdgeConfig
    draining: bool

    @property
    def pictures(self) -> Pictures:
        """The pictures of runs."""

    @property
    def tests(self) -> Channel:
        """The list of tests."""

    async def cancel(self, test_id: str) -> object:
        """Ends a run as cancelled.

        Raises:
            NotFound, AlreadyEnded, BrokerUnavailable.
        """
