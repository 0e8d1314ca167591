"""A game's files on a web server of this machine, with a bug put in or without."""

from __future__ import annotations

import http.server
import mimetypes
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import unquote

from tests.trial import breaks
from tests.trial.catalogue import UNCHANGED, Bug, Game, Patch
from tests.trial.packages import brought_in

_TYPES: Final = {
    ".js": "text/javascript",
    ".mjs": "text/javascript",
    ".tmj": "application/json",
    ".tsj": "application/json",
    ".wasm": "application/wasm",
}
"""What the tables of the machine may not know."""


def patched(file: str, text: str, patches: Sequence[Patch]) -> str:
    """The text of `file` with those of `patches` that are for it, in their order.

    Raises:
        ValueError: What is to be replaced is not there exactly once: the file is another than the one that was tried.
    """
    for patch in patches:
        if patch.file == file:
            if (times := text.count(patch.find)) != 1:
                raise ValueError(f"{file}: {patch.find!r} is there {times} times, not once")
            text = text.replace(patch.find, patch.replace)
    return text


class Answer(NamedTuple):
    """What is said to a path."""

    status: int
    kind: str
    body: bytes


class Site:
    """The files of a game, by the path that a browser asks for.

    Args:
        folders: Where the files of each package lie, by the path at which they are served.
    """

    def __init__(self, game: Game, bug: Bug | None, folders: Mapping[str, Path]) -> None:
        self.game, self.bug, self.folders = game, bug, folders
        self.patches = (*game.patches, *(bug.patches if bug else ()))
        self.missing = bug.missing if bug else ()

    def text_of(self, path: str) -> bytes | None:
        """The content of a file before any change; None where there is none."""
        if path in self.game.files:
            return self.game.files[path].encode()
        for at, folder in self.folders.items():
            if path.startswith(at):
                file = folder / path[len(at) :]
                if file.is_file() and file.resolve().is_relative_to(folder.resolve()):
                    return file.read_bytes()
        return None

    def changed(self, path: str, text: str) -> str:
        """A text of the game as it is served.

        Raises:
            ValueError: It is another than the one that was tried.
        """
        text = patched(path, text, self.patches)
        if self.bug is not None and path == self.game.entry:
            bug = self.bug
            text = breaks.with_line(text, bug.says) if bug.says else text
            text = breaks.with_style(text, bug.style) if bug.style else text
            text = breaks.with_script(text, bug.script) if bug.script else text
        return text

    def answer(self, asked: str) -> Answer:
        """What is said to a path such as `/js/game.js?v=2`."""
        path = unquote(asked.partition("?")[0].partition("#")[0]).lstrip("/")
        content = None if path in self.missing else self.text_of(path)
        if content is None:
            return Answer(404, "text/plain", b"not here")
        if path == self.game.entry or any(patch.file == path for patch in self.patches):
            content = self.changed(path, content.decode()).encode()
        suffix = Path(path).suffix
        kind = _TYPES.get(suffix) or mimetypes.guess_type(path)[0] or "application/octet-stream"
        return Answer(200, kind, content)


def site(game: Game, kind: str, cache: Path) -> Site:
    """The game with the bug of that kind, or without for `unchanged`.

    Raises:
        CannotFetch: A package of it cannot be had.
        ValueError: A change cannot be made, or the game has no bug of that kind.
    """
    bug = None if kind == UNCHANGED else game.bugs[kind]
    if bug is not None and bug.absent:
        raise ValueError(f"{game.name} has no bug of the kind {kind}: {bug.absent}")
    folders = {package.at: brought_in(package, cache) for package in game.packages}
    made = Site(game, bug, folders)
    for patch in made.patches:
        if patch.file not in made.missing and made.answer(patch.file).status != 200:
            raise ValueError(f"{game.name}: there is no {patch.file} to change")
    return made


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """A browser that ends leaves connections behind."""


@contextmanager
def serving(files: Site) -> Iterator[str]:
    """A running server; the value is the address of the game's page."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            answer = files.answer(self.path)
            with suppress(OSError):
                self.send_response(answer.status)
                self.send_header("Content-Type", answer.kind)
                self.send_header("Content-Length", str(len(answer.body)))
                self.send_header("Cache-Control", "max-age=600")  # as hosts of files have it
                self.end_headers()
                self.wfile.write(answer.body)

        def log_message(self, *args: object) -> None:
            pass

    server = _Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/{files.game.entry}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
