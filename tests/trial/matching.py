"""What the agent has told, against what is true of a game. Pure functions of a result's data."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from tests.trial.catalogue import UNCHANGED, Bug, Control, Game

Finding = Mapping[str, Any]
"""As `findings` and `seenOnce` of the metrics have it: at least `kind`, `title` and `detail`."""


@dataclass(frozen=True, slots=True)
class Controls:
    """The controls that were claimed, against those that there are."""

    right: tuple[str, ...]
    """Names of gestures that are a control of the game."""
    wrong: tuple[str, ...]
    found: tuple[str, ...]
    """Names of documented controls."""
    missed: tuple[str, ...]


def gesture_named(name: str) -> str:
    """The name of a gesture as patterns of the catalogue are compared with: `KeyW` and `w` are the same key."""
    name = re.sub(r"\b(?:Key|Digit)(?=[A-Z0-9]\b)", "", name.strip())
    return name.lower()


def is_gesture(name: str, pattern: str) -> bool:
    """Whether the gesture is one of those that the pattern, with `*` for any text, means."""
    return fnmatchcase(gesture_named(name), pattern.lower())


def is_control(name: str, control: Control) -> bool:
    """Whether the gesture is this control; of keys that were held together, any of them may be."""
    parts = {name, *re.split(r"\s*\+\s*", name)} if "+" in name else {name}
    return any(is_gesture(part, pattern) for part in parts for pattern in control.gestures)


def controls(claimed: Sequence[str], game: Game) -> Controls:
    """Sorts the gestures that were said to work."""
    right = tuple(name for name in claimed if any(is_control(name, each) for each in game.controls))
    documented = [each for each in game.controls if each.counts]
    found = tuple(each.name for each in documented if any(is_control(name, each) for name in claimed))
    return Controls(
        right=right,
        wrong=tuple(name for name in claimed if name not in right),
        found=found,
        missed=tuple(each.name for each in documented if each.name not in found),
    )


def tells(finding: Finding, bug: Bug) -> bool:
    """Whether a finding tells this bug: it has the right kind, and names the key where the bug is one of a key."""
    words = f"{finding.get('title', '')} {finding.get('detail', '')}"
    return finding.get("kind") in bug.finds and re.search(bug.words, words, re.IGNORECASE) is not None


def is_known(finding: Finding, game: Game) -> bool:
    """Whether a person has confirmed such a finding on the game as it is."""
    words = f"{finding.get('title', '')} {finding.get('detail', '')}"
    return any(
        finding.get("kind") == known.kind and re.search(known.words, words, re.IGNORECASE) for known in game.known
    )


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the findings of one run are worth."""

    told: bool
    """The bug that was put in is among the findings; False where there is none."""
    told_once: bool
    """It is not, but among what was seen once."""
    others: tuple[Finding, ...]
    """Findings that neither tell the bug nor are confirmed of the unchanged game."""


def verdict(game: Game, kind: str, findings: Sequence[Finding], seen_once: Sequence[Finding]) -> Verdict:
    """Judges the findings of a run of the game with a bug of that kind."""
    bug = None if kind == UNCHANGED else game.bugs[kind]
    telling = [each for each in findings if bug is not None and tells(each, bug)]
    others = tuple(each for each in findings if each not in telling and not is_known(each, game))
    once = bug is not None and not telling and any(tells(each, bug) for each in seen_once)
    return Verdict(bool(telling), once, others)
