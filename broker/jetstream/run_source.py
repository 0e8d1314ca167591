"""One run, read from the broker to be exported: its events and its pictures, a page at a time."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Final

from broker.clock import now_ms
from broker.contract import subjects
from broker.contract.errors import MalformedEvent, NotFound
from broker.contract.events import check, for_viewer
from broker.contract.frames import SEQ_HEADER, TIME_HEADER, Frame, MalformedFrame, check_jpeg, frame_of
from broker.contract.ports import EventLog
from broker.contract.snapshot import Snapshot
from broker.export.source import WHOLE, About, Stretch, check_stretch
from broker.jetstream import runs
from broker.jetstream.api import Stored, Streams, ms_of
from broker.jetstream.scan import first_page, pages
from broker.version import VERSION

_PAGE_FRAMES: Final = 64
_PAGE_BYTES: Final = 512 * 1024
"""Of a page of pictures, about. It is all that an export holds of them."""


_EARLY_MS: Final = 10_000
"""An agent takes its first picture this long after the run has begun, at most."""


class RunSource:
    """A `Source` of `broker.export`. Make one with `open_run`; read each of its streams once."""

    def __init__(self, log: EventLog, streams: Streams, about: About, newest_frame: int) -> None:
        self._log = log
        self._streams = streams
        self._about = about
        self._newest_frame = newest_frame
        """The newest picture when the export began."""
        self._reasons: Counter[str] = Counter()
        self.times = (0, 0)
        """Of the first and the last event that was read, ms since 1970 by the publisher's clock. 0: there is none."""

    def __repr__(self) -> str:
        return f"<RunSource {self._about.snapshot.test_id} head={self._about.head}>"

    @property
    def about(self) -> About:
        """See `Source.about`."""
        return self._about

    def unreadable(self) -> Mapping[str, int]:
        """See `Source.unreadable`."""
        return self._reasons

    async def events(self) -> AsyncGenerator[list[tuple[int, bytes]], None]:
        """See `Source.events`."""
        test_id, (first, last) = self._about.snapshot.test_id, self._about.stretch
        head = min(self._about.head, last)
        async with aclosing(pages(self._log, test_id, max(0, first - 1), head)) as found:
            async for page in found:
                checked = [self._checked(test_id, each.seq, each.data) for each in page.events if each.seq <= head]
                yield [each for each in checked if each is not None]
                if page.events and page.events[-1].seq >= head:
                    return

    def _checked(self, test_id: str, seq: int, data: bytes) -> tuple[int, bytes] | None:
        try:
            checked = check(data)
        except MalformedEvent as error:
            self._reasons[error.reason] += 1
            return None
        if time_ms := checked.event.timestamp:
            self.times = (self.times[0] or time_ms, time_ms)
        return seq, for_viewer(test_id, seq, checked)

    async def frames(self) -> AsyncGenerator[list[tuple[Frame, bytes]], None]:
        """See `Source.frames`. Read the events first: they say when the stretch begins and ends."""
        before: tuple[Frame, bytes] | None = None
        newest_seq = 0
        async for stored in self._stored_frames():
            page: list[tuple[Frame, bytes]] = []
            for each in stored:
                found = _readable(each)
                if found is None or not self._is_shown(found[0], newest_seq):
                    continue
                newest_seq = max(newest_seq, found[0].seq)
                place = self._place(found[0])
                if place is None:
                    continue
                if place < 0:
                    before = found
                    continue
                if before is not None:
                    page.append(before)
                    before = None
                page.append(found)
            yield page
        if before is not None:  # no picture was taken in the stretch: it shows the one before
            yield [before]

    async def _stored_frames(self) -> AsyncGenerator[list[Stored], None]:
        subject, after = subjects.frames(self._about.snapshot.test_id), 0
        while after < self._newest_frame:
            page = await self._streams.read(subjects.FRAMES, subject, after, _PAGE_FRAMES, max_bytes=_PAGE_BYTES)
            if not page.messages:
                return
            yield [each for each in page.messages if each.seq <= self._newest_frame]
            after = page.messages[-1].seq

    def _is_shown(self, frame: Frame, newest_seq: int) -> bool:
        """Whether an edge shows a picture to viewers: the run has come to its event, and no picture before it belongs
        to a later one, as with those of a worker that has lost the run."""
        return frame.seq == 0 or newest_seq <= frame.seq <= self._about.head

    def _place(self, frame: Frame) -> int | None:
        """Where a picture belongs: -1 before the stretch, 0 in it, None after it."""
        stretch = self._about.stretch
        if stretch.whole:
            return 0
        at, (first, last) = (frame.seq, stretch) if frame.seq else (frame.time_ms, self.times)
        return -1 if at < first else 0 if at <= last else None


async def open_run(
    log: EventLog, streams: Streams, test_id: str, stretch: Stretch = WHOLE, known: Snapshot | None = None
) -> RunSource:
    """Reads what is known of a run as of now.

    Args:
        known: a snapshot of this life of the stream to start from, which spares reading all events; None: fold them.

    Raises:
        NotFound: no event of it is stored.
        BadInput: there is nothing in the stretch.
        BrokerUnavailable: no leader.
    """
    epoch = (await log.heads()).epoch
    head = await log.last(test_id) or await log.last(test_id, confirmed=True)
    if not head:
        raise NotFound(test_id)
    check_stretch(stretch, head)
    usable = known is not None and known.epoch == epoch and known.seq <= head
    snapshot, head = await runs.read(log, test_id, known if usable else None, known_last=head)
    if snapshot is None:
        raise NotFound(test_id)
    oldest = await first_page(log, test_id, 0, head, limit=1)
    frames = await streams.newest(subjects.FRAMES, [subjects.frames(test_id)])
    newest = frames.messages[0].seq if frames.messages else 0
    events_gone = bool(oldest and oldest[0].expected_last)
    frames_gone = await _frames_gone(streams, test_id, snapshot.started_at or snapshot.created_at)
    about = About(snapshot, epoch, head, now_ms(), VERSION, stretch, events_gone, frames_gone)
    return RunSource(log, streams, about, newest)


async def _frames_gone(streams: Streams, test_id: str, began_ms: int) -> bool:
    """Whether a run may have had earlier pictures, which are no longer kept.

    It has as many as a run may have; or it began before the oldest picture that is stored of any run, and its own first
    one is not of its beginning. Whether there were any is not known.
    """
    subject = subjects.frames(test_id)
    info = await streams.api(f"STREAM.INFO.{subjects.FRAMES}", {"subjects_filter": subject})
    limit, state = info["config"].get("max_msgs_per_subject", -1), info["state"]
    if 0 < limit <= (state.get("subjects") or {}).get(subject, 0):
        return True
    if state["first_seq"] <= 1 or began_ms >= ms_of(state["first_ts"].encode()):
        return False
    first = (await streams.read(subjects.FRAMES, subject, 0, 1)).messages
    found = _readable(first[0]) if first else None
    return found is None or found[0].time_ms > began_ms + _EARLY_MS


def _readable(stored: Stored) -> tuple[Frame, bytes] | None:
    given = {name: stored.header(name) for name in (SEQ_HEADER, TIME_HEADER)}
    try:
        frame = frame_of(stored.seq, given, stored.stored_ms, len(stored.data))
        return frame, check_jpeg(stored.data)
    except MalformedFrame:
        return None
