"""The tables of docs/scale.md. `python -m tests.bench simulate` prints them and writes them there."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import orjson

from tests.bench.report import NONE, table
from tests.bench.scale import checks, measured, storm, traffic
from tests.bench.scale.measured import ASSUMED, CONNECT_S, DRAIN_S, HANDSHAKES_PER_S, MAX_SOCKETS, POLL_S, Measured
from tests.bench.scale.traffic import Audience
from ws_edge.fanout.drain import spread_s

PAGE: Final = Path(__file__).parents[3] / "docs" / "scale.md"
MILLION: Final = 1_000_000
_FAST: Final = 4.0
"""Events a second of a run, as it is played."""
_SLOW: Final = 0.2
"""Messages a second of a run, with the default interval of progress."""


def _of(viewers: int, messages_per_s: float = _SLOW) -> list[Audience]:
    return [
        traffic.one_run(viewers, _FAST, messages_per_s),
        traffic.popular(viewers, max(10, viewers // 1_000), _FAST, messages_per_s),
        traffic.small_runs(viewers, 10, _FAST, messages_per_s),
    ]


def _round(value: float) -> str:
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 1 else f"{value:.2g}"


def parameters(figures: Measured) -> list[str]:
    """Everything that goes in, with where it comes from."""
    rows = measured.described(figures)
    slow, fast = figures.edge_us(0), figures.edge_us(figures.many_per_s.value)
    rows += [["broker, a message to an edge, µs", f"{_round(slow)} to {_round(fast)}", "the rows of the broker above"]]
    rows += [[what, f"{value:g}", "the code"] for what, value in measured.SETTINGS.items()]
    rows += [[what.replace("_", " "), f"{value:g}", "assumed"] for what, value in ASSUMED._asdict().items()]
    return table(["parameter", "value", "from"], rows)


def compared(figures: Measured) -> list[str]:
    """The simulation at sizes that were measured."""
    rows = [
        [each.what, _round(each.measured), _round(each.simulated), f"{each.off:+.0%}", f"{each.may_be_off:.0%}"]
        for each in checks.checks(figures)
    ]
    return table(["", "measured", "simulated", "off by", "allowed"], rows)


def edges(figures: Measured) -> list[str]:
    """How many edges it takes."""
    rows = []
    for viewers in (10_000, 100_000, MILLION, 3 * MILLION):
        for paced in (_SLOW, _FAST):
            for audience in _of(viewers, paced):
                found = traffic.edges(audience, figures)
                hashed = traffic.edges(audience, figures, together=True)
                memory_gb = viewers * figures.connection_kb.value / 1024**2
                sizes = [found.by_sockets, found.by_processor, hashed.by_processor]
                more = [_round(found.delivery_cores), _round(memory_gb)]
                rows.append([f"{viewers:,}", audience.name, f"{paced:g}", *(f"{size:,}" for size in sizes), *more])
    head = ["viewers", "of", "messages a run and second", "processes for the sockets", "for the processor",
            "for it, balanced by run", "cores of deliveries alone", "memory of the sockets, GB"]  # fmt: skip
    return table(head, rows)


def broker(figures: Measured) -> list[str]:
    """What the broker carries for a million viewers."""
    rows = []
    for audience in _of(MILLION):
        for name, together in (("by run", True), ("at random", False)):
            processes = traffic.edges(audience, figures, together=together).needed
            found = traffic.broker(audience, processes, figures, together=together)
            rows.append([audience.name, name, f"{processes:,}", *_cells(found), NONE])
        for leaves in (4, 16):
            hub, leaf = traffic.with_leaves(audience, processes, leaves, figures)
            rows.append(
                [audience.name, f"at random, {leaves} leaf nodes", f"{processes:,}", *_cells(hub), _round(leaf)]
            )
    head = ["a million viewers of", "balanced", "edges", "stored a second", "live messages a second",
            "snapshots a second", "cores", "MB a second", "cores of a leaf node"]  # fmt: skip
    return table(head, rows)


def _cells(found: traffic.Broker) -> list[str]:
    return [_round(each) for each in (found.stored, found.live, found.listed, found.cores, found.bytes / 1e6)]


def storms(figures: Measured) -> list[str]:
    """Viewers that come back."""
    processes = traffic.edges(_of(MILLION)[0], figures).needed
    each = MILLION // processes

    def edges_of(count: int, handshake_us: float, free: float = 1 - ASSUMED.busy / 2, held: int = each) -> storm.Edges:
        room = count * (int(MAX_SOCKETS) - held)
        return storm.Edges(count, handshake_us, figures.poll_us.value, free, HANDSHAKES_PER_S, CONNECT_S, room)

    plain, token = figures.handshake_us.value, figures.token_us.value
    join = figures.join_us.value
    cases = [
        ("an edge is killed", each, edges_of(processes - 1, plain)),
        ("a zone of three is lost", MILLION // 3, edges_of(processes - processes // 3, plain)),
        ("the same, tokens that these edges have not seen", MILLION // 3, edges_of(processes - processes // 3, token)),
        ("a region of two is lost", MILLION // 2, edges_of(processes - processes // 2, plain)),
        ("every edge starts again, none was drained", MILLION, edges_of(processes, plain, 1.0, 0)),
        ("the same, with new tokens", MILLION, edges_of(processes, token, 1.0, 0)),
        ("the same, and everybody joins anew", MILLION, edges_of(processes, token + join - plain, 1.0, 0)),
        (
            "the same, three quarters of the edges stand",
            MILLION,
            edges_of(processes * 3 // 4, token + join - plain, 1.0, 0),
        ),
    ]
    rows = []
    for name, viewers, left in cases:
        found = storm.simulate(viewers, left)
        rows.append(
            [name, f"{viewers:,}", f"{left.processes}", _round(found.half_s), _round(found.p99_s), _round(found.all_s),
             f"{found.refused:,}", f"{found.given_up:,}", f"{found.homeless:,}"]
        )  # fmt: skip
    head = ["", "viewers", "edges left", "half back, s", "99 % back, s", "all back, s", "refused with 503",
            "served too late", "without a place"]  # fmt: skip
    return table(head, rows)


def deployments(figures: Measured) -> list[str]:
    """All edges are rolled."""
    processes = traffic.edges(_of(MILLION)[0], figures).needed
    rows, away_s = [], spread_s(MILLION // processes, DRAIN_S)
    for at_once in (1, 4, 16, processes):
        took_s, moved, fullest = storm.deployment(processes, at_once, away_s, ASSUMED.start_s)
        handshakes = MILLION / processes * at_once / away_s
        rows.append([f"{at_once}", _round(took_s), f"{moved:.2f}", f"{fullest:.2f}", _round(handshakes)])
    head = ["at once", "takes, s", "moves of a viewer", "fullest edge, of the mean", "handshakes a second"]
    return table(head, rows)


def polls(figures: Measured) -> list[str]:
    """Sockets fail everywhere, and every viewer polls."""
    rows = []
    a_second = MILLION / POLL_S
    processes = traffic.edges(_of(MILLION)[0], figures).needed
    kinds = [
        ("the list, unchanged", figures.poll_us.value, 0.0),
        ("the list, whole", figures.poll_us.value, figures.poll_bytes.value),
        ("the list, and the events of one run", figures.poll_us.value + figures.poll_events_us.value, 20 * 230.0),
    ]
    for name, us, size in kinds:
        cores = a_second * us / 1e6
        rows.append([name, _round(a_second), _round(cores), f"{cores / processes:.0%}", _round(a_second * size / 1e9)])
    head = ["each poll asks for", "polls a second", "cores", "of the edges there are", "GB a second"]
    return table(head, rows)


def catching_up(figures: Measured) -> list[str]:
    """The broker was away, and every edge reads what its runs have stored since."""
    rows = []
    for audience in _of(MILLION):
        for name, together in (("by run", True), ("at random", False)):
            processes = traffic.edges(audience, figures, together=together).needed
            reads, took_s = traffic.catch_up(audience, processes, figures, together=together)
            rows.append([audience.name, name, _round(reads), _round(took_s)])
    head = ["a million viewers of", "balanced", "reads of 20 events", f"seconds of {ASSUMED.broker_cores} cores"]
    return table(head, rows)


def limits(figures: Measured) -> list[str]:
    """The size at which each part has reached what it may use."""
    rows = []
    for number, name in enumerate(each.name for each in _of(MILLION)):
        name = "runs, some popular" if "popular" in name else name

        def audience(viewers: int, number: int = number) -> Audience:
            return _of(viewers)[number]

        def broker_cores(viewers: int) -> float:
            return traffic.broker(audience(viewers), traffic.edges(audience(viewers), figures).needed, figures).cores

        def broker_bytes(viewers: int) -> float:
            return traffic.broker(audience(viewers), traffic.edges(audience(viewers), figures).needed, figures).bytes

        def listed_behind_s(viewers: int) -> float:
            found = audience(viewers)
            return found.runs / traffic.folds_per_s(found, traffic.edges(found, figures).needed, figures)

        def stored_per_s(viewers: int) -> float:
            found = audience(viewers)
            return found.runs * found.events_per_s

        most_stored = max(rate for rate, _ in figures.events_us)
        parts: list[tuple[str, Callable[[int], float], float]] = [
            (f"the stream: {most_stored:,} events a second, the most that was measured", stored_per_s, most_stored),
            (f"the broker's processor: {ASSUMED.busy:.0%} of {ASSUMED.broker_cores} cores", broker_cores,
             ASSUMED.busy * ASSUMED.broker_cores),
            ("the broker's network", broker_bytes, ASSUMED.busy * ASSUMED.network_bytes_per_s),
            ("the list is more than 3 s behind", listed_behind_s, 3.0),
        ]  # fmt: skip
        rows += [[name, what, _size(use, most)] for what, use, most in parts]
    return table(["viewers of", "reaches its limit", "at viewers"], rows)


def _size(use: Callable[[int], float], most: float) -> str:
    """The smallest size at which `use` is above `most`, in steps of 15 %."""
    viewers = 1_000.0
    while viewers < 10 * MILLION:
        if use(int(viewers)) > most:
            return f"{float(f'{viewers:.2g}'):,.0f}"
        viewers *= 1.15
    return "above 10 million"


SECTIONS: Final[dict[str, Callable[[Measured], list[str]]]] = {
    "parameters": parameters,
    "compared": compared,
    "edges": edges,
    "broker": broker,
    "storms": storms,
    "deployments": deployments,
    "polls": polls,
    "catching-up": catching_up,
    "limits": limits,
}


def written(text: str, figures: Measured) -> str:
    """Returns the page with each table between its two markers.

    Raises:
        SystemExit: the page has no place for a table.
    """
    for name, section in SECTIONS.items():
        begin, end = f"<!-- simulate:{name} -->\n", f"<!-- /simulate:{name} -->"
        if begin not in text or end not in text:
            raise SystemExit(f"simulate: {PAGE.name} has no place for {name}: add {begin.strip()} and {end}")
        before, rest = text.split(begin, 1)
        text = "".join([before, begin, "\n".join(section(figures)), "\n", end, rest.split(end, 1)[1]])
    return text


def main(argv: Sequence[str] = ()) -> int:
    """Writes docs/scale.md; `--print` only prints, `--json` prints the parameters."""
    figures = measured.read()
    if "--json" in argv:
        sys.stdout.write(orjson.dumps(measured.as_json(figures), option=orjson.OPT_INDENT_2).decode() + "\n")
        return 0
    for name, section in SECTIONS.items():
        print(f"\n{name}\n", *section(figures), sep="\n")
    if "--print" not in argv:
        PAGE.write_text(written(PAGE.read_text("utf-8"), figures), "utf-8")
    return int(not all(each.holds for each in checks.checks(figures)))
