"""What is said to be wrong with a game: kinds, severities, wording, and the form on the wire. Pure.

A `Candidate` was seen once. It becomes a `Finding` when it was minimised and then shown again in every one of `TIMES`
plays from the load on; proofs.py says what counts as shown, reporter.py takes the steps.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final, Literal

from agent_worker.games.actions import Action
from agent_worker.games.inputs import FRAMES_PER_S, Inputs
from agent_worker.games.screen import DESKTOP, Screen

Kind = Literal[
    "crash", "error", "freeze", "blank", "softlock", "deadkey", "once",
    "asset", "slowload", "frames", "heap", "left", "noscripts",
]  # fmt: skip
"""`error`: uncaught, unhandled or written to the console. `noscripts`: the game never starts. `deadkey`: promised, and
does nothing. `once`: works only once. `asset`: a file is missing. `left`: the page leaves or opens windows."""
Severity = Literal["high", "medium", "low"]

NOTHING: Final = Inputs()
TIMES: Final = 5
"""Plays in each of which a finding has shown before it is told."""
HANGS: Final = "the page hangs"
HANG_TITLE: Final = "It hangs: its script does not return"
"""Signature of a freeze in which a script does not return."""
INERT: Final = "inert"
"""Signature of a game of which nothing runs."""
STANDSTILL: Final = "standstill"
"""Of which kind one is shows in the experiment: all are one fault."""
STANDSTILLS: Final[Mapping[Kind, str]] = {
    "freeze": "It freezes: the picture stands still, and no input changes anything",
    "softlock": "It is stuck: it runs on, but no input changes anything any more",
}
"""Kinds of a standstill, and their titles."""
MAX_TITLE_CHARS: Final = 160
MAX_DETAIL_CHARS: Final = 400
MAX_STACK_CHARS: Final = 2000
MAX_FINDINGS: Final = 20
"""With their inputs they are part of the metrics, of which a reader takes 60 KiB."""

SEVERITIES: Final[Mapping[Kind, Severity]] = {
    "crash": "high",
    "freeze": "high",
    "blank": "high",
    "softlock": "high",
    "noscripts": "high",
    "error": "medium",
    "deadkey": "medium",
    "once": "medium",
    "asset": "medium",
    "heap": "medium",
    "left": "medium",
    "slowload": "low",
    "frames": "low",
}
"""What a kind weighs where nothing says otherwise."""


@dataclass(frozen=True, slots=True)
class Moment:
    """A frame that is reached from the load by `inputs`."""

    inputs: Inputs
    frame: int


@dataclass(frozen=True, slots=True)
class Candidate:
    """What may be wrong: seen once, not yet shown again."""

    kind: Kind
    title: str
    inputs: Inputs = NOTHING
    until: int = 0
    """The frame at which it has shown."""
    signature: str = ""
    """Two sightings with the same kind and signature are one fault."""
    detail: str = ""
    stack: str = ""
    severity: Severity | None = None
    """None: what its kind weighs."""
    action: Action | None = None
    """Of a control that is dead, or works only once."""
    moments: tuple[Moment, ...] = ()
    """Where that control was tried."""
    controls: tuple[Action, ...] = ()
    """What is known to work elsewhere, to be tried against a standstill."""
    real: bool = False
    """Seen in real time: it cannot be shown again by frames."""
    measured: tuple[int, int] | None = None
    """Times shown and times tried, where what has found it has repeated it already; it is not played again then."""

    @property
    def key(self) -> tuple[str, str]:
        """Equal for sightings of one fault."""
        if self.kind in STANDSTILLS and self.signature != HANGS:
            return STANDSTILL, ""  # which of the two it is shows in the experiment
        return self.kind, self.signature or self.title


@dataclass(frozen=True, slots=True)
class Sighting:
    """A fault has shown: the frame, and what was seen of it there."""

    frame: int
    detail: str = ""
    stack: str = ""
    kind: Kind | None = None
    """What it is, where a standstill was looked for."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One fault, as it is told."""

    id: str
    kind: Kind
    severity: Severity
    title: str
    detail: str
    seen: tuple[int, int]
    """Times shown, times tried."""
    seed: int
    frame: int
    """The frame at which it shows."""
    inputs: Inputs = NOTHING
    until: int = 0
    """The frame to which to play, to see it."""
    stack: str = ""
    real: bool = False
    signature: str = ""
    key: tuple[str, str] = ("", "")
    """That of the candidate that it was."""
    screen: Screen = DESKTOP
    """What the game was played on."""

    def as_json(self, *, stack: bool = True) -> dict[str, object]:
        """`data.finding` of the event; without its stack an element of `data.metrics.findings`. See AGENT.md."""
        told: dict[str, object] = {
            "id": self.id,
            "kind": self.kind,
            "severity": self.severity,
            "title": cut(self.title, MAX_TITLE_CHARS),
            "detail": cut(self.detail, MAX_DETAIL_CHARS),
            "frame": self.frame,
            "atMs": round(self.frame * 1000 / FRAMES_PER_S),
            "seen": list(self.seen),
            "seed": self.seed,
            "inputs": self.inputs.as_json(),
            "until": self.until,
            "real": self.real,
        }
        told |= self.screen.as_json()
        if self.signature:
            told["signature"] = self.signature
        if stack and self.stack:
            told["stack"] = cut(self.stack, MAX_STACK_CHARS)
        return told


def finding(
    number: str, candidate: Candidate, seed: int, frame: int, seen: tuple[int, int], screen: Screen = DESKTOP
) -> Finding:
    """The finding that a candidate has become, or a thing seen once."""
    return Finding(
        number,
        candidate.kind,
        candidate.severity or SEVERITIES[candidate.kind],
        candidate.title,
        candidate.detail,
        seen,
        seed,
        frame,
        candidate.inputs,
        candidate.until,
        candidate.stack,
        candidate.real,
        candidate.signature,
        candidate.key,
        screen,
    )


def with_inputs(candidate: Candidate, inputs: Inputs, until: int) -> Candidate:
    """The same fault, shown by other inputs."""
    return replace(candidate, inputs=inputs, until=until)


def line(told: Finding) -> str:
    """One line of the feed."""
    times = f"{told.seen[0]} of {told.seen[1]} times"
    how = f", {len(told.inputs.steps)} inputs" if told.inputs.steps else ""
    at = f" after {told.frame / FRAMES_PER_S:.1f} s of the game's time" if told.frame and not told.real else ""
    return f"{told.title} ({times}{at}{how})"


def cut(text: str, most: int) -> str:
    """`text` with at most so many characters."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


# -- signatures ---------------------------------------------------------------------------------------------------

_VARIES: Final = re.compile(r"0x[0-9a-f]+|\d+(\.\d+)?", re.IGNORECASE)
_AT: Final = re.compile(r"^\s*at (?:(?:async |new )*(?P<name>[^\s(]+) \()?(?P<place>[^\s()]+):\d+:\d+\)?\s*$")


def error_signature(text: str, stack: str = "") -> str:
    """What makes two errors one: name and message with their numbers taken out, and the top frame of the stack."""
    message = _VARIES.sub("#", " ".join(text.split()))[:200]
    frame = top_frame(stack)
    return f"{message} @ {frame}" if frame else message


def top_frame(stack: str) -> str:
    """The function, file and line in which an error was thrown, without its host; empty where it is not known."""
    for each in stack.splitlines():
        if each.lstrip().startswith("at "):
            found = _AT.match(each)
            if not found:
                continue
            place = re.sub(r"^[a-z]+://[^/]*", "", found["place"]).partition("?")[0]
            row = re.search(r":(\d+):\d+\)?\s*$", each)
            return f"{found['name'] or '(anonymous)'} {place}:{row[1] if row else '?'}"
    return ""


def hangs(inputs: Inputs, until: int, why: object) -> Candidate:
    """A page that does not answer any more after these inputs, by a frame."""
    return Candidate("freeze", HANG_TITLE, inputs, until, HANGS, str(why))
