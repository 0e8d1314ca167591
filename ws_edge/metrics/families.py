"""The metrics of an edge, from the figures of its node.

Alerts and dashboards name them: a name never changes its meaning. No label has the id of a run, an address, a subject
or any other text from outside.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from broker.metrics.figures import Metric, counter, counters, gauge, gauges, histogram, histograms, info, labelled
from broker.metrics.histogram import Histogram
from ws_edge.fanout.figures import DROPS
from ws_edge.node_statistics import NodeStatistics

EDGE = "testcast_edge_"


def families(
    figures: NodeStatistics, pubsub_lag: Histogram, publish_to_send: Histogram, build: dict[str, str]
) -> Iterator[Metric]:
    """Everything an edge tells.

    Args:
        figures: of this moment.
        build: what is running: part, version, Python.
    """
    yield info("testcast_build_info", "What is running; always 1.", build)
    yield from _state(figures)
    yield from _viewers(figures)
    yield from _over_plain_http(figures)
    yield from _fanout(figures)
    yield histogram(
        f"{EDGE}pubsub_lag_seconds",
        "From an event's storing to its arrival at this edge, by the broker's clock.",
        pubsub_lag,
    )
    yield histogram(
        f"{EDGE}publish_to_send_seconds",
        "From an event's storing to its first write to live viewers, by the broker's clock; without what is held back "
        "by TESTCAST_EDGE_PROGRESS_INTERVAL_S.",
        publish_to_send,
    )
    yield from _catch_up(figures)
    yield from _frames(figures)
    yield from _calls(figures)
    yield from _views(figures)
    yield from _keeping(figures)
    yield from _canary(figures)
    yield from _installation(figures)


def _state(figures: NodeStatistics) -> Iterable[Metric]:
    connection = figures.connection
    return (
        gauge(f"{EDGE}ready", "1: a load balancer may send viewers here.", figures.ready),
        gauge(f"{EDGE}draining", "1: it sends its viewers to other edges, and ends.", figures.draining),
        gauge(f"{EDGE}degraded_reasons", "For how many reasons it serves less than it should.", figures.degraded),
        gauge(f"{EDGE}failed_parts", "Parts that have failed and wait to be started again.", figures.failed),
        gauge(
            f"{EDGE}stale_seconds",
            "For how long what it shows may have been old; 0 while it is current.",
            figures.stale_for_s or 0.0,
        ),
        gauge(f"{EDGE}broker_connected", "1: the connection to the broker is up.", connection.connected),
        counter(
            f"{EDGE}broker_reconnects_total",
            "How often the connection to the broker came back.",
            connection.reconnects,
        ),
        counter(
            f"{EDGE}broker_dropped_total",
            "Messages of the broker that could not be handled.",
            connection.dropped,
        ),
    )


def _viewers(figures: NodeStatistics) -> Iterable[Metric]:
    hub, sockets = figures.hub, figures.sockets
    drops = dict.fromkeys(DROPS, 0) | sockets.drops
    drops["proof_ended"] += figures.proofs_given_up
    drops["too_many_messages"] += figures.quotas.given_up
    drops["answer_not_taken"] += figures.unread.given_up
    drops["made_room"] += figures.connections.closed_for_room
    return (
        gauge(f"{EDGE}sockets", "Open sockets, and streams of server-sent events.", hub.sockets),
        gauge(f"{EDGE}max_sockets", "Sockets that may be open at the same time.", figures.admission.max_sockets),
        gauge(f"{EDGE}http_connections", "Open connections that are no sockets.", figures.connections.open),
        gauge(f"{EDGE}topics", "Runs with viewers on this edge.", hub.topics),
        gauges(
            f"{EDGE}sessions",
            "Viewers' interests in a run: those that get events as they come, and those that catch up.",
            "state",
            {"live": hub.live, "behind": hub.behind},
        ),
        gauge(
            f"{EDGE}oldest_behind_seconds",
            "For how long the session has been behind that has been so for longest.",
            hub.oldest_behind_s,
        ),
        gauge(f"{EDGE}list_listeners", "Sockets that follow the list of tests.", figures.tests.listeners),
        counter(f"{EDGE}handshakes_total", "Sockets and streams that were let in.", sockets.accepted),
        counters(
            f"{EDGE}handshakes_refused_total",
            "Upgrades and streams that were refused, by the code of the answer.",
            "reason",
            sockets.refused,
        ),
        counter(
            f"{EDGE}connections_refused_total",
            "Connections that were refused before they asked for anything: the edge, or their address, has its number.",
            figures.connections.refused,
        ),
        counters(
            f"{EDGE}closes_total",
            "Sockets that have ended, by the close code that came first; 1006: without one.",
            "code",
            sockets.closes,
        ),
        counters(
            f"{EDGE}drops_total",
            "Viewers that this edge gave up, by what made it do so.",
            "reason",
            drops,
        ),
    )


def _over_plain_http(figures: NodeStatistics) -> Iterable[Metric]:
    polls = figures.polls
    return (
        gauge(
            f"{EDGE}event_streams",
            "Open streams of server-sent events; they are among the sockets.",
            figures.hub.streams,
        ),
        gauge(f"{EDGE}polls_waiting", "Requests that wait for the next event of a run.", polls.waiting),
        counter(f"{EDGE}poll_answers_total", "Answers to viewers that poll events by offset.", polls.answers),
        counter(
            f"{EDGE}poll_bodies_total",
            "Answers that were made for them: who waits at one position shares one.",
            polls.bodies,
        ),
    )


def _fanout(figures: NodeStatistics) -> Iterable[Metric]:
    fanout, hub = figures.fanout, figures.hub
    return (
        counter(f"{EDGE}events_received_total", "Live events from the broker.", fanout.received),
        counter(f"{EDGE}deliveries_total", "Events written to viewers, for each viewer.", fanout.deliveries),
        counter(f"{EDGE}sends_total", "Writes of events to viewers; one may hold many events.", fanout.sends),
        counter(f"{EDGE}sent_bytes_total", "Bytes of these writes.", fanout.sent_bytes),
        counter(f"{EDGE}gaps_total", "How often live events were missing.", hub.gaps),
        counter(
            f"{EDGE}gaps_repaired_total",
            "Of these, how often what was missing was read, or nobody was left to miss it.",
            hub.gaps_repaired,
        ),
        counter(
            f"{EDGE}forged_events_total",
            "Live events that were sent to viewers and had never been stored.",
            fanout.forged,
        ),
        counters(f"{EDGE}syncs_total", "Viewers that joined or resumed, by outcome.", "outcome", fanout.syncs),
        counters(f"{EDGE}resets_total", "Viewers that were reset, by reason.", "reason", fanout.resets),
        counters(
            f"{EDGE}unreadable_events_total",
            "Stored events that could not be read, by reason.",
            "reason",
            figures.unreadable.by_reason,
        ),
    )


def _catch_up(figures: NodeStatistics) -> Iterable[Metric]:
    fanout, replay = figures.fanout, figures.replay
    return (
        counter(f"{EDGE}catch_up_reads_total", "Reads of the stream for viewers that are behind.", replay.reads),
        counter(
            f"{EDGE}catch_up_pages_total",
            "Batches of past events written to viewers that are behind.",
            fanout.catch_up_batches,
        ),
        counter(f"{EDGE}catch_up_bytes_total", "Bytes of these batches.", fanout.catch_up_bytes),
        gauge(f"{EDGE}catch_up_waiting", "Reads of the stream under way.", replay.waiting),
    )


def _frames(figures: NodeStatistics) -> Iterable[Metric]:
    pictures = figures.pictures
    lists, channel = pictures.lists, pictures.channel
    return (
        counter(f"{EDGE}frames_received_total", "Pictures from the broker, of runs with interest.", lists.received),
        counter(f"{EDGE}frames_sent_total", "Messages to viewers that there is a new picture.", channel.sent),
        counters(f"{EDGE}frames_refused_total", "Pictures that are not shown, by reason.", "reason", lists.refused),
        counter(f"{EDGE}frames_floods_total", "How often a run had more pictures than are taken in.", lists.floods),
        counter(f"{EDGE}frames_reads_total", "Pictures read from the stream.", pictures.reads),
        counter(f"{EDGE}frames_cache_hits_total", "Pictures from memory, or by a read under way.", pictures.hits),
        gauge(f"{EDGE}frames_cache_bytes", "Bytes of pictures in memory.", pictures.held_bytes),
        counter(f"{EDGE}frames_list_reads_total", "Lists of a run's pictures read from the stream.", lists.reads),
        gauge(f"{EDGE}frames_listed", "Pictures in these lists.", lists.frames),
        gauge(f"{EDGE}frames_followers", "Sockets that follow the pictures of runs.", channel.followers),
    )


def _calls(figures: NodeStatistics) -> Iterable[Metric]:
    tokens, calls = figures.tokens, figures.calls
    checks = (0, 0, 0) if tokens is None else (tokens.hits, tokens.verified, tokens.refused)
    return (
        counters(
            f"{EDGE}token_checks_total",
            "Tokens by what came of them: known already, verified, refused.",
            "outcome",
            dict(zip(("remembered", "verified", "refused"), checks, strict=True)),
        ),
        labelled(
            f"{EDGE}calls_total", "Calls of the RPC by method and HTTP status.", ("method", "code"), {**calls.calls}
        ),
        histograms(f"{EDGE}call_seconds", "How long calls of the RPC took.", "method", calls.seconds.items()),
        counters(
            f"{EDGE}limited_total",
            "Calls and messages that were refused because there were too many of them.",
            "quota",
            figures.quotas.by_quota,
        ),
    )


def _views(figures: NodeStatistics) -> Iterable[Metric]:
    projector = figures.projector
    return (
        counter(f"{EDGE}projector_written_total", "Snapshots that this edge has written.", projector.written),
        counter(
            f"{EDGE}projector_conflicts_total",
            "Snapshots that another edge had written meanwhile.",
            projector.conflicts,
        ),
        counter(f"{EDGE}projector_failures_total", "Folds that the broker did not answer.", projector.failures),
        gauge(f"{EDGE}projector_pending", "Runs that wait to be folded.", projector.pending),
        counter(f"{EDGE}runs_reaped_total", "Lost runs that this edge has ended.", figures.reaper.ended),
        counter(f"{EDGE}runs_requeued_total", "Lost jobs that this edge has queued again.", figures.requeue.requeued),
        counter(
            f"{EDGE}runs_refilled_total",
            "Snapshots that were missing or wrong, and were folded again by this edge.",
            figures.refill.folded,
        ),
    )


def _keeping(figures: NodeStatistics) -> Iterable[Metric]:
    keeping, keeper = figures.keeping, figures.keeping.keeper
    return (
        counters(
            f"{EDGE}runs_deleted_total",
            "Runs that this edge has deleted: for their age, on request, or where a deletion was cut short.",
            "reason",
            {"age": keeper.deleted, "request": keeping.requested, "cut_short": keeper.finished},
        ),
        counter(f"{EDGE}subjects_purged_total", "Subjects with messages of no run that were emptied.", keeper.purged),
        counter(f"{EDGE}deletion_failures_total", "Steps that the broker did not answer, or refused.", keeper.failures),
        gauge(f"{EDGE}deletions_pending", "Deletions that have begun and have not ended.", keeper.begun),
        gauge(
            f"{EDGE}keeper_look_age_seconds",
            "Since when this edge has not looked at all runs for their age; 0 where it does not.",
            keeper.look_age_s,
        ),
    )


def _canary(figures: NodeStatistics) -> Iterable[Metric]:
    canary = figures.canary
    yield gauge(f"{EDGE}canary_running", "1: this edge follows a probe of its own through the broker.", canary.running)
    yield histogram(
        f"{EDGE}canary_seconds", "From a probe's publishing to when a viewer inside this edge saw it.", canary.seconds
    )
    yield counter(f"{EDGE}canary_missing_total", "Probes that were not seen in time.", canary.missing)
    if canary.age_s is not None:
        yield gauge(f"{EDGE}canary_age_seconds", "Since when no probe was seen.", canary.age_s)


def _installation(figures: NodeStatistics) -> Iterable[Metric]:
    installation, catalogue = figures.installation, figures.catalogue
    yield gauges("testcast_runs", "Runs by status; of the whole installation.", "status", catalogue.by_status)
    yield gauge("testcast_runs_pinned", "Pinned runs; of the whole installation.", figures.keeping.pins.pinned)
    yield gauge("testcast_queue_jobs", "Runs that wait for an agent; of the whole installation.", catalogue.queued)
    if figures.queue_oldest_s is not None:
        yield gauge(
            "testcast_queue_oldest_seconds",
            "For how long the run has waited that waits for longest; of the whole installation.",
            figures.queue_oldest_s,
        )
    yield gauge("testcast_agents", "Agents that are alive, at least; of the whole installation.", installation.agents)
    sizes = installation.streams
    for name, field, what in (
        ("testcast_stream_bytes", "bytes", "Bytes in a stream or bucket"),
        ("testcast_stream_messages", "messages", "Messages in a stream or bucket"),
        ("testcast_stream_max_bytes", "max_bytes", "Bytes that a stream or bucket may hold; 0: any number"),
        ("testcast_stream_max_messages", "max_messages", "Messages that a stream or bucket may hold; 0: any number"),
    ):
        values = {stream: getattr(size, field) for stream, size in sizes.items()}
        yield gauges(name, f"{what}; of the whole installation.", "stream", values)
