"""The dashboard's files, served from memory: read once, compressed once, asked for anew each time."""

from __future__ import annotations

import gzip
import hashlib
import mimetypes
from pathlib import Path
from typing import Final, NamedTuple

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from broker import subjects
from broker.errors import InvalidTestId

DIRECTORY: Final = Path(__file__).resolve().parent.parent / "dashboard_ui"
PAGE: Final = "index.html"
RUN_PAGE: Final = "run.html"
"""For a run of its own: the same page, with other modules to preload."""
FOLDERS: Final = ("client", "view")
ALIASES: Final = {"testcast.d.ts": "client/testcast.d.ts"}
"""Public addresses of files that are in a folder. testcast.js is not one of them: its imports are relative."""
_SECURITY: Final = {
    "content-security-policy": "default-src 'self'; img-src 'self' data: blob:; style-src 'self' 'unsafe-inline'; "
    "connect-src 'self' ws: wss:; base-uri 'none'; frame-ancestors 'none'; form-action 'self'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
}


class File(NamedTuple):
    """One file, ready to be sent."""

    media_type: str
    etag: str
    """Weak: the plain and the compressed bytes are the same file (RFC 9110, 8.8.1)."""
    plain: bytes
    compressed: bytes


def load(directory: Path = DIRECTORY) -> dict[str, File]:
    """Reads every file of the dashboard. An edge that runs does not see later changes.

    Returns:
        The files by their addresses without the leading slash, like "style.css" or "view/main.js".
    """
    files = {}
    for path in sorted(path for folder in ("", *FOLDERS) for path in (directory / folder).iterdir()):
        if path.is_file() and not path.name.startswith("."):
            plain = path.read_bytes()
            etag = f'W/"{hashlib.blake2b(plain, digest_size=12).hexdigest()}"'
            address = path.relative_to(directory).as_posix()
            files[address] = File(_media_type(path.name), etag, plain, gzip.compress(plain, 9, mtime=0))
    return files | {public: files[address] for public, address in ALIASES.items()}


class Static:
    """The routes of the dashboard: its files, its page, and the page of one run."""

    def __init__(self) -> None:
        self._files = load()

    def __repr__(self) -> str:
        sent = sum(len(file.compressed) for file in self._files.values())
        return f"<Static files={len(self._files)} compressed_bytes={sent}>"

    async def page(self, request: Request) -> Response:
        """The dashboard, or a run's own page, with 404 if the id is not valid."""
        test_id = request.path_params.get("test_id")
        try:
            if test_id is not None:
                subjects.parse_test_id(test_id)
        except InvalidTestId as error:
            response = _answer(request, self._files[RUN_PAGE], 404)
            response.headers["x-error"] = error.code
            return response
        return _answer(request, self._files[PAGE if test_id is None else RUN_PAGE])

    async def file(self, request: Request) -> Response:
        """One of the files, by its name and its folder, if any.

        Raises:
            HTTPException: 404, there is no such file.
        """
        folder, name = request.path_params.get("folder"), request.path_params["name"]
        file = self._files.get(f"{folder}/{name}" if folder else name)  # a look-up: no path reaches the file system
        if file is None:
            raise HTTPException(404)
        return _answer(request, file)


def _answer(request: Request, file: File, status: int = 200) -> Response:
    # no-cache: kept, but asked for anew each time, so that an update is seen at once
    headers = _SECURITY | {"cache-control": "no-cache", "vary": "accept-encoding"}
    if status == 200:
        headers["etag"] = file.etag
        if _matches(request.headers.get("if-none-match", ""), file.etag):
            return Response(status_code=304, headers=headers)
    body = file.plain
    if _takes_gzip(request.headers.get("accept-encoding", "")):
        body, headers["content-encoding"] = file.compressed, "gzip"
    return Response(body, status, headers, file.media_type)  # uvicorn leaves the body out of an answer to HEAD


def _matches(asked: str, etag: str) -> bool:
    """The weak comparison of RFC 9110, 13.1.2."""
    opaque = etag.removeprefix("W/")
    return any(each.strip().removeprefix("W/") in ("*", opaque) for each in asked.split(","))


def _takes_gzip(accepted: str) -> bool:
    for each in accepted.lower().split(","):
        coding, _, weight = each.partition(";")
        if coding.strip() in ("gzip", "*"):
            return weight.strip() not in ("q=0", "q=0.0", "q=0.00", "q=0.000")  # RFC 9110, 12.5.3: not acceptable
    return False


def _media_type(name: str) -> str:
    if name.endswith(".js"):
        return "text/javascript"  # whatever this machine's table of types says
    return mimetypes.guess_type(name)[0] or "application/octet-stream"
