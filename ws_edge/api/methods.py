"""The methods of the RPC: for each its parameters, the action it asks for, and the function that answers it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Annotated, Any, ClassVar, Final

import msgspec
import orjson
from starlette.requests import Request

from broker.clock import now_ms
from broker.contract.errors import BrokerUnavailable, NotFound
from broker.contract.labels import parse_wanted
from broker.contract.position import Decision, Position, decide
from broker.contract.snapshot import ListStatus, Snapshot
from broker.contract.url_policy import GameUrlRefused, check_game_url
from broker.jetstream import runs
from broker.jetstream.scan import certain_last, first_page, retains
from broker.local.name_resolution import check_for_submit
from broker.version import VERSION
from ws_edge.access import Action
from ws_edge.access.projects import project_for
from ws_edge.api.access_methods import ACCESS_METHODS
from ws_edge.api.calls import Answer, Method, NoParams, Params, RunParams, principal_of
from ws_edge.api.frame_methods import (
    MAX_PUBLISH_FRAME_BYTES,
    GetFrames,
    PublishFrame,
    get_frames,
    get_picture,
    publish_frame,
)
from ws_edge.api.keeping_methods import KEEPING_METHODS
from ws_edge.api.outside import limited_address_of, outside_of
from ws_edge.api.publish_methods import MAX_PUBLISH_BYTES, CreateRun, PublishEvents, create_run, publish_events
from ws_edge.fanout.ring import entry_of
from ws_edge.fanout.unreadable import told
from ws_edge.node import Node
from ws_edge.views.listing import ANY, RunList, Wanted, to_json


class ListTests(Params):
    """`listTests`."""

    limit: Annotated[int, msgspec.Meta(ge=1, le=200)] = 50
    cursor: str | None = None
    """`nextCursor` of the page before."""
    status: ListStatus | None = None
    query: Annotated[str, msgspec.Meta(max_length=200)] | None = None
    """Only runs whose title, address, id, newest message or label (as `name=value`) contains it."""
    game_url: Annotated[str, msgspec.Meta(max_length=4096)] | None = None
    """Only runs of this game."""
    labels: list[Annotated[str, msgspec.Meta(max_length=200)]] | None = None
    """Only runs that have all of these, each `name=value`, at most 16."""
    since: Annotated[int, msgspec.Meta(ge=0, lt=2**53)] | None = None
    """Only runs that began then or later, ms since 1970."""
    until: Annotated[int, msgspec.Meta(ge=0, lt=2**53)] | None = None
    """Only runs that began before, ms since 1970."""
    pinned: bool = False
    """Only runs that somebody keeps for good."""

    lists: ClassVar[tuple[str, ...]] = ("labels",)


class GetGames(Params):
    """`getGames`."""

    limit: Annotated[int, msgspec.Meta(ge=1, le=200)] = 50
    cursor: str | None = None
    """`nextCursor` of the page before."""


class GetEvents(RunParams):
    """`getEvents`."""

    after: Annotated[int, msgspec.Meta(ge=0, lt=2**53)] | None = None
    """The last sequence that was applied; absent or 0: from the first event."""
    epoch: Annotated[str, msgspec.Meta(max_length=64)] | None = None
    """The word that came with that position; absent: the current one."""
    limit: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 500


class SubmitTest(Params):
    """`submitTest`."""

    game_url: str
    title: str | None = None
    """1 to 200 characters; without it the address."""
    budget_seconds: float | None = None
    """5 to 600; without it 60."""
    seed: int | None = None
    """A whole number below 2^53; without it a random one."""
    project: Annotated[str, msgspec.Meta(max_length=64)] | None = None
    labels: dict[str, str] | None = None


async def list_tests(node: Node, request: Request, params: ListTests) -> Answer:
    """The newest runs, a page at a time, with the counts by status, of the caller's projects. From memory, also while
    the broker is away."""
    wanted = _wanted(params)
    seen = _seen(node, request)
    etag = _etag(node, seen, params)
    listing = seen.listing(params.limit, params.cursor, params.status, params.query, wanted)
    answer: dict[str, Any] = {"tests": to_json(listing.tests), "counts": listing.counts, "epoch": node.hub.epoch}
    if wanted != ANY:
        answer["matching"] = listing.matching
    return _of_list(node, seen, answer, listing.next_cursor, etag)


def _wanted(params: ListTests) -> Wanted:
    urls = frozenset[str]()
    if params.game_url is not None:
        urls = frozenset((params.game_url, *_normal(params.game_url)))
    return Wanted(urls, parse_wanted(params.labels or ()), params.since, params.until, params.pinned)


def _normal(game_url: str) -> tuple[str, ...]:
    """The address as a submitted run has it; nothing where it is none, as one that another agent wrote."""
    try:
        return (check_game_url(game_url),)
    except GameUrlRefused:
        return ()


async def get_games(node: Node, request: Request, params: GetGames) -> Answer:
    """The games that the runs of the caller's projects test, the one with the newest run first. From memory."""
    seen = _seen(node, request)
    etag = _etag(node, seen, params)
    found = seen.games(params.limit, params.cursor)
    answer: dict[str, Any] = {"games": msgspec.to_builtins(found.games), "total": found.total}
    return _of_list(node, seen, answer, found.next_cursor, etag)


def _seen(node: Node, request: Request) -> RunList:
    if not node.catalogue.filled.is_set():
        raise BrokerUnavailable("this node has not reached the broker yet, so it does not know the list")
    return node.runs_of(principal_of(request))


def _etag(node: Node, seen: RunList, params: Params) -> str | None:
    query = f"{type(params).__name__} {msgspec.json.encode(params).decode()}"
    return None if node.stale else seen.etag(node.hub.epoch, query)


def _of_list(node: Node, seen: RunList, answer: dict[str, Any], cursor: str | None, etag: str | None) -> Answer:
    """The answer with what every answer of a list has."""
    if cursor is not None:
        answer["nextCursor"] = cursor
    stale_for_s = node.stale_for_s
    if stale_for_s is not None:
        answer |= {"stale": True, "ageMs": int(stale_for_s * 1000)}
    if degraded := node.degraded:
        answer["degraded"], etag = degraded, None
    return Answer(orjson.dumps(answer), etag, is_current=_while_unchanged(node, seen))


def _while_unchanged(node: Node, seen: RunList) -> Callable[[], bool]:
    version, epoch = seen.version, node.hub.epoch

    def is_current() -> bool:
        same = seen.version == version and node.hub.epoch == epoch
        return same and not node.stale and not node.degraded

    return is_current


async def get_test(node: Node, _request: Request, params: RunParams) -> Answer:
    """One run's snapshot."""
    test_id, epoch = params.test_id, node.hub.epoch
    snapshot = await _snapshot(node, test_id)
    body = orjson.dumps({"test": msgspec.to_builtins(snapshot), "epoch": epoch})
    etag = f'"{hashlib.blake2b(body, digest_size=12).hexdigest()}"'
    return Answer(body, etag, is_current=lambda: node.hub.epoch == epoch and node.snapshot(test_id) == snapshot)


async def get_events(node: Node, _request: Request, params: GetEvents) -> Answer:
    """A run's events after a position, with the outcome of the resume: what a client without a socket polls."""
    test_id, log = params.test_id, node.log
    epoch = (await log.heads()).epoch
    asked = None if params.after is None else Position(params.epoch, params.after)
    last = await log.last(test_id)
    if not last or (asked is not None and asked.seq > last):  # "not found" and "ahead" have to be certain
        claimed = asked.seq if asked is not None and asked.epoch in (None, epoch) else 0
        last = await certain_last(log, test_id, claimed)
    if not last:
        raise NotFound(test_id)
    decision = await _decide(node, test_id, asked, epoch, last)
    events, passed_over, head = await _read_page(node, test_id, decision.after, last, params.limit)
    answer: dict[str, Any] = {"outcome": decision.outcome, "epoch": epoch, "head": head, "events": events}
    answer["more"] = head < last
    if passed_over is not None:
        answer["unreadable"] = passed_over
    if decision.reason is not None:
        answer["reason"] = decision.reason
    if decision.outcome != "recovered":
        answer["snapshot"] = msgspec.to_builtins(await _snapshot(node, test_id))
    return Answer(orjson.dumps(answer))


async def _decide(node: Node, test_id: str, asked: Position | None, epoch: str, last: int) -> Decision:
    retained = True
    if asked is not None and 0 < asked.seq < last and asked.epoch in (None, epoch):
        retained = await retains(node.log, test_id, asked.seq, last)
    return decide(asked, epoch, last, retained=retained)


async def _read_page(
    node: Node, test_id: str, after: int, last: int, limit: int
) -> tuple[list[orjson.Fragment], dict[str, Any] | None, int]:
    """One page of events as viewers get them, what of it cannot be read, and the position after it."""
    if after >= last:
        return [], None, after
    stored = await first_page(node.log, test_id, after, last, limit=limit)
    note = node.hub.unreadable.note
    entries = [entry_of(test_id, each.seq, each.data, each.stored_ms, note) for each in stored]
    events = [orjson.Fragment(entry.body) for entry in entries if entry.body]
    return events, told(entries), entries[-1].seq if entries else after


async def connect_to_test(node: Node, request: Request, params: RunParams) -> Answer:
    """Where to open a socket for a run, and what to show until it delivers."""
    test_id = params.test_id
    last = await node.log.last(test_id)
    if not last:
        raise NotFound(test_id)
    epoch = node.hub.epoch or (await node.log.heads()).epoch
    outside = outside_of(node.config, request)
    answer = {
        "url": f"{'wss' if outside.secure else 'ws'}://{outside.host}{outside.prefix}/ws?testId={test_id}",
        "snapshot": msgspec.to_builtins(await _snapshot(node, test_id)),
        "epoch": epoch,
        "head": last,
    }
    return Answer(orjson.dumps(answer))


async def submit_test(node: Node, request: Request, params: SubmitTest) -> Answer:
    """Queues a run, in one of the caller's projects."""
    project = project_for(principal_of(request), params.project)
    private, hosts = node.config.allow_private, node.config.allowed_hosts
    who = limited_address_of(node.config, request)
    url = await check_for_submit(params.game_url, allow_private=private, allowed_hosts=hosts, asker=who)
    fields = (params.title, params.budget_seconds, params.seed)
    job = runs.make_job(url, *fields, project=project, labels=params.labels, allow_private=private, allowed_hosts=hosts)
    test_id = await runs.submit(node.log, job)
    return Answer(orjson.dumps({"testId": test_id}), made=test_id)


async def cancel_test(node: Node, _request: Request, params: RunParams) -> Answer:
    """Ends a run as cancelled."""
    snapshot = await node.cancel(params.test_id)
    return Answer(orjson.dumps({"testId": params.test_id, "status": snapshot.status}))


async def list_agents(node: Node, request: Request, _params: NoParams) -> Answer:
    """The agents that are known, and the queue, of the caller's projects."""
    if not node.catalogue.filled.is_set():
        raise BrokerUnavailable("this node has not reached the broker yet, so it does not know the agents")
    await node.agent_list.refresh()
    answer = node.agent_list.told(node.runs_of(principal_of(request)))
    body = orjson.dumps(answer | ({"stale": True} if node.stale else {}))
    return Answer(body, f'"{hashlib.blake2b(body, digest_size=12).hexdigest()}"')


async def get_config(node: Node, _request: Request, _params: NoParams) -> Answer:
    """What the page needs to know of this installation."""
    answer: dict[str, Any] = {
        "now": node.broker_ms() or now_ms(),
        "version": VERSION,
        "allowPrivate": node.config.allow_private,
    }
    if degraded := node.degraded:
        answer["degraded"] = degraded
    if node.config.demo_game_url is not None:
        answer["demoGameUrl"] = node.config.demo_game_url
    return Answer(orjson.dumps(answer))


async def _snapshot(node: Node, test_id: str) -> Snapshot:
    """From memory, or folded from the events of a run that this node's catalogue does not have yet.

    Raises:
        NotFound: no event of it is stored.
    """
    known = node.snapshot(test_id)
    if known is None:
        known = (await runs.read(node.log, test_id)).snapshot
    if known is None:
        raise NotFound(test_id)
    return known


METHODS: Final[Mapping[str, Method]] = {
    "listTests": Method(Action.LIST, ListTests, list_tests, reads=True),
    "getGames": Method(Action.LIST, GetGames, get_games, reads=True),
    "getTest": Method(Action.WATCH, RunParams, get_test, reads=True),
    "getEvents": Method(Action.WATCH, GetEvents, get_events, reads=True),
    "connectToTest": Method(Action.WATCH, RunParams, connect_to_test, reads=True),
    "getShot": Method(Action.WATCH, RunParams, get_picture, reads=True),
    "getFrames": Method(Action.WATCH, GetFrames, get_frames, reads=True),
    "listAgents": Method(Action.LIST, NoParams, list_agents, reads=True),
    "getConfig": Method(Action.LIST, NoParams, get_config, reads=True),
    "submitTest": Method(Action.SUBMIT, SubmitTest, submit_test, reads=False),
    "cancelTest": Method(Action.CANCEL, RunParams, cancel_test, reads=False),
    "createRun": Method(Action.PUBLISH, CreateRun, create_run, reads=False),
    "publishEvents": Method(
        Action.PUBLISH, PublishEvents, publish_events, reads=False, max_body_bytes=MAX_PUBLISH_BYTES
    ),
    "publishFrame": Method(
        Action.PUBLISH, PublishFrame, publish_frame, reads=False, max_body_bytes=MAX_PUBLISH_FRAME_BYTES
    ),
    **KEEPING_METHODS,
    **ACCESS_METHODS,
}
