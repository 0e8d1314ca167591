"""The command `export`: a run as a file, over NATS or through an edge."""

from __future__ import annotations

import re
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

from broker import extras
from broker.contract.errors import BadInput
from broker.export.assets import assets
from broker.export.document import Pictures, json_pieces, pictures_of
from broker.export.junit import junit_xml
from broker.export.page import html_pieces
from broker.export.source import ENDINGS, REMARKS_HEADER, Stretch, file_name, remarks, stretch_of
from broker.jetstream.event_log import JetStreamLog
from broker.jetstream.run_source import RunSource, open_run
from testcast.cli.names import resolve
from testcast.cli.new_file import check_new, new_file
from testcast.cli.server import Server, connection
from testcast.cli.terminal import Terminal
from testcast.client.errors import ConnectionLost, EdgeRefused
from testcast.client.rpc import Download, RpcClient
from testcast.exit_codes import EXIT_COMPLETED

STDOUT: Final = Path("-")
ANIMATIONS: Final = ("gif", "webp")
_NAMED: Final = re.compile(r'filename="([a-z0-9][a-z0-9-]{0,90}\.[a-z]{3,5})"')
"""A file name of an edge is taken only in this form: anything may call itself an edge."""
_REMARKS: Final = {
    "unfinished": "the run has not ended: this is what it was just now",
    "events-gone": "the run's first events are no longer kept",
    "frames-gone": "the run may have had earlier pictures, which are no longer kept",
}
_ENDS: Final = {"html": b"</html>", "json": b"}", "junit": b"</testsuites>"}
"""Of a whole file."""


class ExportRequest(NamedTuple):
    """What to export, and where to."""

    form: str
    """A key of `broker.export.source.ENDINGS`."""
    output: Path | None = None
    """None: a file named after the run, in the current directory. `STDOUT`: standard output."""
    first: int | None = None
    last: int | None = None
    force: bool = False


class Found(NamedTuple):
    """An export that has begun."""

    name: str
    """For its file, if the caller names none."""
    remarks: Sequence[str]
    pieces: AsyncIterator[bytes]


def format_of(chosen: Sequence[str], output: Path | None) -> str:
    """The format that the options ask for; without one, that of the file's ending; else HTML.

    Raises:
        BadInput: they ask for several.
    """
    if len(chosen) > 1:
        options = ", ".join(f"--{each}" for each in chosen)
        raise BadInput(f"{options}: give only one of them")
    if chosen:
        return chosen[0]
    ending = "" if output is None else output.suffix.lower()
    return next((form for form, each in ENDINGS.items() if each == ending), "html")


async def export(run: str, request: ExportRequest, server: Server, terminal: Terminal) -> int:
    """Writes a run into a file, and prints the file's name.

    Raises:
        NotFound: there is no such run.
        BadInput: there is nothing in the stretch, or the file exists or cannot be made.
        OSError: the disk is full. Nothing is left of the file.
    """
    stretch = stretch_of(request.first, request.last)
    if request.form in ANIMATIONS:
        extras.require("agent", f"testcast export --{request.form}")
    if request.output is not None and request.output != STDOUT:
        check_new(request.output, force=request.force)
    test_id = await resolve(run, server)
    async with _found(test_id, request.form, stretch, server, terminal) as found:
        await _write(found, request, terminal)
    for word in found.remarks:
        if word in _REMARKS:
            terminal.note(_REMARKS[word])
    return EXIT_COMPLETED


async def _write(found: Found, request: ExportRequest, terminal: Terminal) -> None:
    if request.output == STDOUT:
        async for piece in found.pieces:
            sys.stdout.buffer.write(piece)
        sys.stdout.buffer.flush()
        return
    path, size = request.output or Path(found.name), 0
    with new_file(path, force=request.force) as file:
        async for piece in found.pieces:
            file.write(piece)
            size += len(piece)
            terminal.transient(f"{size / 1e6:.1f} MB")
    terminal.say(str(path))


def _found(
    test_id: str, form: str, stretch: Stretch, server: Server, terminal: Terminal
) -> AbstractAsyncContextManager[Found]:
    if server.edge is not None:
        return _over_edge(test_id, form, stretch, server.edge, terminal)
    return _over_nats(test_id, form, stretch, server, terminal)


@asynccontextmanager
async def _over_nats(
    test_id: str, form: str, stretch: Stretch, server: Server, terminal: Terminal
) -> AsyncGenerator[Found, None]:
    async with connection(server) as nats:
        log = JetStreamLog(nats)
        source = await open_run(log, log.streams, test_id, stretch)
        about = source.about
        name = file_name(about.snapshot, form)
        if form in ANIMATIONS:
            pictures = await _gathered(source)
            yield Found(name, remarks(about), _animated(form, pictures, terminal))
        else:
            yield Found(name, remarks(about), _pieces_of(source, form))


def _pieces_of(source: RunSource, form: str) -> AsyncIterator[bytes]:
    if form == "junit":
        return _one(junit_xml(source))
    return html_pieces(source, assets()) if form == "html" else json_pieces(source)


async def _gathered(source: RunSource) -> Pictures:
    async for _ in source.events():
        pass
    return Pictures([each async for page in source.frames() for each in page], source.times)


@asynccontextmanager
async def _over_edge(
    test_id: str, form: str, stretch: Stretch, edge: str, terminal: Terminal
) -> AsyncGenerator[Found, None]:
    asked = "json" if form in ANIMATIONS else form
    params: dict[str, str | int] = {"format": asked}
    if stretch.first != Stretch().first:
        params["from"] = stretch.first
    if stretch.last != Stretch().last:
        params["to"] = stretch.last
    async with RpcClient(edge) as rpc:
        await rpc.call("getTest", testId=test_id)
        try:
            async with rpc.download(f"/tests/{test_id}/export", params) as answer:
                named = _NAMED.search(answer.headers.get("content-disposition", ""))
                stem = Path(named[1]).stem if named else f"testcast-{test_id[:8]}"
                words = [each.strip() for each in answer.headers.get(REMARKS_HEADER, "").split(",")]
                whole = _whole(answer, asked)
                if form in ANIMATIONS:
                    document = b"".join([piece async for piece in whole])
                    whole = _animated(form, pictures_of(document), terminal)
                yield Found(stem + ENDINGS[form], words, whole)
        except EdgeRefused as error:
            if error.status != 404:
                raise
            raise EdgeRefused(
                f"the edge at {edge} makes no exports: it is of an earlier version", error.code, 0
            ) from None


async def _whole(answer: Download, form: str) -> AsyncGenerator[bytes, None]:
    """The pieces of an answer.

    Raises:
        ConnectionLost: it has ended before its end.
    """
    last = b""
    async for piece in answer.pieces:
        last = (last + piece)[-64:]
        yield piece
    if not last.rstrip().endswith(_ENDS[form]):
        raise ConnectionLost("the edge has closed the connection before the export was whole: export the run again")


async def _animated(form: str, pictures: Pictures, terminal: Terminal) -> AsyncGenerator[bytes, None]:
    from testcast.cli import animation  # its library takes a while to import

    made = animation.animation("gif" if form == "gif" else "webp", pictures)
    said = f"{made.pictures} pictures, {made.seconds:.1f} s"
    terminal.note(said if not made.skipped else f"{said}; {made.skipped} could not be read")
    yield made.content


async def _one(work: Any) -> AsyncGenerator[bytes, None]:
    yield await work
