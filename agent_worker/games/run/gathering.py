"""What the steps of a run have found, entered into its summary. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import median
from typing import Final

from agent_worker.games.chromium.page_state import Loading
from agent_worker.games.controls.known_controls import Controls
from agent_worker.games.controls.promised import Promise
from agent_worker.games.findings.finding import Candidate
from agent_worker.games.findings.heap import Heap
from agent_worker.games.inputs import FRAMES_PER_S
from agent_worker.games.play.episodes import Explored
from agent_worker.games.realtime.seen import Seen
from agent_worker.games.realtime.stretch import Stretch
from agent_worker.games.run.summary import Summary

SLOW_LOAD_S: Final = 5.0
WAITING: Final = 0.25
"""Part of the processors' time that has to be unused while a game loads, so that not the machine is slow."""
_MAX_NAMED: Final = 12


def of_controls(summary: Summary, found: Controls) -> None:
    """The search for controls; may be told again when it has gone on."""
    summary.good.pop("controls", None)
    summary.unknown.pop("controls", None)
    summary.controls = [control.as_json() for control in found.found.values()]
    summary.tried, summary.untried = list(found.tried), list(found.untried)
    summary.moments, summary.agreed = found.determinism.moments, found.determinism.agreed
    summary.searched = not found.untried and found.determinism.agreed > 0
    if found.found:
        summary.note("controls", f"{_count(len(found.found), 'control')} shown by experiment: {named(found.found)}")
    if found.untried:
        summary.miss("controls", f"what these do, for want of time: {named(found.untried)}")
    for words, keys in _by_words(found.doubtful).items():
        silent = f"{named(keys)}, which did nothing where other keys did"
        summary.miss("controls", f'whether "{words}" also means {silent}')
    if found.determinism.agreed < found.determinism.moments:
        apart = found.determinism.moments - found.determinism.agreed
        summary.miss("controls", f"what inputs do at {_count(apart, 'moment')}, where runs without any differ")


def _by_words(promises: Iterable[Promise]) -> dict[str, list[str]]:
    keys: dict[str, list[str]] = {}
    for each in promises:
        keys.setdefault(each.quote, []).append(each.key)
    return keys


def of_explored(summary: Summary, found: Explored) -> None:
    """What playing has shown."""
    summary.scenes = found.cells
    summary.actions += sum(sum(step.at >= each.begun for step in each.inputs.steps) for each in found.episodes)
    summary.game_overs, summary.restarts = len(found.overs), found.restarts
    summary.note("playability", f"{_count(found.cells, 'different scene')} reached")
    if found.best is not None:
        summary.best_score = found.best.value
        summary.note("playability", f"{found.best.name} of up to {found.best.value}")
    else:
        summary.miss("playability", "a score: none could be read that rises with play")
    if found.overs:
        again = " and began again" if found.restarts else ""
        summary.note("playability", f"{_count(len(found.overs), 'round')} ended{again}")
    else:
        summary.miss("playability", "the end of a round: none was met")


def of_stretch(summary: Summary, found: Stretch) -> None:
    """The stretch at true speed."""
    summary.picture_ms = found.picture_ms or summary.picture_ms
    summary.fps, summary.long_tasks_ms, summary.input_ms = found.fps, found.long_tasks_ms, found.input_ms
    if found.fps is not None:
        summary.note("visuals", f"{found.fps:.0f} frames a second at true speed")
    else:
        summary.miss("visuals", found.busy or "how smoothly it runs")


def of_heap(summary: Summary, found: Heap) -> None:
    """The measurement of the memory."""
    summary.heap_kb = found.growth_kb
    if not found.leaks:
        played_s = (found.until - found.begin) / FRAMES_PER_S
        grown = f"grew by {found.growth_kb} KB" if found.growth_kb > 0 else "did not grow"
        summary.note("stability", f"its memory {grown} in {played_s:.0f} s of its time")


def leak(found: Heap) -> Candidate:
    """What is said of a game whose memory grows in every stretch."""
    each_s = found.growth_kb * FRAMES_PER_S / (found.until - found.begin)
    times = len(found.growths)
    return Candidate(
        "heap",
        f"Its memory grows by {each_s:.0f} KB in a second of play, and does not stop",
        found.inputs,
        found.until,
        detail=f"After all garbage was collected it had grown in each of {times} stretches: by "
        f"{', '.join(str(each) for each in found.growths)} KB",
        measured=(times, times),
    )


def slow_load(loads: Sequence[Loading]) -> Candidate | None:
    """What is said of a game each load of which was slow while the machine had nothing to do; None: it is not so."""
    at_fault = [each for each in loads if each.seconds >= SLOW_LOAD_S and each.idle and each.idle >= WAITING]
    if len(loads) < 2 or len(at_fault) < len(loads):
        return None
    times = len(loads)
    return Candidate(
        "slowload",
        f"It loads slowly: in {median(each.seconds for each in loads):.0f} s",
        detail=f"Each of {times} loads took at least {min(each.seconds for each in loads):.1f} s, and the "
        "machine had little to do meanwhile.",
        measured=(times, times),
        real=True,
    )


def frames(found: Stretch) -> Candidate:
    """What is said of a game that is too slow by itself."""
    assert found.fps is not None and found.script_ms is not None
    return Candidate(
        "frames",
        f"It drops frames: {found.fps:.0f} a second",
        detail=f"Its scripts take {found.script_ms:.0f} ms of processor time for a frame; 16 are left for one.",
        real=True,
    )


def of_real(summary: Summary, seen: Seen) -> None:
    """A game that was played in real time."""
    summary.load_ms = round(seen.load_s * 1000)
    summary.finished = seen.load_finished
    summary.picture_ms = None if seen.painted_after_s is None else round(seen.painted_after_s * 1000)
    summary.controls = [
        {"control": name, "change": change, "seen": [2, 2], "situations": ["in real time"], "promised": False}
        for name, change in seen.controls.items()
    ]
    summary.tried, summary.untried, summary.searched = list(seen.tried), list(seen.untried), False
    summary.actions += seen.actions
    summary.scenes, summary.best_score = seen.scenes, seen.best_score
    summary.game_overs, summary.restarts = seen.game_overs, seen.restarts
    summary.incidents = seen.incidents
    summary.told = seen.told
    if seen.controls:
        summary.note("controls", f"{_count(len(seen.controls), 'gesture')} seen to work: {named(seen.controls)}")
    if seen.restless:
        summary.miss("controls", "which gestures work: the picture moves too much by itself")
    elif not seen.controls:
        summary.miss("controls", "which gestures work: none was seen to")
    if seen.untried:
        summary.miss("controls", f"what these do: {named(seen.untried)}")
    summary.note("playability", f"{_count(seen.scenes, 'scene')} in {_count(seen.actions, 'action')}")
    if seen.stuck:
        summary.miss("playability", f"how it goes on: {seen.stuck}")


def faults_of_real(seen: Seen) -> list[Candidate]:
    """What was wrong with a game that was played in real time."""
    found = []
    if seen.blank:
        found.append(Candidate("blank", "Nothing is ever painted", real=True))
    if seen.hung:
        found.append(Candidate("freeze", f"It froze: {seen.hung}", real=True))
    if seen.freeze_note:
        found.append(Candidate("freeze", f"It froze: {seen.freeze_note}", real=True))
    if seen.gone and not seen.exceeded:
        found.append(Candidate("crash", f"It crashed: {seen.gone}", real=True))
    for kind, detail in seen.told:
        if kind == "pageerror":
            found.append(Candidate("error", f"Uncaught {detail}", signature=detail, real=True))
        elif kind == "left":
            found.append(Candidate("left", f"It tries to leave for {detail}", signature=detail, real=True))
    return found


def _count(number: int, name: str) -> str:
    return f"{number} {name}" + ("" if number == 1 else "s")


def named(names: Iterable[str]) -> str:
    """Names in a line, not more than a dozen."""
    listed = list(names)
    more = len(listed) - _MAX_NAMED
    return ", ".join(listed[:_MAX_NAMED]) + (f" and {more} more" if more > 0 else "")
