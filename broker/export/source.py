"""What an export is made of, and which part of a run it takes. Pure."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from typing import Final, Literal, NamedTuple, Protocol, get_args

from broker.contract.errors import BadInput
from broker.contract.frames import Frame
from broker.contract.snapshot import Snapshot

Format = Literal["html", "json", "junit"]
FORMATS: Final[tuple[Format, ...]] = get_args(Format)
REMARKS_HEADER: Final = "x-testcast-export"
MEDIA_TYPES: Final[Mapping[Format, str]] = {
    "html": "text/html; charset=utf-8",
    "json": "application/json",
    "junit": "application/xml",
}
ENDINGS: Final[Mapping[str, str]] = {
    "html": ".html", "json": ".json", "junit": ".xml", "gif": ".gif", "webp": ".webp"
}  # fmt: skip
"""Of file names, by format."""
_MAX_NAME_CHARS: Final = 60
_NOT_IN_NAMES: Final = re.compile(r"[^a-z0-9]+")
_SAFE_INT: Final = 2**53 - 1


class Stretch(NamedTuple):
    """A part of a run, by the sequences of its events. The default is the whole run."""

    first: int = 0
    """Of its first event; 0: from the beginning."""
    last: int = _SAFE_INT
    """Of its last event."""

    @property
    def whole(self) -> bool:
        """Whether nothing is left out."""
        return self == Stretch()

    def holds(self, seq: int) -> bool:
        """Whether the event with this sequence is in it."""
        return self.first <= seq <= self.last


WHOLE: Final = Stretch()


class About(NamedTuple):
    """What is known of a run before its events and pictures are read."""

    snapshot: Snapshot
    """As of `head`."""
    epoch: str
    head: int
    """The run's newest event when the export began: nothing newer is in it."""
    exported_ms: int
    """When the export began, ms since 1970."""
    version: str
    """Of the testcast that makes the export."""
    stretch: Stretch = WHOLE
    events_gone: bool = False
    """The run's first events are no longer kept."""
    frames_gone: bool = False
    """The run may have had earlier pictures, which are no longer kept."""


class Source(Protocol):
    """A run that is being exported. Reading it once takes memory for one page of it, whatever its length."""

    @property
    def about(self) -> About:
        """What is known before anything is read."""

    def events(self) -> AsyncIterator[list[tuple[int, bytes]]]:
        """Yields pages of the events of the stretch: the sequence, and the JSON object as viewers receive it.

        Raises:
            BrokerUnavailable, BrokerRefused: they cannot be read.
        """

    def frames(self) -> AsyncIterator[list[tuple[Frame, bytes]]]:
        """Yields pages of the pictures of the stretch with their bytes, in order of their numbers.

        The first is the one that was shown when the stretch began. Raises as `events`.
        """

    def unreadable(self) -> Mapping[str, int]:
        """How many of the messages read so far are no events, by what is wrong with them."""


def remarks(about: About) -> list[str]:
    """What the reader of an export has to know of it, a word each: the header `x-testcast-export` has them."""
    said = (
        ("unfinished", not about.snapshot.ended),
        ("events-gone", about.events_gone),
        ("frames-gone", about.frames_gone),
    )
    return [word for word, holds in said if holds]


def stretch_of(first: int | None, last: int | None) -> Stretch:
    """The stretch between two events, both included; None: from the beginning, to the end.

    Raises:
        BadInput: there is nothing between them, or one is no sequence.
    """
    for name, seq in (("from", first), ("to", last)):
        if seq is not None and not 0 < seq <= _SAFE_INT:
            raise BadInput(f"`{name}` is not the sequence of an event: a whole number from 1", code="invalid_params")
    if first is not None and last is not None and first > last:
        raise BadInput(f"the stretch ends before it begins: from {first} to {last}", code="invalid_params")
    return Stretch(first or WHOLE.first, last or WHOLE.last)


def check_stretch(stretch: Stretch, head: int) -> None:
    """Returns if a run whose newest event is `head` can have something in the stretch.

    Raises:
        BadInput: it begins after the newest event.
    """
    if stretch.first > head:
        said = f"the run has no event {stretch.first} or later: its newest is {head}"
        raise BadInput(said, code="invalid_params")


def file_name(snapshot: Snapshot, form: str) -> str:
    """A name for the file, of letters that every system takes: the run's title and the beginning of its id."""
    title = _NOT_IN_NAMES.sub("-", snapshot.title.lower())[:_MAX_NAME_CHARS].strip("-")
    parts = ("testcast", title, snapshot.test_id[:8])
    return "-".join(part for part in parts if part) + ENDINGS[form]
