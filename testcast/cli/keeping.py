"""The commands `pin`, `unpin` and `delete`: what is kept for good, and what goes. Over NATS or through an edge."""

from __future__ import annotations

import getpass
from datetime import datetime
from typing import Any

import msgspec
import orjson

from broker.contract.errors import BadInput, NotEnded, NotFound, Pinned
from broker.contract.snapshot import Snapshot
from broker.jetstream import pinning, runs
from broker.jetstream.deletion import delete_run
from broker.jetstream.event_log import JetStreamLog
from testcast.cli.names import resolve
from testcast.cli.server import Server, connection
from testcast.cli.terminal import Terminal
from testcast.cli.text import printable
from testcast.client.rpc import RpcClient
from testcast.exit_codes import EXIT_COMPLETED


async def pin(run: str, server: Server, terminal: Terminal, *, as_json: bool) -> int:
    """Keeps a run for good.

    Raises:
        NotFound: there is no such run. EdgeRefused: its project has as many pinned runs as it may have.
    """
    test_id = await resolve(run, server)
    if server.edge is not None:
        async with RpcClient(server.edge) as rpc:
            until_ms = (await rpc.call("pinTest", testId=test_id)).get("keptUntil")
    else:
        async with connection(server) as nats:
            until_ms = await pinning.pin(JetStreamLog(nats), test_id, _who())
    said: dict[str, Any] = {"testId": test_id, "pinned": True}
    if isinstance(until_ms, int):
        when = datetime.fromtimestamp(until_ms / 1000).astimezone()
        terminal.note(f"the broker keeps no event longer than until {when:%Y-%m-%d %H:%M}: an operator has set that")
        said["keptUntil"] = until_ms
    return _say(terminal, said, f"pinned {test_id}", as_json)


async def unpin(run: str, server: Server, terminal: Terminal, *, as_json: bool) -> int:
    """Lets a run be deleted when its time has come.

    Raises:
        NotFound: there is no such run.
    """
    test_id = await resolve(run, server)
    if server.edge is not None:
        async with RpcClient(server.edge) as rpc:
            await rpc.call("unpinTest", testId=test_id)
    else:
        async with connection(server) as nats:
            log = JetStreamLog(nats)
            if not await log.last(test_id, confirmed=True):
                raise NotFound(test_id)
            await pinning.unpin(log, test_id)
    return _say(terminal, {"testId": test_id, "pinned": False}, f"unpinned {test_id}", as_json)


async def delete(run: str, server: Server, terminal: Terminal, *, sure: bool, as_json: bool) -> int:
    """Deletes a run that has ended and is not pinned, with everything that belongs to it.

    Raises:
        NotFound: there is no such run.
        BadInput: it has not ended, it is pinned, or nobody has confirmed.
    """
    test_id = await resolve(run, server)
    if server.edge is not None:
        async with RpcClient(server.edge) as rpc:
            _confirm(msgspec.convert((await rpc.call("getTest", testId=test_id))["test"], Snapshot), terminal, sure)
            await rpc.call("deleteTest", testId=test_id)
    else:
        async with connection(server) as nats:
            log = JetStreamLog(nats)
            snapshot = (await runs.read(log, test_id)).snapshot
            _confirm(snapshot, terminal, sure, test_id)
            try:
                await delete_run(log, test_id)
            except (NotEnded, Pinned) as error:
                raise BadInput(_how(error.message, test_id)) from None
    return _say(terminal, {"testId": test_id, "deleted": True}, f"deleted {test_id}", as_json)


def _confirm(run: Snapshot | None, terminal: Terminal, sure: bool, test_id: str = "") -> None:
    """Asks whether to delete a run, by its name."""
    test_id = test_id if run is None else run.test_id
    if run is not None and not run.ended:
        raise BadInput(f"test {test_id} is {run.status}: end it first with `testcast cancel {test_id}`")
    if run is not None and run.pinned:
        raise BadInput(_how(f"test {test_id} is pinned: unpin it first", test_id))
    title = "" if run is None else f" ({printable(run.title)})"
    if not sure and not terminal.confirm(f"Delete test {test_id}{title}? It cannot be restored."):
        raise BadInput("nothing was deleted: confirm, or give --yes")


def _how(message: str, test_id: str) -> str:
    return f"{message}: `testcast {'unpin' if 'pinned' in message else 'cancel'} {test_id}`"


def _who() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user without a name
        return "operator"


def _say(terminal: Terminal, answer: dict[str, Any], words: str, as_json: bool) -> int:
    if as_json:
        terminal.raw(orjson.dumps(answer))
    else:
        terminal.say(words)
    return EXIT_COMPLETED
