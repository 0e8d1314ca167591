"""The commands `submit`, `list`, `tail` and `doctor`, over NATS or through an edge."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from types import MappingProxyType
from typing import NamedTuple

import orjson
from rich.text import Text

from broker import tracing
from broker.contract import projects
from broker.contract.errors import InvalidSetting
from broker.jetstream import runs, topology
from broker.jetstream.event_log import JetStreamLog
from broker.local.listening import host_port, reachable
from broker.local.name_resolution import check_for_submit
from testcast import config
from testcast.cli import listing
from testcast.cli.follow import Follow
from testcast.cli.names import resolve
from testcast.cli.server import Server, connection, page_of
from testcast.cli.terminal import Terminal
from testcast.client.address import edge_url, page_url
from testcast.client.rpc import RpcClient
from testcast.client.rpc import submit as submit_to_edge
from testcast.client.tail import DEFAULT_TIMEOUT_S, Tail
from testcast.client.watch import Watch
from testcast.exit_codes import EXIT_COMPLETED, EXIT_FAILED
from testcast.local import deployment
from testcast.local.doctor import edge_address, examine, is_edge
from testcast.local.finding import Finding
from testcast.local.secure import reached


class SubmitRequest(NamedTuple):
    """The options of `submit`."""

    game_url: str
    title: str | None
    budget_s: float | None
    seed: int | None
    project: str | None = None
    """None: `default`, or the only one that the edge lets this user use."""
    labels: Mapping[str, str] = MappingProxyType({})


class TailRequest(NamedTuple):
    """The options of `tail`."""

    run: str | None
    """A run as `targets.run_name` reads it. None: all runs."""
    after: int | None
    types: tuple[str, ...]
    timeout_s: float | None


async def submit(request: SubmitRequest, server: Server, terminal: Terminal, *, follow: bool, as_json: bool) -> int:
    """Submits a game; prints the test id, or with `follow` the run. Returns the exit status."""
    test_id = await submitted_here(request, server, terminal)
    page = await page_of(test_id, server)
    if follow:
        terminal.note(f"test {test_id}" + ("" if page is None else f"\n{page}"))
        return await tail(TailRequest(test_id, None, (), None), server, terminal, as_json=as_json)
    if as_json:
        terminal.raw(orjson.dumps({"testId": test_id} | ({} if page is None else {"page": page})))
        return EXIT_COMPLETED
    terminal.say(test_id)
    if terminal.is_watched:
        if page is not None:
            terminal.note(page)
        terminal.note(f"follow it with: testcast tail {test_id}{server.options}")
    return EXIT_COMPLETED


async def submitted_here(request: SubmitRequest, server: Server, terminal: Terminal) -> str:
    """Submits a game for a person at a terminal. Returns the test id."""
    tracing.start("cli")
    try:
        with tracing.span("testcast submit"):
            return await submitted(request, server)
    except asyncio.CancelledError:
        terminal.note(f"stopped before the run was confirmed\nsee whether it is there: testcast list{server.options}")
        raise
    finally:
        tracing.stop()


async def submitted(request: SubmitRequest, server: Server) -> str:
    """Submits a game. Returns the test id."""
    if server.edge is not None:
        return await submit_to_edge(
            server.edge,
            request.game_url,
            title=request.title,
            budget_seconds=request.budget_s,
            seed=request.seed,
            project=request.project,
            labels=request.labels,
        )
    assert server.broker is not None
    private = config.allow_private(server.broker.nats_url, request.game_url)
    hosts = config.allowed_hosts()
    url = await check_for_submit(
        request.game_url, allow_private=private, allowed_hosts=hosts, setting_of="this command"
    )
    fields = (request.title, request.budget_s, request.seed)
    project = request.project or projects.DEFAULT
    job = runs.make_job(
        url, *fields, project=project, labels=request.labels, allow_private=private, allowed_hosts=hosts
    )
    async with connection(server) as nats:
        await topology.apply(nats, replicas=server.broker.replicas)
        return await runs.submit(JetStreamLog(nats), job)


async def cancel(test_id: str, server: Server) -> None:
    """Ends a run as cancelled.

    Raises:
        NotFound: there is no such run.
        AlreadyEnded, EdgeRefused: it has ended.
    """
    if server.edge is not None:
        async with RpcClient(server.edge) as rpc:
            await rpc.call("cancelTest", testId=test_id)
        return
    async with connection(server) as nats:
        await runs.cancel(JetStreamLog(nats), test_id)


async def tail(request: TailRequest, server: Server, terminal: Terminal, *, as_json: bool) -> int:
    """Follows one run or all. Returns the exit status.

    Raises:
        NoSuchRun, BadInput: the run's name stands for no run, or for several.
    """
    try:
        test_id = None if request.run is None else await resolve(request.run, server)
    except asyncio.CancelledError:
        terminal.note(f"stopped before the run was found\ncontinue with: testcast tail {request.run}{server.options}")
        raise
    follow = Follow(terminal, test_id, json=as_json, types=request.types, options=server.options)
    if test_id is None and terminal.out.is_terminal:
        since = "from now on" if request.after is None else f"after {request.after}"
        terminal.note(f"following all runs {since}")
    position = 0
    try:
        async with source_of(test_id, request, server, follow) as source:
            try:
                return await follow.run(source)
            finally:
                position = source.position
    except asyncio.CancelledError:
        if test_id is not None:
            await say_how_to_go_on(test_id, position, server, terminal)
        raise


@asynccontextmanager
async def source_of(
    test_id: str | None, request: TailRequest, server: Server, follow: Follow
) -> AsyncIterator[Tail | Watch]:
    """What delivers the events of a run, or of all, to `follow`."""
    after = request.after
    on_state, on_unreadable = follow.on_state, follow.on_unreadable
    if server.edge is not None:
        async with RpcClient(server.edge) as rpc:  # a wrong address or id is reported at once, not after ten attempts
            await (rpc.call("getConfig") if test_id is None else rpc.call("getTest", testId=test_id))
        yield Watch(
            server.edge,
            test_id,
            after=after,
            timeout_s=request.timeout_s,
            on_state=on_state,
            on_unreadable=on_unreadable,
        )
        return
    timeout_s = DEFAULT_TIMEOUT_S if request.timeout_s is None else request.timeout_s
    async with connection(server) as nats:
        log = JetStreamLog(nats)
        yield Tail(
            log,
            test_id,
            after=after,
            timeout_s=timeout_s,
            on_state=on_state,
            on_unreadable=on_unreadable,
            address=nats.address,
        )


async def say_how_to_go_on(test_id: str, position: int, server: Server, terminal: Terminal) -> None:
    """After Ctrl-C: the run itself goes on."""
    after = f" --after {position}" if position else ""
    terminal.note(f"stopped following; the run goes on\ncontinue with: testcast tail {test_id}{after}{server.options}")
    terminal.note(f"end it with: testcast cancel {test_id}{server.options}")
    if server.edge is not None:
        terminal.note(page_url(edge_url(server.edge), test_id))


async def list_runs(
    selection: listing.Selection, server: Server, terminal: Terminal, *, watch: bool, as_json: bool
) -> int:
    """Lists the newest runs, once or as they change. Returns the exit status."""
    show = listing.watch if watch else listing.show
    if server.edge is not None:
        async with RpcClient(server.edge) as rpc:
            await show(listing.EdgeSource(rpc, selection), selection, terminal, json=as_json)
    else:
        async with connection(server) as nats:
            await show(listing.NatsSource(nats), selection, terminal, json=as_json)
    return EXIT_COMPLETED


class DoctorRequest(NamedTuple):
    """The options of `doctor`."""

    edge: str | None
    """The edge's address as viewers have it; None: the one that the settings name, if it runs."""
    nats_url: str | None
    keep_s: float


def doctor(request: DoctorRequest, terminal: Terminal, *, as_json: bool) -> int:
    """Prints the findings of the doctor. Returns 0 when nothing is missing, else 1."""
    findings = [*examine(), *asyncio.run(_deployment(request))]
    missing = sum(not each.ok for each in findings)
    status = EXIT_FAILED if missing else EXIT_COMPLETED
    if as_json:
        for each in findings:
            terminal.raw(orjson.dumps(each))
        return status
    width = max(len(each.name) for each in findings)
    for each in findings:
        mark = ("  ✓ ", "green") if each.ok else ("  ✗ ", "bold red")
        terminal.indented(Text.assemble(mark, (f"{each.name:{width}}  ", "bold")), Text(each.detail))
        if each.remedy:
            terminal.indented(Text(" " * (width + 6)), Text(f"→ {each.remedy}", style="yellow"))
    terminal.say()
    terminal.say(f"{missing} of {len(findings)} need attention" if missing else "nothing is missing")
    return status


async def _deployment(request: DoctorRequest) -> list[Finding]:
    """What it finds of the broker and the edge that are configured, or that run where they would by default."""
    findings: list[Finding] = []
    try:
        settings = reached(request.nats_url)
    except InvalidSetting:
        settings = None  # which is a finding already
    if settings is not None:
        wanted = request.nats_url is not None or config.describes_a_broker()
        findings += await deployment.broker(settings, wanted=wanted)
    host, port = edge_address()
    if request.edge is not None:
        findings += await deployment.edge(request.edge, request.keep_s)
    elif await asyncio.to_thread(is_edge, port, host):
        findings += await deployment.edge(f"http://{host_port(reachable(host), port)}", request.keep_s, named=False)
    return findings
