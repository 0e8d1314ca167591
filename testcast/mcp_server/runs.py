"""What the tools do, over NATS or through an edge, as the commands of the same names do it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Final, NamedTuple

import msgspec

from broker.contract.errors import BadInput
from broker.contract.frames import Frame
from broker.contract.snapshot import Snapshot
from broker.export.findings import Report, Told, beside, report_of
from broker.export.problems import Problem, Problems
from broker.jetstream.event_log import JetStreamLog
from broker.jetstream.frame_store import FrameStore
from broker.jetstream.run_source import open_run
from testcast.cli.commands import SubmitRequest, cancel, submitted
from testcast.cli.details import Details, details_of
from testcast.cli.listing import EdgeSource, NatsSource, Selection
from testcast.cli.names import resolve
from testcast.cli.server import Server, connection, page_of
from testcast.cli.targets import parse_run
from testcast.client.rpc import RpcClient
from testcast.client.tail import Tail
from testcast.client.watch import Watch

_ALL_EVENTS: Final = 20_000
"""A run has no more."""
_MAX_PICTURE_BYTES: Final = 64 * 1024
_FRAMES_PAGE: Final = 2_000
_FOLDED_WITHIN_S: Final = 5.0


class Picture(NamedTuple):
    """A picture and why it was chosen."""

    frame: Frame
    jpeg: bytes
    why: str


class Whole(NamedTuple):
    """All that is known of a run."""

    details: Details
    report: Report
    """What its agent reports."""
    problems: list[Problem]
    """Of the game, other than the findings."""
    more_problems: int


class Runs:
    """The runs of a broker, or of an edge.

    Args:
        server: which.
    """

    def __init__(self, server: Server) -> None:
        self._server = server

    def __repr__(self) -> str:
        return f"<Runs{self._server.options}>"

    async def named(self, run: str) -> str:
        """The test id of a run: an id, the beginning of one, `last`, or the address of its page.

        Raises:
            BadInput: it names none, or several.
        """
        name, edge = parse_run(run, self._server.edge)
        if edge != self._server.edge:
            raise BadInput("the page is of another edge than the one that this server uses")
        try:
            return await resolve(name, self._server)
        except BadInput as error:
            if error.code == "ambiguous_test_id":  # its message has the titles of runs in it
                raise BadInput(f"several test ids begin with {name}: give more of it", error.code) from None
            raise

    async def page(self, test_id: str) -> str | None:
        """The address of a run's page; None where no edge is known."""
        return await page_of(test_id, self._server)

    async def submit(self, request: SubmitRequest) -> str:
        """Submits a game. Returns the test id."""
        return await submitted(request, self._server)

    async def listed(self, selection: Selection) -> Sequence[Snapshot]:
        """The newest runs."""
        if self._server.edge is not None:
            async with RpcClient(self._server.edge) as rpc:
                return await self._first(EdgeSource(rpc, selection), selection)
        async with connection(self._server) as nats:
            return await self._first(NatsSource(nats), selection)

    async def _first(self, source: EdgeSource | NatsSource, selection: Selection) -> Sequence[Snapshot]:
        async with aclosing(aiter(source)) as lists:  # type: ignore[type-var]  # both are generators
            return selection.choose(await anext(lists))

    async def cancel(self, test_id: str) -> None:
        """Ends a run as cancelled."""
        await cancel(test_id, self._server)

    async def snapshot(self, test_id: str, *, ended: bool = False) -> Snapshot:
        """A run as it is now.

        Args:
            ended: it is known to have ended; an edge that has not folded the end yet is asked again for a while.
        """
        if self._server.edge is None:
            return (await details_of(test_id, self._server, 0)).snapshot
        given_up = asyncio.get_running_loop().time() + _FOLDED_WITHIN_S
        async with RpcClient(self._server.edge) as rpc:
            while True:
                found = msgspec.convert((await rpc.call("getTest", testId=test_id))["test"], Snapshot)
                if found.ended or not ended or asyncio.get_running_loop().time() > given_up:
                    return found
                await asyncio.sleep(0.2)

    @asynccontextmanager
    async def following(self, test_id: str, after: int | None) -> AsyncIterator[Tail | Watch]:
        """The events of a run, after a position."""
        if self._server.edge is not None:
            async with RpcClient(self._server.edge) as rpc:  # a wrong id is reported at once
                await rpc.call("getTest", testId=test_id)
            yield Watch(self._server.edge, test_id, after=after)
            return
        async with connection(self._server) as nats:
            yield Tail(JetStreamLog(nats), test_id, after=after, address=nats.address)

    async def whole(self, test_id: str) -> Whole:
        """A run with its events, and the problems that they report."""
        details = await details_of(test_id, self._server, _ALL_EVENTS)
        problems, told = Problems(), Told()
        for event in details.last:
            if not told.note(event.seq, event.published):
                problems.note(event.seq, event.published)
        report = report_of(details.snapshot.metrics, told)
        return Whole(details, report, beside(problems.found, report), problems.more)

    async def pictures(self, test_id: str, at: Sequence[tuple[int, str]], most: int) -> list[Picture]:
        """The newest picture of a run, those that show the given events, and some on the way.

        Args:
            at: sequences of events, each with why it is of interest; the first are the most important.
            most: how many pictures at most.
        """
        if most <= 0:
            return []
        if self._server.edge is None:
            return await self._stored_pictures(test_id, at, most)
        async with RpcClient(self._server.edge) as rpc:
            frames, after, more = list[Frame](), 0, True
            while more:
                page = await rpc.call("getFrames", testId=test_id, after=after, limit=_FRAMES_PAGE)
                frames += [Frame(*row) for row in page["frames"]]
                more = bool(page.get("more")) and bool(page["frames"])
                after = frames[-1].number if frames else 0
            found = []
            for frame, why in chosen(frames, at, most):
                async with rpc.download(f"/tests/{test_id}/frames/{frame.number}.jpg", {}) as answer:
                    jpeg = b"".join([piece async for piece in answer.pieces])
                if len(jpeg) <= _MAX_PICTURE_BYTES:
                    found.append(Picture(frame, jpeg, why))
            return found

    async def _stored_pictures(self, test_id: str, at: Sequence[tuple[int, str]], most: int) -> list[Picture]:
        """The same over NATS."""
        async with connection(self._server) as nats:
            log = JetStreamLog(nats)
            source, store = await open_run(log, log.streams, test_id), FrameStore(log.streams)
            frames = [frame async for page in source.frames() for frame, _ in page]
            found = []
            for frame, why in chosen(frames, at, most):
                picture = await store.at(test_id, frame.number)
                if picture is not None:
                    found.append(Picture(frame, picture.jpeg, why))
        return found


def chosen(frames: Sequence[Frame], at: Sequence[tuple[int, str]], most: int) -> list[tuple[Frame, str]]:
    """Which pictures of a run are shown, the most important first.

    The newest; then for each event the first one after it, else the last before it; then some on the way, evenly.
    """
    if not frames or most <= 0:
        return []
    found: dict[int, tuple[Frame, str]] = {frames[-1].number: (frames[-1], "the newest picture")}
    for seq, why in at:
        if len(found) >= most:
            break
        shown = next((each for each in frames if each.seq >= seq), frames[-1])
        found.setdefault(shown.number, (shown, why))
    left = most - len(found)
    for n in range(left):
        on_the_way = frames[(n + 1) * len(frames) // (left + 1) - 1]
        found.setdefault(on_the_way.number, (on_the_way, "on the way"))
    return list(found.values())
