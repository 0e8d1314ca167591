"""A run with pictures to export, and what was published of it."""

from __future__ import annotations

import io
from typing import Any, Final, NamedTuple

from PIL import Image

from broker import identity
from broker.clock import now_ms
from broker.contract.frames import Frame
from broker.export.source import WHOLE, About, Stretch
from broker.jetstream.api import Streams
from broker.jetstream.frame_store import FrameStore
from tests.harness import publish

HOSTILE: Final = "</script><script>document.title='taken'</script><!-- \u2028 &amp; <b>\\"
"""A text of a game that would like to be markup."""
RUBRIC: Final = [
    {"part": "load", "score": 18, "max": 20, "reasons": ["first paint after 0.4 s"]},
    {"part": "controls", "score": 6, "max": 20, "reasons": ["no reaction to the pointer", HOSTILE]},
]
COLOURS: Final = [(200, 30, 30), (30, 160, 60), (40, 60, 200), (220, 200, 40), (150, 40, 170)]


def jpeg(colour: tuple[int, int, int], size: tuple[int, int] = (640, 360)) -> bytes:
    """A picture of one colour."""
    made = io.BytesIO()
    Image.new("RGB", size, colour).save(made, "JPEG", quality=80)
    return made.getvalue()


class Moment(NamedTuple):
    """What was published at one moment: a line, and the picture that goes with it."""

    seq: int
    message: str
    time_ms: int
    frame: Frame
    jpeg: bytes


class Story(NamedTuple):
    """A run."""

    test_id: str
    moments: list[Moment]
    head: int


async def told(
    streams: Streams, *, moments: int = 5, ended: bool = True, title: str = "Star Hopper", project: str | None = None
) -> Story:
    """Publishes a run: a second between two moments, a picture with each, a problem, and a score at the end."""
    test_id, store = identity.new_test_id(), FrameStore(streams)
    at = now_ms() - 60_000
    first: dict[str, Any] = {"title": title, "gameUrl": "http://game.example/", "labels": {"commit": "abc"}}
    first |= {} if project is None else {"project": project}
    await publish(streams, test_id, "Queued", "status", status="queued", timestamp=at, data=first)
    running: dict[str, Any] = {"attempt": 1, "worker": "w1"}
    await publish(streams, test_id, "Running", "status", status="running", timestamp=at, data=running)
    made = []
    for index in range(moments):
        at += 1000
        phase, message = f"phase{min(4, 1 + index)}", f"Step {index}: {HOSTILE if index == 1 else 'all is well'}"
        seq = (await publish(streams, test_id, message, phase=phase, timestamp=at)).seq
        picture = jpeg(COLOURS[index % len(COLOURS)])
        number = await store.put(test_id, picture, seq=seq, time_ms=at)
        made.append(Moment(seq, message, at, Frame(number, seq, at, len(picture)), picture))
    problem = {"kind": "console", "detail": f"boom {HOSTILE}"}
    head = 0
    for _ in range(2):
        head = (await publish(streams, test_id, "The game logged an error", timestamp=at + 100, data=problem)).seq
    if ended:
        data = {"score": 61, "metrics": {"rubric": RUBRIC, "fps": 58.5}}
        said = "Test complete! Score 61/100"
        head = (await publish(streams, test_id, said, "complete", phase="phase4", timestamp=at + 500, data=data)).seq
    return Story(test_id, made, head)


class FixedSource:
    """A `Source` of what it is given."""

    def __init__(self, about: About, events: list[tuple[int, bytes]], frames: list[tuple[Frame, bytes]]) -> None:
        self.about = about
        self._events = events
        self._frames = frames

    async def events(self) -> Any:
        """See `Source.events`: one page."""
        yield self._events

    async def frames(self) -> Any:
        """See `Source.frames`: one page."""
        yield self._frames

    def unreadable(self) -> dict[str, int]:
        """See `Source.unreadable`."""
        return {}


def about(snapshot: Any, *, stretch: Stretch = WHOLE, **more: Any) -> About:
    """What is known of a run, at 2026-11-26 20:30 UTC."""
    return About(snapshot, "17", snapshot.seq, 1_795_725_000_000, "0.0.1", stretch, **more)
