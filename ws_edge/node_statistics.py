"""The figures of an edge node: those of all its parts."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from broker.jetstream.connection import ConnectionStatistics
from ws_edge.access.records import RecordsStatistics
from ws_edge.fanout.canary import CanaryStatistics
from ws_edge.fanout.figures import FanoutStatistics, SocketStatistics
from ws_edge.fanout.hub import HubStatistics
from ws_edge.fanout.poll import PollStatistics
from ws_edge.fanout.proofs import OpenProofsStatistics
from ws_edge.fanout.replay import ReplayStatistics
from ws_edge.fanout.unreadable import UnreadableStatistics
from ws_edge.transport.admission import AdmissionStatistics
from ws_edge.transport.call_figures import CallStatistics
from ws_edge.transport.connections import ConnectionsStatistics
from ws_edge.transport.inbound import InboundStatistics
from ws_edge.transport.quotas import QuotaStatistics
from ws_edge.transport.unread import UnreadStatistics
from ws_edge.views.catalogue import CatalogueStatistics
from ws_edge.views.installation import InstallationStatistics
from ws_edge.views.keeping import KeepingStatistics
from ws_edge.views.pictures import PicturesStatistics
from ws_edge.views.projector import ProjectorStatistics
from ws_edge.views.reaper import ReaperStatistics
from ws_edge.views.refill import RefillStatistics
from ws_edge.views.requeue import RequeueStatistics
from ws_edge.views.tests_channel import TestsChannelStatistics
from ws_edge.webhooks.sender import WebhookStatistics

if TYPE_CHECKING:
    from ws_edge.access.token_access import TokenAccessStatistics


class NodeStatistics(NamedTuple):
    """The figures of all parts of a node at one moment."""

    ready: bool
    draining: bool
    stale_for_s: float | None
    """Since when what this node shows may be old, seconds ago; None while it is current."""
    degraded: int
    """How many reasons there are for which this node serves less than it should."""
    failed: int
    """Parts that have failed and wait to be started again."""
    connection: ConnectionStatistics
    hub: HubStatistics
    canary: CanaryStatistics
    queue_oldest_s: float | None
    """For how long the run has waited that waits for longest, 0 while none does; None while that is not known."""
    proofs_given_up: int
    """Sockets that were closed since the start, because the proof of who they are had ended."""
    fanout: FanoutStatistics
    sockets: SocketStatistics
    polls: PollStatistics
    calls: CallStatistics
    tokens: TokenAccessStatistics | None
    """None: without authentication."""
    installation: InstallationStatistics
    replay: ReplayStatistics
    admission: AdmissionStatistics
    connections: ConnectionsStatistics
    unread: UnreadStatistics
    quotas: QuotaStatistics
    inbound: InboundStatistics
    catalogue: CatalogueStatistics
    projector: ProjectorStatistics
    refill: RefillStatistics
    reaper: ReaperStatistics
    keeping: KeepingStatistics
    requeue: RequeueStatistics
    webhooks: WebhookStatistics
    tests: TestsChannelStatistics
    unreadable: UnreadableStatistics
    pictures: PicturesStatistics
    proofs: OpenProofsStatistics
    records: RecordsStatistics
