"""What may be wrong, of what the steps of a run have found: candidates, each to be shown again. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from agent_worker.games.actions import Action
from agent_worker.games.chromium.page_state import Incident
from agent_worker.games.controls import candidates
from agent_worker.games.controls.known_controls import Controls
from agent_worker.games.controls.starting import Situations
from agent_worker.games.findings.finding import HANG_TITLE, HANGS, STANDSTILLS, Candidate, Kind, Moment, with_inputs
from agent_worker.games.findings.sightings import candidate_of
from agent_worker.games.inputs import Inputs
from agent_worker.games.play.episodes import BLANK, DEAF, GONE, HUNG, STILL, STOPPED, STUCK, Episode, Explored

_TITLES: Final[dict[str, tuple[Kind, str, str]]] = {
    HUNG: ("freeze", HANG_TITLE, HANGS),
    GONE: ("crash", "The page's process crashes", "crash"),
    STOPPED: ("freeze", STANDSTILLS["freeze"], ""),
    STUCK: ("softlock", STANDSTILLS["softlock"], ""),
    DEAF: ("softlock", STANDSTILLS["softlock"], ""),
    BLANK: ("blank", "The picture becomes a single colour and stays so", "blank"),
}
"""Kind of event -> kind, title and signature of what it may be."""
ENOUGH_TRIED: Final = 10
"""Inputs that have done nothing before a game is suspected of never starting."""
_BY_THE_NETWORK: Final = "network lost"
"""Begins the name of a stress in which requests fail because the agent takes the network away."""


def of_controls(found: Controls, situations: Situations) -> list[Candidate]:
    """Promised keys that do nothing, inputs that hang the page, and a game that nothing begins."""
    known = tuple(control.action for control in found.found.values())
    suspects: list[Candidate] = []
    for dead in found.dead:
        moments = tuple(dict.fromkeys(Moment(each.inputs, each.frame) for each, _ in dead.tries))
        key = dead.promise.key
        stopped = ". A handler of the page stops it; without that it does something" if dead.kept_away else ""
        suspects.append(
            Candidate(
                "deadkey",
                f"{key} does nothing, though the page promises it",
                moments[0].inputs,
                moments[0].frame,
                signature=f"dead {key}",
                detail=f'The page says "{dead.promise.quote}". Where it was tried, other inputs did something: '
                f"{', '.join(dead.others)}{stopped}",
                action=candidates.action_of(key),
                moments=moments,
                controls=known,
            )
        )
    for broken in found.broken:
        hangs = "did not answer" in str(broken.error)
        suspects.append(_of_event(HUNG if hangs else GONE, broken.inputs, broken.until, known, str(broken.error)))
    began = known or situations.playing or situations.begun_by
    if not began and found.determinism.agreed and len(found.tried) >= ENOUGH_TRIED:
        title = "It never starts: no input changes anything, and nothing moves"
        suspects.append(Candidate("noscripts", title, until=situations.title.frame, signature="never"))
    return suspects


def working(found: Controls, situations: Situations) -> dict[Action, Moment]:
    """The controls that work while the game is played, each with a moment at which they do."""
    return {
        control.action: Moment(control.effect.moment.inputs, control.effect.moment.frame)
        for control in found.found.values()
        if control.effect.moment in situations.playing
    }


def ends(explored: Explored, most: int = 3) -> list[Moment]:
    """Where playing has come to an end for lack of any change, the shortest first; then where most has been done."""
    told = [each for each in explored.episodes if each.of_kind(STILL, STOPPED, STUCK)]
    others = [each for each in explored.episodes if each not in told]
    last = sorted(told, key=lambda each: each.until) + sorted(others, key=lambda each: -len(each.inputs.steps))[:1]
    return [Moment(each.inputs, each.until) for each in last[:most]]


def of_episodes(episodes: Iterable[Episode], found: Controls) -> list[Candidate]:
    """What happened to the game itself while it was played."""
    known = tuple(control.action for control in found.found.values())
    return [
        _of_event(event.kind, episode.inputs.before(event.frame), event.frame, known, event.detail)
        for episode in episodes
        for event in episode.of_kind(*_TITLES)
    ]


def of_stress(episodes: Sequence[Episode], controls: Controls, game_url: str) -> list[Candidate]:
    """What rough handling has caused, and the same play without it has not."""
    known = tuple(control.action for control in controls.found.values())
    suspects: list[Candidate] = []
    for episode in episodes:
        for event in episode.only_here:
            inputs = episode.inputs.before(event.frame)
            if event.kind in _TITLES:
                suspects.append(_of_event(event.kind, inputs, event.frame, known, f"After {episode.name}"))
            elif event.kind == "pageerror" and not episode.name.startswith(_BY_THE_NETWORK):
                suspect = candidate_of(Incident(event.kind, event.detail), game_url)
                suspects += [] if suspect is None else [with_inputs(suspect, inputs, event.frame)]
    return suspects


def _of_event(kind: str, inputs: Inputs, until: int, known: tuple[Action, ...], detail: str) -> Candidate:
    name, title, signature = _TITLES[kind]
    return Candidate(name, title, inputs, until, signature=signature, detail=detail, controls=known)
