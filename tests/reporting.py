"""A run with the report of an agent, told through the real line as `agent_worker/games` tells it."""

from __future__ import annotations

import io
from typing import Any, Final

from PIL import Image, ImageDraw

from broker import identity
from broker.clock import now_ms
from broker.jetstream.api import Streams
from broker.jetstream.frame_store import FrameStore
from tests.harness import publish

STACK: Final = "TypeError: this.player is undefined\n    at Scene.update (main.js:412:18)\n    at tick (loop.js:31:9)"
FREEZE: Final[dict[str, Any]] = {
    "id": "f1",
    "kind": "freeze",
    "severity": "high",
    "title": "The picture stops for good when the ship leaves the screen at the top",
    "detail": "From frame 214 on no frame differs from the one before, whatever is pressed, for 20 s of its time.",
    "frame": 214,
    "atMs": 3567,
    "seen": [5, 5],
    "seed": 7,
    "inputs": [
        {"at": 6, "hold": 4, "kind": "keys", "name": "Space", "keys": ["Space"]},
        {"at": 30, "hold": 170, "kind": "keys", "name": "ArrowUp+ArrowLeft", "keys": ["ArrowUp", "ArrowLeft"]},
        {"at": 208, "hold": 2, "kind": "click", "name": "click", "x": 0.5, "y": 0.4, "to_x": 0.5, "to_y": 0.5},
    ],
    "until": 274,
    "real": False,
}
ERROR: Final[dict[str, Any]] = {
    "id": "f2",
    "kind": "error",
    "severity": "medium",
    "title": "TypeError when Escape is pressed on the title screen: this.player is undefined",
    "detail": "Thrown in each frame from then on.",
    "frame": 14,
    "atMs": 233,
    "seen": [5, 5],
    "seed": 7,
    "inputs": [{"at": 12, "hold": 4, "kind": "keys", "name": "Escape", "keys": ["Escape"]}],
    "until": 20,
    "real": False,
}
DEAD: Final[dict[str, Any]] = {
    "id": "f3",
    "kind": "deadkey",
    "severity": "low",
    "title": "M does nothing, though the page says “M: mute”",
    "detail": "With and without it, every frame, the page and the sound are the same in three situations.",
    "frame": 0,
    "atMs": 0,
    "seen": [6, 6],
    "seed": 7,
    "inputs": [{"at": 40, "hold": 4, "kind": "keys", "name": "M", "keys": ["m"]}],
    "until": 160,
    "real": False,
}
ONCE: Final[dict[str, Any]] = {
    "id": "s1",
    "kind": "frames",
    "severity": "low",
    "title": "Fewer than 20 frames a second for 3 s while the level loads",
    "detail": "",
    "frame": 900,
    "atMs": 15000,
    "seen": [1, 4],
    "seed": 7,
    "inputs": [],
    "until": 1100,
    "real": True,
}
CONTROLS: Final[list[dict[str, Any]]] = [
    {"control": "ArrowLeft", "change": 0.012, "seen": [4, 4], "situations": ["title", "playing"], "promised": True},
    {"control": "ArrowUp+Space", "change": 0.21, "seen": [3, 3], "situations": ["playing"], "promised": False},
    {"control": "click", "change": 0.0004, "seen": [4, 4], "situations": ["title"], "promised": False},
]
METRICS: Final[dict[str, Any]] = {
    "rubric": [
        {"part": "load", "score": 15, "max": 15, "reasons": ["loaded in 0.4 s", "first picture after 0.1 s"]},
        {"part": "visuals", "score": 15, "max": 15, "reasons": ["something is painted", "moves by itself"]},
        {"part": "controls", "score": 22, "max": 25, "reasons": ["3 controls, each shown by experiment"]},
        {"part": "playability", "score": 18, "max": 25, "reasons": ["the score rises (to 1250)"]},
        {"part": "stability", "score": 1, "max": 20, "reasons": ["it freezes", "it throws an error"]},
    ],
    "controls": CONTROLS,
    "findings": [FREEZE, ERROR, DEAD],
    "seenOnce": [ONCE],
    "lost": [
        {"points": 7, "why": FREEZE["title"], "part": "playability", "finding": "f1"},
        {"points": 13, "why": FREEZE["title"], "part": "stability", "finding": "f1"},
        {"points": 6, "why": ERROR["title"], "part": "stability", "finding": "f2"},
        {"points": 2, "why": DEAD["title"], "part": "controls", "finding": "f3"},
        {"points": 1, "why": "it opens dialogs", "part": "stability"},
    ],
    "time": "mixed",
    "determinism": {"moments": 6, "agreed": 5},
    "uncontrolled": ["Worker", "AnalyserNode"],
    "tried": ["ArrowLeft", "ArrowUp+Space", "click", "M"],
    "unknown": ["whether it sounds right", "whether it is fun"],
    "speed": 38.4,
    "gameSeconds": 1312.5,
    "coverage": {"used": 34_100, "total": 50_200},
    "fps": 59.8,
    "longTasksMs": 120,
    "inputToPictureMs": 21,
    "heapGrowthKB": None,
    "bestScore": 1250,
    "problems": [{"kind": each["kind"], "detail": each["title"]} for each in (FREEZE, ERROR, DEAD)],
    "incidents": {"pageerror": 3},
}
"""As a verdict of an agent has them. The lost points are 100 less the score."""
SCORE: Final = 71


def evidence(before: tuple[int, int, int], after: tuple[int, int, int]) -> bytes:
    """Two pictures side by side, 640 x 180: a ship on a sky, and the same somewhere else."""
    both = Image.new("RGB", (640, 180), before)
    draw = ImageDraw.Draw(both)
    draw.rectangle((320, 0, 640, 180), after)
    for left, x, y in ((0, 150, 120), (320, 90, 20)):
        draw.polygon([(left + x, y), (left + x - 14, y + 34), (left + x + 14, y + 34)], (240, 244, 250))
    made = io.BytesIO()
    both.save(made, "JPEG", quality=80)
    return made.getvalue()


def told(finding: dict[str, Any], stack: str = "") -> dict[str, Any]:
    """`data` of the event that tells a finding, or what was seen once."""
    return {
        "kind": "seenonce" if finding is ONCE else "finding",
        "finding": finding | ({"stack": stack} if stack else {}),
    }


class Reported:
    """A run, and the events and pictures of its report."""

    def __init__(self, streams: Streams, test_id: str) -> None:
        self.streams = streams
        self.test_id = test_id
        self.at = now_ms() - 60_000
        self.seqs: dict[str, int] = {}
        """Of the event of each finding and each control."""
        self.numbers: dict[str, int] = {}
        """Of the picture of each."""

    async def say(self, message: str, kind: str = "progress", **fields: Any) -> int:
        """Publishes an event, a second after the one before."""
        self.at += 1000
        return (await publish(self.streams, self.test_id, message, kind, timestamp=self.at, **fields)).seq

    async def picture(self, name: str, seq: int, jpeg: bytes) -> None:
        """Publishes the picture of a finding or a control."""
        store = FrameStore(self.streams)
        self.numbers[name] = await store.put(self.test_id, jpeg, seq=seq, time_ms=self.at + 50)

    async def find(self, finding: dict[str, Any], stack: str = "") -> None:
        """Tells a finding, with its evidence."""
        seq = await self.say(finding["title"], phase="phase3", data=told(finding, stack))
        self.seqs[finding["id"]] = seq
        await self.picture(finding["id"], seq, evidence((16, 22, 48), (96, 24, 40)))

    async def end(self, score: int = SCORE, metrics: Any = METRICS) -> None:
        """Publishes the verdict."""
        data = {"score": score, "metrics": metrics}
        said = f"Test complete! Score: {score}/100 (the game froze)"
        await self.say(said, "complete", phase="phase4", data=data)


async def begun(streams: Streams, title: str = "Star Hopper") -> Reported:
    """A run that looks for controls, one of which it has found."""
    run = Reported(streams, identity.new_test_id())
    about = {"title": title, "gameUrl": "http://game.example/", "budgetSeconds": 60, "seed": 7}
    await run.say("Queued", "status", status="queued", data=about)
    await run.say("Running", "status", status="running", data={"attempt": 1, "worker": "w1"})
    await run.say("Opening the game", "status", status="running", phase="phase1")
    await run.say("Looking for controls", "status", status="running", phase="phase2")
    for control in CONTROLS[:2]:
        name = control["control"]
        data = {"control": name, "seen": control["seen"], "situations": control["situations"]}
        run.seqs[name] = await run.say(f"{name} is a control", phase="phase2", data=data)
        await run.picture(name, run.seqs[name], evidence((16, 22, 48), (18, 30, 60)))
    return run


async def reported(streams: Streams, title: str = "Star Hopper") -> Reported:
    """A run with its whole report."""
    run = await begun(streams, title)
    await run.say("Playing", "status", status="running", phase="phase3")
    await run.find(DEAD)
    await run.find(ERROR, STACK)
    await run.find(FREEZE)
    await run.say("Scoring what was seen", "status", status="running", phase="phase4")
    await run.end()
    return run
