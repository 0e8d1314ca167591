"""The commands `show`, `cancel`, `rerun` and `open`: one run each, over NATS or through an edge; and backups."""

from __future__ import annotations

import webbrowser
from pathlib import Path

import orjson

from broker.contract import projects
from broker.contract.errors import BadInput, NotFound
from broker.jetstream import backup as streams_backup
from broker.jetstream import runs, topology
from broker.jetstream.event_log import JetStreamLog
from testcast import config
from testcast.cli import commands, lines
from testcast.cli.details import Details, details_of, show_details
from testcast.cli.names import resolve
from testcast.cli.server import Server, connection, page_of
from testcast.cli.terminal import Terminal
from testcast.client.address import edge_url
from testcast.client.rpc import RpcClient
from testcast.exit_codes import EXIT_COMPLETED

_SAFE_INT = 2**53
_OPEN_TIMEOUT_S = 10.0
"""For how long `open` waits for an edge; other commands only mention the page."""


async def show(run: str, server: Server, terminal: Terminal, *, last_lines: int, as_json: bool) -> int:
    """Prints what is known of a run: facts, verdict, score, metrics, last lines; as JSON its snapshot."""
    test_id = await resolve(run, server)
    details = await details_of(test_id, server, last_lines)
    if as_json:
        terminal.raw(details.snapshot.encode())
    else:
        show_details(terminal, details, await page_of(test_id, server), server.options)
    return EXIT_COMPLETED


async def cancel(run: str, server: Server, terminal: Terminal, *, as_json: bool) -> int:
    """Ends a run as cancelled.

    Raises:
        NotFound: there is no such run.
        AlreadyEnded, EdgeRefused: it has ended.
    """
    test_id = await resolve(run, server)
    await commands.cancel(test_id, server)
    if as_json:
        terminal.raw(orjson.dumps({"testId": test_id, "status": "cancelled"}))
    else:
        terminal.say(f"cancelled {test_id}")
    return EXIT_COMPLETED


async def rerun(run: str, server: Server, terminal: Terminal, *, follow: bool, as_json: bool) -> int:
    """Submits a run's game again, with the same title, budget, seed, project and labels.

    Raises:
        BadInput: nothing can be submitted: the run names no game.
    """
    details = await details_of(await resolve(run, server), server, 0)
    request = rerun_request(details)
    return await commands.submit(request, server, terminal, follow=follow, as_json=as_json)


def rerun_request(details: Details) -> commands.SubmitRequest:
    """What to submit, to test a run's game in the same way again.

    Raises:
        BadInput: the run names no game.
    """
    snapshot, first = details.snapshot, details.first
    game_url = snapshot.game_url
    if not game_url.startswith(("http://", "https://")):
        raise BadInput(f"test {snapshot.test_id} names no game, so it cannot be submitted again: its agent started it")
    if not snapshot.project:
        raise BadInput(f"test {snapshot.test_id} is in no project: name one with `testcast submit --project`")
    budget, seed = (None, None) if first is None else (first.field("budgetSeconds"), first.field("seed"))
    return commands.SubmitRequest(
        game_url,
        snapshot.title.strip() or None,
        float(budget) if lines.is_number(budget) and runs.MIN_BUDGET_S <= budget <= runs.MAX_BUDGET_S else None,
        seed if isinstance(seed, int) and not isinstance(seed, bool) and 0 <= seed < _SAFE_INT else None,
        None if snapshot.project == projects.DEFAULT else snapshot.project,
        snapshot.labels or {},
    )


async def open_page(run: str | None, server: Server, terminal: Terminal) -> int:
    """Prints the address of a run's page, or of the dashboard, and opens it in the browser.

    Raises:
        NotFound: there is no such run.
        BadInput: no edge is known that shows it.
    """
    if run is None:
        page = edge_url(server.edge or config.local_edge())
    else:
        test_id = await resolve(run, server)
        if server.edge is not None:
            async with RpcClient(server.edge) as rpc:
                await rpc.call("getTest", testId=test_id)
        found = await page_of(test_id, server, _OPEN_TIMEOUT_S)
        if found is None:
            async with connection(server) as nats:
                if not await JetStreamLog(nats).last(test_id):
                    raise NotFound(test_id)
            raise BadInput(f"no edge that shows test {test_id} answers at {config.local_edge()}: name one with --edge")
        page = found
    terminal.say(page)
    if not webbrowser.open(page):
        terminal.note("no browser was found on this machine")
    return EXIT_COMPLETED


async def backup(directory: Path, server: Server, terminal: Terminal) -> int:
    """Writes the events and screenshots of all runs into a directory."""
    async with connection(server) as nats:
        _tell_saved("saved", directory, await streams_backup.backup(nats, directory), terminal)
    return EXIT_COMPLETED


async def restore(directory: Path, server: Server, terminal: Terminal, *, sure: bool) -> int:
    """Replaces all runs of the broker by those of a backup.

    Raises:
        BadInput: the directory holds no backup, or nobody has confirmed.
    """
    assert server.broker is not None
    if not sure and not terminal.confirm(f"Replace all runs of the broker by those in {directory}?"):
        raise BadInput("nothing was restored: confirm, or give --yes")
    async with connection(server) as nats:
        saved = await streams_backup.restore(nats, directory, replicas=server.broker.replicas)
        _tell_saved("restored", directory, saved, terminal)
    return EXIT_COMPLETED


async def declare(server: Server, terminal: Terminal) -> int:
    """Makes the streams, buckets and consumers that are missing.

    Raises:
        BrokerRefused: something is in the way, or not permitted. BrokerUnavailable: no leader.
    """
    assert server.broker is not None
    async with connection(server) as nats:
        declared = await topology.apply(nats, replicas=server.broker.replicas)
    terminal.say(f"made {', '.join(sorted(declared.made))}" if declared.made else "everything stands")
    return EXIT_COMPLETED


def _tell_saved(done: str, directory: Path, saved: streams_backup.Saved, terminal: Terminal) -> None:
    counts = ", ".join(f"{count:,} messages of {stream}" for stream, count in saved.messages.items())
    terminal.say(f"{done} {directory}: {counts}")
