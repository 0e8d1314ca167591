"""Finds the run that a name stands for: a test id, the beginning of one, or `last`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple, Protocol

import msgspec

from broker.contract.errors import BadInput
from broker.contract.ids import is_test_id
from broker.contract.snapshot import Snapshot
from broker.jetstream.event_log import JetStreamLog
from testcast.cli.listing import Selection
from testcast.cli.server import Server, connection
from testcast.cli.targets import LAST
from testcast.cli.text import printable
from testcast.client.known_runs import KnownRuns
from testcast.client.rpc import RpcClient

_SHOWN: Final = 10
"""Candidates that the error for an ambiguous name lists."""
_PAGE_RUNS: Final = 200
_TITLE_CHARS: Final = 40


class NoSuchRun(BadInput):
    """No run has this name."""

    code = "not_found"


class Directory(Protocol):
    """Where runs are looked up: NATS or an edge."""

    async def newest(self) -> Snapshot | None:
        """The run that was submitted last, None when there is none."""

    async def beginning_with(self, beginning: str) -> Sequence[Snapshot]:
        """The runs whose ids begin so, the newest first."""


async def resolve(name: str, server: Server) -> str:
    """The test id that `name` stands for. A whole id is returned as it is, whether there is such a run or not.

    Args:
        name: as `targets.run_name` returns it.

    Raises:
        NoSuchRun: no run has this name.
        BadInput: several runs have it; the message names them.
        BrokerUnavailable, ConnectionLost, EdgeRefused: the runs cannot be looked up.
    """
    if is_test_id(name):
        return name
    if server.edge is not None:
        async with RpcClient(server.edge) as rpc:
            return await look_up(name, EdgeDirectory(rpc))
    async with connection(server) as nats:
        known = KnownRuns(JetStreamLog(nats), nats.address)
        try:
            return await look_up(name, NatsDirectory(known))
        finally:
            await known.close()


async def look_up(name: str, directory: Directory) -> str:
    """Like `resolve`, in a directory."""
    if name == LAST:
        newest = await directory.newest()
        if newest is None:
            raise NoSuchRun("there are no runs yet; `testcast submit URL` starts one")
        return newest.test_id
    found = await directory.beginning_with(name)
    if not found:
        raise NoSuchRun(f"there is no test whose id begins with {name}")
    if len(found) > 1:
        raise BadInput(_ambiguous(name, found), code="ambiguous_test_id")
    return found[0].test_id


def _ambiguous(name: str, found: Sequence[Snapshot]) -> str:
    lines = [f"{name} is the beginning of {len(found)} test ids:"]
    lines += [
        f"  {run.test_id}  {run.list_status:9}  {printable(run.title)[:_TITLE_CHARS]}".rstrip()
        for run in found[:_SHOWN]
    ]
    if len(found) > _SHOWN:
        lines.append(f"  and {len(found) - _SHOWN} more")
    return "\n".join(lines)


class _Page(NamedTuple):
    runs: list[Snapshot]
    next_cursor: str | None


class EdgeDirectory:
    """The runs that an edge lists."""

    def __init__(self, rpc: RpcClient) -> None:
        self._rpc = rpc

    async def _page(self, **params: Any) -> _Page:
        answer = await self._rpc.call("listTests", **params)
        return _Page([msgspec.convert(each, Snapshot) for each in answer["tests"]], answer.get("nextCursor"))

    async def newest(self) -> Snapshot | None:
        """See `Directory.newest`."""
        runs = (await self._page(limit=1)).runs
        return runs[0] if runs else None

    async def beginning_with(self, beginning: str) -> Sequence[Snapshot]:
        """See `Directory.beginning_with`."""
        found: list[Snapshot] = []
        cursor: str | None = None
        while True:  # the edge also finds titles and messages that contain the text
            page = await self._page(query=beginning, limit=_PAGE_RUNS, cursor=cursor)
            found += [run for run in page.runs if run.test_id.startswith(beginning)]
            cursor = page.next_cursor
            if cursor is None:
                return found


class NatsDirectory:
    """The runs that the broker has."""

    def __init__(self, known: KnownRuns) -> None:
        self._known = known

    async def newest(self) -> Snapshot | None:
        """See `Directory.newest`."""
        await self._known.refresh()
        runs = Selection(limit=1).choose(self._known.snapshots())
        return runs[0] if runs else None

    async def beginning_with(self, beginning: str) -> Sequence[Snapshot]:
        """See `Directory.beginning_with`."""
        await self._known.refresh()
        return Selection().choose(run for run in self._known.snapshots() if run.test_id.startswith(beginning))
