"""The pages of metrics of a process's children, which serve them on Unix sockets in a directory of their parent's."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import httpx

from broker.log import RateLimited
from broker.metrics.endpoint import Render
from broker.metrics.merge import Merger

TIMEOUT_S: Final = 2.0
"""For all children together: a reader of metrics usually waits 10 s."""
_MAX_PATH_BYTES: Final = 100
"""Linux takes 107 for the path of a Unix socket."""
_SUFFIX: Final = ".metrics"
_limited = RateLimited(logging.getLogger("testcast.metrics"), per_s=1.0)


class Children:
    """The children that serve their metrics in one directory, known by the names of their sockets.

    A child that has no socket yet, is gone, or does not answer in time is left out of what is returned.

    Args:
        directory: of this parent alone.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.answered = 0
        """How many have given the newest page theirs."""
        self._merger = Merger()
        self._rendering: asyncio.Task[bytes] | None = None

    def __repr__(self) -> str:
        return f"<Children {self.directory}>"

    def path_for(self, name: str) -> Path:
        """Where the child of this name serves its metrics. `name` has no slash; a child's successor takes the same."""
        return self.directory / f"{name}{_SUFFIX}"

    def forget(self, name: str) -> None:
        """The child of this name is gone, and has no successor yet. What it counted stays in the sums."""
        self.path_for(name).unlink(missing_ok=True)

    def remove(self) -> None:
        """Removes the directory."""
        shutil.rmtree(self.directory, ignore_errors=True)

    async def pages(self, timeout_s: float = TIMEOUT_S) -> dict[str, str]:
        """The page of each child that answers with one within `timeout_s`, by the child's name."""
        paths = sorted(self.directory.glob(f"*{_SUFFIX}"))
        found = await asyncio.gather(*(_page(path, timeout_s) for path in paths))
        return {path.name.removesuffix(_SUFFIX): page for path, page in zip(paths, found, strict=True) if page}

    def page_with(self, own: Render, name: str) -> Render:
        """One page of all children and of this process, whose name is `name`. It comes whatever a child does.

        Readers that ask while it is being made get the same one.

        Args:
            own: makes this process's page, when the children have answered: `answered` says how many have.
        """

        async def make() -> bytes:
            children = await self.pages()
            self.answered = len(children)
            return self.merged({name: (await own()).decode(), **children})

        async def render() -> bytes:
            if self._rendering is None or self._rendering.done():
                self._rendering = asyncio.create_task(make())
            return await asyncio.shield(self._rendering)

        return render

    def merged(self, pages: Mapping[str, str]) -> bytes:
        """The pages as one, whose sums never fall (`Merger`). The log tells which one cannot be read."""
        readable = []
        for name, page in pages.items():
            try:
                self._merger.take(name, page)
                readable.append(name)
            except ValueError as error:
                _limited.warning("the metrics of %s cannot be read: %s", name, error)
        return self._merger.page(readable)


@contextmanager
def private_directory() -> Iterator[Path]:
    """A new directory that only this user can look into, short enough for sockets, removed at the end."""
    path = Path(tempfile.mkdtemp(prefix="testcast-"))
    if len(bytes(path)) > _MAX_PATH_BYTES - 40:  # of a long TMPDIR
        path.rmdir()
        path = Path(tempfile.mkdtemp(prefix="testcast-", dir="/tmp"))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


async def _page(path: Path, timeout_s: float) -> str | None:
    transport = httpx.AsyncHTTPTransport(verify=False, uds=str(path))  # else it reads the CAs of the system
    with contextlib.suppress(httpx.HTTPError, TimeoutError):
        async with (
            asyncio.timeout(timeout_s),
            httpx.AsyncClient(transport=transport, timeout=timeout_s, trust_env=False) as http,
        ):
            answer = await http.get("http://metrics/metrics")
            if answer.status_code == httpx.codes.OK:
                return answer.text
    return None
