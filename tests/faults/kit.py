"""A whole test: starts the world, injects the faults, ends the runs, checks the history, prints the table."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

import httpx
import msgspec

from broker.jetstream import runs as broker_runs
from tests.faults.checker import Fault, History, Recovery, Verdict, check, quantile
from tests.faults.nemesis import KINDS, Nemesis
from tests.faults.workload import heads, record_stored
from tests.faults.world import Size, World
from tests.harness import event_log, until

_END_S = 60.0


class Outcome(NamedTuple):
    """The result of a test."""

    verdict: Verdict
    complaints: list[str]
    """Failures of the parts themselves, in addition to what the checker found."""
    took_s: float

    @property
    def clean(self) -> bool:
        """Whether there is no violation and no complaint."""
        return not self.verdict.violations and not self.complaints


async def run(
    directory: Path,
    size: Size,
    *,
    seed: int,
    rounds: int,
    length_s: float,
    kinds: Sequence[str] = tuple(KINDS),
    say: Callable[[str], None] = lambda _line: None,
) -> Outcome:
    """Runs one test.

    Args:
        rounds: number of faults; the kinds occur equally often.
        length_s: average duration of a fault.
        kinds: the kinds of faults to inject.
        say: called with one line for each round.
    """
    started, complaints = time.monotonic(), []
    async with World(directory, size, seed) as world:
        nemesis = Nemesis(world, seed, length_s)
        for number, kind in enumerate(nemesis.schedule(rounds, list(kinds)), 1):
            try:
                fault = await nemesis.strike(kind)
            except AssertionError as error:
                complaints.append(f"round {number}, {kind}: {error}; behind: {await _behind(world)}")
                say(complaints[-1])
                break
            world.history.faults.append(fault)
            say(_round_line(number, rounds, fault))
        complaints += await _end(world)
        verdict = check(world.history, may_reset=frozenset({"epoch"}) if world.history.restarted else frozenset())
    if verdict.violations:
        (directory / "history.json").write_bytes(_written(world.history))
    return Outcome(verdict, complaints, time.monotonic() - started)


def _written(history: History) -> bytes:
    """What the checker was given. Each thing that was shown begins with "Seen" or "Reset"."""
    shown = [(type(item).__name__, *item) for item in history.shown]
    return msgspec.json.encode({name: shown if name == "shown" else value for name, value in vars(history).items()})


async def _behind(world: World) -> list[str]:
    try:
        found = world.crowd.behind(await heads(world.cluster.streams, world.publishing.runs))
    except Exception as error:
        return [f"unknown: {error}"]
    return [str(viewer) for viewer in found]


async def _end(world: World) -> list[str]:
    """Ends the runs, waits until every viewer is current, and records the rest of the history. Returns complaints."""
    complaints = await world.publishing.finish()
    streams, runs = world.cluster.streams, world.publishing.runs
    try:
        await world.crowd.current(await until(world.heads, within_s=30) or {}, _END_S)
    except AssertionError as error:
        complaints.append(f"at the end: {error}; behind: {await _behind(world)}")
    complaints += await _disagreements(world)
    complaints += world.crowd.complaints()
    await world.crowd.leave()
    world.publishing.record(world.history)
    await record_stored(streams, runs, world.history)
    return complaints


async def _disagreements(world: World) -> list[str]:
    """Complaints about edges whose snapshot of a run is not the fold of its events."""
    complaints = []
    all_folded = []
    async with httpx.AsyncClient(timeout=5.0, trust_env=False) as http:
        for test_id in world.publishing.runs:
            folded = _compared(
                msgspec.to_builtins((await broker_runs.read(event_log(world.cluster.streams), test_id)).snapshot),
                world.history.restarted,
            )
            all_folded.append(folded)
            for edge in world.edges:
                try:
                    await until(partial(_shows, http, edge.url, folded), within_s=15, what="the fold")
                except AssertionError:
                    shown = (await http.get(f"{edge.url}/rpc/getTest", params={"testId": test_id})).text
                    complaints.append(f"{edge.name} does not show {test_id} as folded: {folded}, but {shown}")
        for edge in world.edges:
            try:
                await until(partial(_lists, http, edge.url, all_folded), within_s=15, what="the list")
            except AssertionError:
                complaints.append(f"{edge!r} does not list every run as the fold of its events")
    return complaints


_OF_THE_BEGINNING: Final = ("title", "gameUrl", "createdAt", "startedAt", "attempt", "worker")
"""Fields that come from the first events of a run. They are kept from its snapshot where those events are gone."""


def _compared(folded: dict[str, Any], restarted: bool) -> dict[str, Any]:
    """What a fold of the retained events says for sure. The `epoch` is the projector's own note."""
    unsure = {"epoch", *(_OF_THE_BEGINNING if restarted else ())}
    return {name: value for name, value in folded.items() if name not in unsure}


def _agrees(shown: dict[str, Any], folded: dict[str, Any]) -> bool:
    return {name: shown[name] for name in folded if name in shown} == folded


async def _lists(http: httpx.AsyncClient, url: str, folded: Sequence[dict[str, Any]]) -> bool:
    try:
        answer = await http.get(f"{url}/rpc/listTests", params={"limit": 200})
    except httpx.TransportError:
        return False
    if not answer.is_success or "stale" in answer.json():
        return False
    listed = {each["testId"]: each for each in answer.json()["tests"]}
    return all(_agrees(listed.get(each["testId"], {}), each) for each in folded)


async def _shows(http: httpx.AsyncClient, url: str, snapshot: dict[str, Any]) -> bool:
    try:
        answer = await http.get(f"{url}/rpc/getTest", params={"testId": snapshot["testId"]})
    except httpx.TransportError:
        return False
    return answer.is_success and _agrees(answer.json()["test"], snapshot)


def _round_line(number: int, rounds: int, fault: Fault) -> str:
    held_s, after_s = fault.healed - fault.began, fault.until - fault.healed
    return (
        f"{number:3}/{rounds}  {fault.kind:24} held {held_s:4.1f} s, all current {after_s:4.1f} s after  {fault.target}"
    )


_HEAD = """\
| fault | times | held, s | publishing, s | sockets current, s: median | p99 | every viewer current, s: median | p99 |
| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"""


def table(outcome: Outcome, size: Size) -> str:
    """The table and the totals, as in BENCHMARKS.md.

    The columns for sockets take each socket as one value, since a socket may move to another edge. Pages and tails stay
    with their edge and wait for it, so they count only in "every viewer current".
    """
    verdict = outcome.verdict
    lines = rows(verdict.recoveries)
    viewers = (
        f"{size.sockets} sockets, {size.streams} streams, {size.pollers} pollers, {size.long_polls} long polls, "
        f"{size.tails} tails, {size.pages} page"
    )
    lines += [
        "",
        f"{len(verdict.recoveries)} faults in {outcome.took_s:.0f} s; {size.runs} runs; {size.edges} edges; {viewers}",
        f"events acknowledged {verdict.acked}, stored {verdict.stored}, deliveries {verdict.deliveries}",
        f"lost {verdict.count('lost')}, duplicated {verdict.count('duplicated')}, "
        f"out of order {verdict.count('out of order')}, phantom {verdict.count('phantom')}, "
        f"resets without a reason {verdict.count('reset')}",
        f"longest time without news {verdict.longest_wait_s:.1f} s ({verdict.longest_wait_of})",
    ]
    lines += [f"VIOLATION {each.what} ({each.where}): {each.detail}" for each in verdict.violations[:40]]
    lines += [f"COMPLAINT {each}" for each in outcome.complaints[:40]]
    return "\n".join(lines)


def rows(recoveries: Sequence[Recovery]) -> list[str]:
    """The lines of the table, one for each kind of fault."""
    by_kind: dict[str, list[Recovery]] = {}
    for recovery in recoveries:
        by_kind.setdefault(recovery.fault.kind, []).append(recovery)
    lines = [_HEAD]
    for kind in (kind for kind in KINDS if kind in by_kind):
        found = by_kind[kind]
        held = [each.fault.healed - each.fault.began for each in found]
        all_took = [each.took_s for each in found]
        sockets = [s for each in found for name, s in each.by_viewer.items() if name.startswith("socket-")]
        lines.append(
            f"| {kind} | {len(found)} | {min(held):.1f} to {max(held):.1f} "
            f"| {max(each.publishing_s for each in found):.1f} "
            f"| {quantile(sockets, 0.5):.1f} | {quantile(sockets, 0.99):.1f} "
            f"| {quantile(all_took, 0.5):.1f} | {quantile(all_took, 0.99):.1f} |"
        )
    return lines
