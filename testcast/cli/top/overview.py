"""What the pages of one or several sources say, as a person asks it. Pure.

What no page has is None. What every edge tells of the whole installation alike is taken once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, Literal, NamedTuple

from testcast.cli.top.scrapes import History, Quantile, Samples, by_label, largest, matching, quantile, total

EDGE: Final = "testcast_edge_"
AGENT: Final = "testcast_agent_"
STATUSES: Final = ("queued", "running", "completed", "failed", "cancelled")
_CANARY_OLD_S: Final = 35.0
"""A probe goes out every 10 s by default; three were missed then."""
_BEHIND_LONG_S: Final = 10.0
"""A viewer that was slow for a moment catches up in less."""
_OUTBOX_FULL: Final = 800
"""An agent keeps 1,000 events of a run, and then waits."""

Health = Literal["well", "degraded", "down", "unknown"]


class Source:
    """One page that is read again and again.

    Attributes:
        name: host and port.
        error: why there is no page at the moment; empty while there is one.
        late: the newest page is shown, although the next one should have come.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.error = ""
        self.late = False
        self.history = History()

    def __repr__(self) -> str:
        return f"<Source {self.name} {self.error or self.history!r}>"


class Process(NamedTuple):
    """A line of the table: one process, or all of a page."""

    name: str
    state: str
    health: Health
    source: bool = False
    """It stands for a whole page."""
    kind: str = ""
    sockets: float | None = None
    live: float | None = None
    behind: float | None = None
    events_per_s: float | None = None
    deliveries_per_s: float | None = None
    sent_bytes_per_s: float | None = None
    p99: Quantile | None = None
    playing: float | None = None
    slots: float | None = None
    outbox: float | None = None
    cpu: float | None = None
    """Processors that it keeps busy."""
    memory_bytes: float | None = None


class Overview(NamedTuple):
    """Everything that is shown."""

    runs: Mapping[str, float | None]
    """By status."""
    queue: float | None
    queue_oldest_s: float | None
    agents: float | None
    slots: float | None
    playing: float | None
    outbox: float | None
    sockets: float | None
    live: float | None
    behind: float | None
    oldest_behind_s: float | None
    events_per_s: float | None
    deliveries_per_s: float | None
    sent_bytes_per_s: float | None
    handshakes_per_s: float | None
    send_p50: Quantile | None
    send_p99: Quantile | None
    pubsub_p99: Quantile | None
    canary_p99: Quantile | None
    canary_age_s: float | None
    problems: Sequence[str]
    """What is amiss, a sentence each."""
    processes: Sequence[Process]
    """Each source, and its processes after it."""


def overview(sources: Sequence[Source]) -> Overview:
    """What the newest pages say, and how they differ from those before."""
    pages = [each.history.newest.samples for each in sources if each.history.newest is not None and not each.error]
    up = [each.history for each in sources if not each.error]

    def most(name: str) -> float | None:
        return _most(largest(page, name) for page in pages)

    def every(name: str, **labels: str) -> float | None:
        return _sum(total(page, name, **labels) for page in pages)

    def rate(name: str) -> float | None:
        return _sum(history.rate(name) for history in up)

    statuses = [by_label(page, "testcast_runs", "status") for page in pages]
    sends = _counts(up, f"{EDGE}publish_to_send_seconds")
    return Overview(
        runs={status: _most(each.get(status) for each in statuses) for status in STATUSES},
        queue=most("testcast_queue_jobs"),
        queue_oldest_s=most("testcast_queue_oldest_seconds"),
        agents=most("testcast_agents"),
        slots=every(f"{AGENT}slots"),
        playing=every(f"{AGENT}runs"),
        outbox=every(f"{AGENT}outbox_events"),
        sockets=every(f"{EDGE}sockets"),
        live=every(f"{EDGE}sessions", state="live"),
        behind=every(f"{EDGE}sessions", state="behind"),
        oldest_behind_s=most(f"{EDGE}oldest_behind_seconds"),
        events_per_s=rate(f"{EDGE}events_received_total"),
        deliveries_per_s=rate(f"{EDGE}deliveries_total"),
        sent_bytes_per_s=rate(f"{EDGE}sent_bytes_total"),
        handshakes_per_s=rate(f"{EDGE}handshakes_total"),
        send_p50=quantile(sends, 0.5),
        send_p99=quantile(sends, 0.99),
        pubsub_p99=quantile(_counts(up, f"{EDGE}pubsub_lag_seconds"), 0.99),
        canary_p99=quantile(_counts(up, f"{EDGE}canary_seconds"), 0.99),
        canary_age_s=most(f"{EDGE}canary_age_seconds"),
        problems=[problem for source in sources for problem in problems(source)],
        processes=[process for source in sources for process in processes_of(source)],
    )


def processes_of(source: Source) -> list[Process]:
    """A line for a source, and one for each process on its page where that is of several."""
    if source.error:
        return [Process(source.name, "down", "down", source=True)]
    if source.history.newest is None:
        return [Process(source.name, "no answer yet", "unknown", source=True)]
    samples = source.history.newest.samples
    parts = _parts(samples)
    names = [name for name in parts if name]
    rows = [_process(samples, name, parts[name], process=name) for name in sorted(names)]
    worst = max((row.health for row in rows), key=_badness, default=None)
    whole = _process(samples, source.name, parts.get("", ""))
    if rows:
        state = f"{len(rows)} process{'es' if len(rows) > 1 else ''}"
        ill = worst == "degraded" or _silent(samples)
        whole = whole._replace(state=state, health="degraded" if ill else "well", kind="")
    if source.late:
        whole = whole._replace(state="late", health="degraded")
    history = source.history
    whole = whole._replace(
        source=True,
        events_per_s=history.rate(f"{EDGE}events_received_total"),
        deliveries_per_s=history.rate(f"{EDGE}deliveries_total"),
        sent_bytes_per_s=history.rate(f"{EDGE}sent_bytes_total"),
        cpu=history.rate("process_cpu_seconds_total"),
        p99=quantile(history.counts(f"{EDGE}publish_to_send_seconds"), 0.99),
    )
    return [whole, *rows]


def _badness(health: Health) -> int:
    return ("well", "unknown", "degraded", "down").index(health)


def _parts(samples: Samples) -> dict[str, str]:
    """The processes of a page, by the label that a merged page has ("" on one of a single process) -> their part."""
    parts: dict[str, str] = {}
    for name, part in ((f"{EDGE}ready", "edge"), (f"{AGENT}slots", "agent"), ("testcast_build_info", "")):
        for each in samples.get(name, ()):
            parts[each.labels.get("process", "")] = part or each.labels.get("part", "")
    return parts


def _process(samples: Samples, name: str, kind: str, **process: str) -> Process:
    """What a page says of one process; without `process`, of all of them together."""

    def now(family: str, **labels: str) -> float | None:
        return total(samples, family, **labels, **process)

    state, health = _state(samples, kind, **process)
    return Process(
        name,
        state,
        health,
        kind=kind,
        sockets=now(f"{EDGE}sockets"),
        live=now(f"{EDGE}sessions", state="live"),
        behind=now(f"{EDGE}sessions", state="behind"),
        playing=now(f"{AGENT}runs"),
        slots=now(f"{AGENT}slots"),
        outbox=now(f"{AGENT}outbox_events"),
        memory_bytes=now("process_resident_memory_bytes"),
    )


_STATES: Final[Sequence[tuple[str, str, Callable[[float], bool], str]]] = (
    ("edge", "draining", bool, "draining"),
    ("edge", "failed_parts", bool, "failing"),
    ("edge", "ready", lambda value: not value, "not ready"),
    ("edge", "broker_connected", lambda value: not value, "broker away"),
    ("edge", "degraded_reasons", bool, "degraded"),
    ("edge", "stale_seconds", bool, "stale"),
    ("agent", "broker_connected", lambda value: not value, "broker away"),
    ("agent", "browser_failing", bool, "no browser"),
    ("agent", "pulling", lambda value: not value, "takes no jobs"),
)
"""Part, figure, when it is amiss, and what the process is then; the first that holds is shown."""


def _state(samples: Samples, kind: str, **process: str) -> tuple[str, Health]:
    known = False
    for part, figure, amiss, state in _STATES:
        if part == kind:
            for each in matching(samples, f"testcast_{part}_{figure}", **process):
                known = True
                if amiss(each.value):
                    return state, "degraded"
    if known:
        return "ready", "well"
    return ("runs", "well") if kind in ("up", "demo", "supervisor") else ("—", "unknown")


def problems(source: Source) -> list[str]:
    """What is amiss with one source, a sentence each."""
    if source.error:
        return [f"{source.name}: {source.error}"]
    if source.history.newest is None:
        return []
    samples = source.history.newest.samples
    found = [f"{source.name}: the next page is late; these figures are old"] if source.late else []
    found += _silent(samples)
    found += [
        f"{row.name} ({row.kind}): {row.state}" if row.kind and row.name != row.kind else f"{row.name}: {row.state}"
        for row in processes_of(source)
        if row.health == "degraded" and (row.kind or not row.source)
    ]
    found += [sentence for sentence in _of_the_moment(samples) if sentence]
    found += [
        f"{words} ({count:.0f} in the last minute)"
        for name, words in _RISING
        if (count := source.history.increase(name))
    ]
    gaps = source.history.increase(f"{EDGE}gaps_total") or 0
    repaired = source.history.increase(f"{EDGE}gaps_repaired_total") or 0
    if gaps > repaired:
        found.append(f"gaps found and not repaired yet ({gaps - repaired:.0f})")
    return found


_RISING: Final = (
    (f"{EDGE}canary_missing_total", "canary probes were not seen"),
    (f"{EDGE}projector_failures_total", "snapshots could not be written"),
    (f"{EDGE}forged_events_total", "events were sent that nobody had stored"),
    (f"{AGENT}leases_lost_total", "leases were lost"),
    (f"{AGENT}heartbeat_failures_total", "signs of life failed"),
    ("testcast_process_restarts_total", "processes were restarted"),
)
"""Counters that stand still while all is well."""


def _silent(samples: Samples) -> list[str]:
    """Processes that run and are not on the page of the process that started them, or do not run any more."""
    parts = list(_parts(samples).values())
    found = []
    for kind in ("edge", "agent"):
        started = total(samples, "testcast_processes", kind=kind)
        if started is not None and started > (there := parts.count(kind)):
            found.append(f"{started - there:.0f} of {started:.0f} {kind} processes give no metrics at the moment")
        if lost := total(samples, "testcast_processes_lost", kind=kind):
            found.append(f"{kind} processes have ended by themselves, and nobody starts them again ({lost:.0f})")
    return found


def _of_the_moment(samples: Samples) -> Iterable[str]:
    stale_s, canary_s = largest(samples, f"{EDGE}stale_seconds"), largest(samples, f"{EDGE}canary_age_seconds")
    behind_s, outbox = largest(samples, f"{EDGE}oldest_behind_seconds"), largest(samples, f"{AGENT}outbox_events")
    if stale_s:
        yield f"what is shown may be old, for {stale_s:.0f} s"
    if canary_s is not None and canary_s > _CANARY_OLD_S:
        yield f"no canary was seen for {canary_s:.0f} s"
    if behind_s is not None and behind_s > _BEHIND_LONG_S:
        yield f"a viewer has been behind for {behind_s:.0f} s"
    if outbox is not None and outbox > _OUTBOX_FULL:
        yield f"an agent's outbox is nearly full ({outbox:.0f} events)"
    if largest(samples, "testcast_broker_disk_full"):
        yield "the broker's disk is full: nothing is stored"
    if total(samples, "testcast_agents") == 0 and total(samples, "testcast_queue_jobs"):
        yield "runs wait, and no agent is alive"


def _sum(values: Iterable[float | None]) -> float | None:
    known = [each for each in values if each is not None]
    return sum(known) if known else None


def _most(values: Iterable[float | None]) -> float | None:
    return max((each for each in values if each is not None), default=None)


def _counts(histories: Iterable[History], name: str) -> dict[float, float] | None:
    """The values of all sources, where their bounds are the same; of the first ones where they are not."""
    found: dict[float, float] | None = None
    for history in histories:
        counts = history.counts(name)
        if counts is not None and found is None:
            found = dict(counts)
        elif counts is not None and found is not None and found.keys() == counts.keys():
            found = {bound: found[bound] + count for bound, count in counts.items()}
    return found


SORTS: Final = ("name", "state", "sockets", "deliveries", "memory")
"""What the table can be sorted by."""


def in_order(processes: Sequence[Process], by: str) -> list[Process]:
    """The lines sorted, each source with its processes after it; the largest and the worst first, unknown last."""
    groups: list[list[Process]] = []
    for each in processes:
        if each.source or not groups:
            groups.append([])
        groups[-1].append(each)
    key = _KEYS[by]
    ordered = sorted(groups, key=lambda group: key(group[0]))
    return [row for group in ordered for row in (group[0], *sorted(group[1:], key=key))]


def _down(value: float | None) -> float:
    return 1.0 if value is None else -value


_KEYS: Final[Mapping[str, Callable[[Process], tuple[float, str]]]] = {
    "name": lambda row: (0.0, row.name),
    "state": lambda row: (-float(_badness(row.health)), row.name),
    "sockets": lambda row: (_down(row.sockets), row.name),
    "deliveries": lambda row: (_down(row.deliveries_per_s), row.name),
    "memory": lambda row: (_down(row.memory_bytes), row.name),
}
