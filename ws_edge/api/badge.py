"""`GET /badge/<game>.svg`: how a game's newest test has ended, as a small picture for pages elsewhere."""

from __future__ import annotations

import hashlib
import re
from typing import Annotated, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from broker.contract.errors import BadInput, BrokerUnavailable, NotFound, TestcastError
from broker.contract.projects import parse_project
from broker.contract.snapshot import Snapshot
from broker.contract.url_policy import GameUrlRefused, check_game_url
from ws_edge.access import Action, Principal
from ws_edge.api import quotas, rpc
from ws_edge.api.badge_svg import shown, svg, verdict_of
from ws_edge.api.http_cache import if_none_match, kept, matches
from ws_edge.node import Node
from ws_edge.response_headers import RESOURCE_POLICY
from ws_edge.views.listing import Game, RunList, Wanted

PATH: Final = "/badge/{game:path}"
_ENDING: Final = ".svg"
_FRESH_S: Final = 60
_PAGE: Final = 200
_EVERY: Final = 1_000_000
_NO_SLUG: Final = re.compile(r"[\W_]+")
_ONE_SLASH: Final = re.compile(r"^(https?:)/+")
_NAME: Final = "testcast"


class _Params(msgspec.Struct, forbid_unknown_fields=True):
    project: Annotated[str, msgspec.Meta(max_length=64)] | None = None
    label: Annotated[str, msgspec.Meta(min_length=1, max_length=40)] = _NAME


async def badge(request: Request) -> Response:
    """The picture. An unknown game, and one of a project that the caller may not see, have no runs."""
    node: Node = request.state.node
    principal: Principal | None = None
    try:
        params = _params(request)
        principal = await rpc.identify(node, request)
        quotas.count(node, request, "badge", Action.LIST, principal)
        await rpc.authorize(node, principal, Action.LIST, None)
        return _answer(node, request, node.runs_of(principal), params)
    except TestcastError as error:
        return rpc.refusal(request, error, Action.LIST, principal)


def _params(request: Request) -> _Params:
    given = request.query_params
    if len(given.multi_items()) != len(given):
        raise BadInput("a parameter is given twice", code="invalid_params")
    try:
        params = msgspec.convert(dict(given), _Params)
    except msgspec.ValidationError as error:
        raise BadInput(str(error), code="invalid_params") from None
    if params.project is not None:
        parse_project(params.project)
    return params


def _answer(node: Node, request: Request, seen: RunList, params: _Params) -> Response:
    game = request.path_params["game"]
    if not game.endswith(_ENDING) or game == _ENDING:
        raise NotFound("a badge is /badge/<a game's title or address>.svg")
    if not node.catalogue.filled.is_set():
        raise BrokerUnavailable("this node has not reached the broker yet, so it does not know the list")
    run = newest_ended(seen, game.removesuffix(_ENDING), params.project)
    verdict = verdict_of(run)
    title = f"{params.label}: {verdict.text}" if run is None else f"{run.title}: {verdict.text}"
    picture = svg(params.label, verdict, shown(title))
    etag = f'"{hashlib.blake2b(picture.encode(), digest_size=12).hexdigest()}"'
    headers = {"etag": etag, RESOURCE_POLICY: "cross-origin"} | kept(_FRESH_S, shared=not node.config.access.enabled)
    if matches(if_none_match(request.scope["headers"]), etag):
        return Response(status_code=304, headers=headers)
    return Response(picture, headers=headers, media_type="image/svg+xml")


def newest_ended(seen: RunList, named: str, project: str | None) -> Snapshot | None:
    """The newest run of a game that has ended and was not cancelled; None: there is none.

    Args:
        seen: the runs that the caller may see.
        named: the game's address, its title in any case, or its title with `-` for everything but letters and digits.
        project: only runs of this one.
    """
    for game in _called(seen, named):
        wanted, cursor, size = Wanted(frozenset({game.game_url})), None, _PAGE
        while True:
            page = seen.listing(size, cursor, None, wanted=wanted)
            size = _EVERY  # each page looks at all runs: of a long list of others, two are enough
            for run in page.tests:
                counts = run.ended and run.list_status != "cancelled" and project in (None, run.project)
                if counts:
                    return run
            if (cursor := page.next_cursor) is None:
                break
    return None


def _called(seen: RunList, named: str) -> list[Game]:
    """The games of that address; else of that title; else of that short form. The one with the newest run first."""
    games = seen.games(_EVERY, None).games
    url = _ONE_SLASH.sub(r"\1//", named)  # proxies make one slash of two
    urls, title, slug = {named, url, *_normal(url)}, named.casefold(), slug_of(named)
    return (
        [game for game in games if game.game_url in urls]
        or [game for game in games if game.title.casefold() == title]
        or [game for game in games if slug and slug_of(game.title) == slug]
    )


def slug_of(title: str) -> str:
    """A title as an address has it best: `Star Hopper!` is `star-hopper`."""
    return _NO_SLUG.sub("-", title.casefold()).strip("-")


def _normal(url: str) -> tuple[str, ...]:
    try:
        return (check_game_url(url),)
    except GameUrlRefused:
        return ()
