"""The dashboard's files, served from memory: read and compressed once, at the start of the edge."""

from __future__ import annotations

import gzip
import hashlib
import html
import mimetypes
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from broker.contract import ids
from broker.contract.errors import InvalidTestId
from broker.export.comments import without_comments
from ws_edge.api import reference
from ws_edge.api.http_cache import if_none_match, matches
from ws_edge.api.outside import outside_of
from ws_edge.config import EdgeConfig
from ws_edge.response_headers import POLICY, RESOURCE_POLICY, page_policy

DIRECTORY: Final = Path(__file__).resolve().parents[2] / "dashboard_ui"
PAGE: Final = "index.html"
RUN_PAGE: Final = "run.html"
"""For a run of its own: the same page, with other modules to preload."""
PAGES: Final = {"/wall": "wall.html", "/games": "games.html", "/compare": "compare.html"}
"""Further pages: their addresses, which are one level deep, and their files. One whose file is missing has no route."""
REFERENCE: Final = "/api"
OPENAPI: Final = "/openapi.json"
_ADDRESS: Final = re.compile(rb"""(\b(?:href|src)=")/(?!/)""")
_MAX_PAGES: Final = 32
"""A proxy may tell any number of prefixes."""
FOLDERS: Final = ("client", "view")
ALIASES: Final = {"testcast.d.ts": "client/testcast.d.ts"}
"""Public addresses of files that are in a folder. testcast.js is not one of them: its imports are relative."""
FOR_OTHER_PAGES: Final = frozenset(("testcast.js", "testcast.d.ts"))
"""What pages of other origins load, with everything in `client/`."""


class File(NamedTuple):
    """One file with what its answers need."""

    media_type: str
    etag: str
    """Weak, since it names both the plain and the compressed bytes (RFC 9110, 8.8.1)."""
    plain: bytes
    compressed: bytes


def load(directory: Path = DIRECTORY) -> dict[str, File]:
    """Reads every file of the dashboard. An edge that runs does not see later changes.

    Returns:
        The files by their addresses without the leading slash, like "style.css" or "view/main.js".
    """
    files = {}
    inside = (path for folder in FOLDERS for path in (directory / folder).rglob("*"))
    for path in sorted((*directory.iterdir(), *inside)):
        if path.is_file() and not path.name.startswith("."):
            plain = path.read_bytes()
            address = path.relative_to(directory).as_posix()
            if path.suffix == ".html":
                plain = rooted(plain, "./")
            elif path.suffix in (".js", ".css"):
                plain = without_comments(plain)
            files[address] = _file(_media_type(path.name), plain)
    return files | {public: files[address] for public, address in ALIASES.items()}


def rooted(page: bytes, root: str) -> bytes:
    """A page whose addresses lead to `root`. In the sources they begin with a slash, which stands for the edge's root.

    Args:
        root: relative to the page, like "../", or a path; with a slash at its end.
    """
    return _ADDRESS.sub(rb"\1" + root.encode("ascii"), page)


def _file(media_type: str, plain: bytes) -> File:
    etag = f'W/"{hashlib.blake2b(plain, digest_size=12).hexdigest()}"'
    return File(media_type, etag, plain, gzip.compress(plain, 9, mtime=0))


def further_pages(directory: Path = DIRECTORY) -> dict[str, str]:
    """Those of `PAGES` that exist, by their addresses."""
    return {address: name for address, name in PAGES.items() if (directory / name).is_file()}


class StaticStatistics(NamedTuple):
    """What is held in memory."""

    files: int
    plain_bytes: int
    compressed_bytes: int


class Static:
    """The routes of the dashboard: its files, and its page under `/` and under the address of each run."""

    def __init__(self, config: EdgeConfig) -> None:
        self._config = config
        self._page_headers = {POLICY: page_policy(config.public_url)}
        self._files = load()
        asks = _access_meta(config)
        self._sources = {
            name: (DIRECTORY / name).read_bytes().replace(b"</title>", b"</title>" + asks, 1)
            for name in (PAGE, RUN_PAGE, *further_pages().values())
        }
        self._files |= {name: _file("text/html", rooted(page, "./")) for name, page in self._sources.items()}
        self._pages: dict[tuple[str, str], File] = {}
        """By name and root."""

    def __repr__(self) -> str:
        statistics = self.statistics()
        return f"<Static files={statistics.files} compressed_bytes={statistics.compressed_bytes}>"

    def statistics(self) -> StaticStatistics:
        """The figures, which do not change."""
        files = self._files.values()
        return StaticStatistics(
            len(files), sum(len(file.plain) for file in files), sum(len(file.compressed) for file in files)
        )

    async def page(self, request: Request) -> Response:
        """The dashboard, or a run's own page, with 404 if the id is not valid."""
        test_id = request.path_params.get("test_id")
        try:
            if test_id is not None:
                ids.parse_test_id(test_id)
        except InvalidTestId as error:
            response = _answer(request, self._page(request, RUN_PAGE), self._page_headers, 404)
            response.headers["x-error"] = error.code
            return response
        return _answer(request, self._page(request, PAGE if test_id is None else RUN_PAGE), self._page_headers)

    async def further_page(self, request: Request) -> Response:
        """One of `PAGES`."""
        return _answer(request, self._page(request, PAGES[request.scope["path"]]), self._page_headers)

    async def reference(self, request: Request) -> Response:
        """The API as a page. It is made when somebody asks for it."""
        self._sources.setdefault(REFERENCE, reference.page())
        return _answer(request, self._page(request, REFERENCE), self._page_headers)

    async def openapi(self, request: Request) -> Response:
        """The API as an OpenAPI document."""
        return _answer(request, _openapi(), {})

    def _page(self, request: Request, name: str) -> File:
        """A page with addresses that work where it is shown: below the prefix, or relative where none is known.

        Relative ones alone would not do: some proxies answer `/testcast` and `/testcast/` alike.
        """
        prefix = outside_of(self._config, request).prefix
        root = f"{prefix}/" if prefix else "../" if name == RUN_PAGE else "./"
        page = self._pages.get((name, root))
        if page is None:
            if len(self._pages) >= _MAX_PAGES:
                self._pages.clear()
            page = _file("text/html", rooted(self._sources[name], root))
            self._pages[name, root] = page
        return page

    async def file(self, request: Request) -> Response:
        """One of the files, by its name and its folder, if any. A name may have folders of its own.

        Raises:
            HTTPException: 404, there is no such file.
        """
        folder, name = request.path_params.get("folder"), request.path_params["name"]
        file = self._files.get(f"{folder}/{name}" if folder else name)  # a look-up: no path reaches the file system
        if file is None:
            raise HTTPException(404)
        shared = bool(self._config.allowed_origins) and (folder == "client" or name in FOR_OTHER_PAGES)
        headers = {RESOURCE_POLICY: "cross-origin"} if shared else {}
        if file.media_type == "text/html":
            headers |= self._page_headers
        return _answer(request, file, headers)


@cache
def _openapi() -> File:
    return _file("application/json", reference.document())


def _access_meta(config: EdgeConfig) -> bytes:
    """What tells a page that the edge wants to know who its reader is, and the name of the provider, if any."""
    if not config.access.enabled:
        return b""
    name = "" if config.oidc is None else html.escape(config.oidc.name)
    return f'<meta name="testcast-access" content="{name}" />'.encode()


def _answer(request: Request, file: File, headers: Mapping[str, str], status: int = 200) -> Response:
    # no-cache: browsers keep the file and revalidate it at each use, so an update is seen at once.
    headers = {**headers, "cache-control": "no-cache", "vary": "accept-encoding"}
    if status == 200:
        headers["etag"] = file.etag
        if matches(if_none_match(request.scope["headers"]), file.etag):
            return Response(status_code=304, headers=headers)
    body = file.plain
    if _takes_gzip(request.headers.get("accept-encoding", "")):
        body, headers["content-encoding"] = file.compressed, "gzip"
    return Response(body, status, headers, file.media_type)  # uvicorn leaves the body out of an answer to HEAD


def _takes_gzip(accepted: str) -> bool:
    for each in accepted.lower().split(","):
        coding, _, weight = each.partition(";")
        if coding.strip() in ("gzip", "*"):
            return weight.strip() not in ("q=0", "q=0.0", "q=0.00", "q=0.000")  # RFC 9110, 12.4.2: "not acceptable"
    return False


def _media_type(name: str) -> str:
    if name.endswith(".js"):
        return "text/javascript"  # the table of types of some machines has another one
    return mimetypes.guess_type(name)[0] or "application/octet-stream"
