"""Access: every method names the action it asks for, and asks before it answers, also where the answer is in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any, Final, get_args

import httpx
import pytest
from starlette.applications import Starlette
from starlette.types import ASGIApp, Receive, Scope, Send

from broker.contract.errors import NotFound
from broker.jetstream.connection import Connection
from tests.harness import NO_SUCH_TEST, free_port
from ws_edge.access import ANONYMOUS, AccessDenied, Action, NotAuthenticated, OpenAccess, Principal, Undecided
from ws_edge.api.app import BY_METHOD, PUBLIC, Door, make_app, routes
from ws_edge.api.calls import RunParams
from ws_edge.api.edge_app import EdgeApp
from ws_edge.api.methods import METHODS
from ws_edge.api.response_cache import CachedResponse, ResponseCache
from ws_edge.api.static import Static, further_pages
from ws_edge.config import EdgeConfig
from ws_edge.node import Node
from ws_edge.origins import parse_public_url
from ws_edge.transport.requests import VERBS, Verb

RUN: Final = {"testId": NO_SUCH_TEST}
PUBLIC_CALLS: Final[dict[str, dict[str, Any]]] = {
    "getSession": {},
    "signIn": {"token": "x"},
    "signOut": {},
    "openShare": {**RUN, "secret": "x"},
}
"""Every method that anybody may call, with parameters that it accepts. Each judges a proof itself, or needs none."""
CALLS: Final[dict[str, tuple[Action, dict[str, Any]]]] = {
    "listTests": (Action.LIST, {}),
    "getGames": (Action.LIST, {}),
    "getConfig": (Action.LIST, {}),
    "listAgents": (Action.LIST, {}),
    "getTest": (Action.WATCH, RUN),
    "getEvents": (Action.WATCH, RUN),
    "connectToTest": (Action.WATCH, RUN),
    "getShot": (Action.WATCH, RUN),
    "getFrames": (Action.WATCH, RUN),
    "submitTest": (Action.SUBMIT, {"gameUrl": "http://game.example/"}),
    "cancelTest": (Action.CANCEL, RUN),
    "pinTest": (Action.DELETE, RUN),
    "unpinTest": (Action.DELETE, RUN),
    "deleteTest": (Action.DELETE, RUN),
    "createRun": (Action.PUBLISH, {}),
    "publishEvents": (Action.PUBLISH, {**RUN, "events": [], "key": "k"}),
    "publishFrame": (Action.PUBLISH, {**RUN, "jpeg": ""}),
    "getTicket": (Action.WATCH, {}),
    "shareTest": (Action.WATCH, {**RUN, "forSeconds": 3600}),
    "listShares": (Action.WATCH, RUN),
    "unshareTest": (Action.WATCH, {**RUN, "shareId": "x"}),
    "revokeToken": (Action.ADMIN, {"jti": "x"}),
}
"""Every method, the action that it asks for, and parameters that it accepts."""
SOCKET_VERBS: Final = {
    "subscribe": Action.WATCH,
    "unsubscribe": Action.WATCH,
    "cancel": Action.CANCEL,
    "subscribe tests": Action.LIST,
    "unsubscribe tests": Action.LIST,
    "subscribe frames": Action.WATCH,
    "unsubscribe frames": Action.WATCH,
    "authenticate": None,
}
"""Every verb of the socket, and the action that it asks for."""
POLLED: Final = {"listTests": b"", "getTest": f"testId={NO_SUCH_TEST}".encode()}
SECRET: Final = "the title of somebody's run"


class Asked:
    """Writes down what is asked, and refuses it with `refusal`, or allows it."""

    def __init__(self, refusal: Exception | None = None, proof: Exception | None = None) -> None:
        self.questions: list[tuple[Principal, Action, str | None]] = []
        self._refusal = refusal
        self._proof = proof

    def identify(self, header: Callable[[str], str | None]) -> Principal:
        if self._proof is not None:
            raise self._proof
        return Principal(header("x-name") or "nobody")

    def authorize(self, principal: Principal, action: Action, test_id: str | None) -> None:
        self.questions.append((principal, action, test_id))
        if self._refusal is not None:
            raise self._refusal

    async def identify_later(self, header: Callable[[str], str | None]) -> Principal:
        return self.identify(header)

    async def authorize_later(self, principal: Principal, action: Action, test_id: str) -> None:
        self.authorize(principal, action, test_id)


@pytest.fixture
async def node() -> AsyncIterator[Node]:
    """A node that was never started, and whose broker is away."""
    nats = Connection.dial(f"nats://127.0.0.1:{free_port()}", name="test")
    yield Node(nats, EdgeConfig(), 1)
    await nats.close()


@pytest.fixture
def app() -> EdgeApp:
    return make_app("", 1, EdgeConfig(), lambda _: None)


@pytest.fixture
async def client(app: EdgeApp, node: Node) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(on_node(app, node))
    async with httpx.AsyncClient(transport=transport, base_url="http://edge.example") as connected:
        yield connected


def on_node(app: ASGIApp, node: Node) -> ASGIApp:
    async def with_state(scope: Scope, receive: Receive, send: Send) -> None:
        await app({**scope, "state": {"node": node}}, receive, send)

    return with_state


def keep_polls(cache: ResponseCache) -> None:
    """Puts an answer for each polled method into the response cache, as if somebody else had got it before."""
    for name, query in POLLED.items():
        method = METHODS[name]
        test_id = NO_SUCH_TEST if issubclass(method.params, RunParams) else None
        kept = CachedResponse(b'"kept"', SECRET.encode(), lambda: True, method.action, test_id)
        cache.put({"path": f"/rpc/{name}", "query_string": query}, kept)
    assert cache.statistics().responses == len(POLLED)


async def every_call(client: httpx.AsyncClient, **headers: str) -> dict[str, list[httpx.Response]]:
    """The answers of every method, in every way it can be called."""
    answers: dict[str, list[httpx.Response]] = {}
    for name, (_, params) in CALLS.items():
        path, named = f"/rpc/{name}", {key.replace("_", "-"): value for key, value in headers.items()}
        answers[name] = [await client.post(path, json=params, headers=named)]
        if METHODS[name].reads:
            answers[name] += [
                await client.request(verb, path, params=params, headers=named) for verb in ("GET", "HEAD")
            ]
    return answers


def test_every_method_has_an_action() -> None:
    assert {name: method.action for name, method in METHODS.items()} == {
        **{name: action for name, (action, _) in CALLS.items()},
        **dict.fromkeys(PUBLIC_CALLS),
    }


ROUTES: Final = {
    "/prefix": PUBLIC,
    "/rpc/{method}": BY_METHOD,
    "/healthz": PUBLIC,
    "/readyz": PUBLIC,
    "/ws": PUBLIC,
    "/": PUBLIC,
    "/tests/{test_id}": PUBLIC,
    "/tests/{test_id}/": PUBLIC,
    "/tests/{test_id}/frames/{number}": Action.WATCH,
    "/tests/{test_id}/export": Action.WATCH,
    "/tests/{test_id}/events": Action.WATCH,
    "/ds/tests/{test_id}": Action.WATCH,
    "/events": PUBLIC,
    "/{name}": PUBLIC,
    "/{folder}/{name:path}": PUBLIC,
    **dict.fromkeys(further_pages(), PUBLIC),
}
"""Every route, and what it asks for. A public one says the same to everybody, and nothing of any run."""


def test_every_route_names_what_it_asks_for(app: EdgeApp) -> None:
    config = EdgeConfig(public_url=parse_public_url("https://edge.example/prefix"))
    assert {each.path: each.asks for each in routes(config, Static(config))} == ROUTES
    application = app._app._app
    assert isinstance(application, Starlette) and application.routes
    assert all(isinstance(each, Door) for each in application.routes), "a route of the application has no action"


def test_every_socket_verb_has_an_action() -> None:
    assert set(get_args(Verb)) == set(VERBS)
    assert VERBS == SOCKET_VERBS


def test_a_method_about_one_run_asks_about_that_run() -> None:
    given = PUBLIC_CALLS | {name: params for name, (_, params) in CALLS.items()}
    for name, method in METHODS.items():
        assert issubclass(method.params, RunParams) is ("test_id" in method.params.__struct_fields__), name
        assert issubclass(method.params, RunParams) is ("testId" in given[name]), name


async def test_each_call_asks_once_for_its_action_and_run(node: Node, client: httpx.AsyncClient) -> None:
    for name, (action, params) in CALLS.items():
        node.access = asked = Asked(AccessDenied("not for you"))
        await client.post(f"/rpc/{name}", json=params, headers={"x-name": "ann"})
        assert asked.questions == [(Principal("ann"), action, params.get("testId"))], name


@pytest.mark.parametrize("if_none_match", ["", '"kept"', 'W/"kept"', "*"])
async def test_who_is_refused_gets_nothing_also_when_it_is_in_memory(
    app: EdgeApp, node: Node, client: httpx.AsyncClient, if_none_match: str
) -> None:
    keep_polls(app.cache)
    node.access = Asked(AccessDenied("not for you"))
    for name, answers in (await every_call(client, if_none_match=if_none_match)).items():
        for answer in answers:
            assert answer.status_code == 403, name
            assert "etag" not in answer.headers
            assert SECRET not in answer.text
            if answer.request.method != "HEAD":
                assert answer.json() == {"error": {"code": "forbidden", "message": "not for you"}}
    assert app.cache.statistics().hits == 0


async def test_a_wrong_proof_is_refused_everywhere(app: EdgeApp, node: Node, client: httpx.AsyncClient) -> None:
    keep_polls(app.cache)
    node.access = asked = Asked(proof=NotAuthenticated("this token is not valid"))
    for name, answers in (await every_call(client)).items():
        assert {answer.status_code for answer in answers} == {401}, name
        assert {answer.headers["www-authenticate"] for answer in answers} == {"Bearer"}, name
    assert asked.questions == [], "never treated as anonymous"


async def test_where_memory_does_not_suffice_the_look_decides(
    app: EdgeApp, node: Node, client: httpx.AsyncClient
) -> None:
    class Later(Asked):
        def authorize(self, principal: Principal, action: Action, test_id: str | None) -> None:
            if test_id is not None:
                raise Undecided

        def identify(self, header: Callable[[str], str | None]) -> Principal:
            raise Undecided

        async def identify_later(self, header: Callable[[str], str | None]) -> Principal:
            return Principal(f"{header('x-name')} later")

        async def authorize_later(self, principal: Principal, action: Action, test_id: str) -> None:
            self.questions.append((principal, action, test_id))
            raise NotFound(test_id)

    keep_polls(app.cache)
    node.access = asked = Later()
    for name, (action, params) in CALLS.items():
        if "testId" in params:
            answer = await client.post(f"/rpc/{name}", json=params, headers={"x-name": "ann"})
            assert (answer.status_code, asked.questions.pop()) == (404, (Principal("ann later"), action, NO_SUCH_TEST))
    assert (await client.get(f"/rpc/getTest?testId={NO_SUCH_TEST}")).status_code == 404, "not from memory either"
    assert (await client.get("/rpc/listTests")).status_code == 503, "the node has no list yet"


async def test_a_hidden_run_answers_like_one_that_does_not_exist(
    app: EdgeApp, node: Node, client: httpx.AsyncClient
) -> None:
    keep_polls(app.cache)
    node.access = Asked(NotFound(NO_SUCH_TEST))
    answer = await client.get("/rpc/getTest", params=RUN)
    assert (answer.status_code, answer.json()["error"]) == (
        404,
        {"code": "not_found", "message": f"there is no test {NO_SUCH_TEST}"},
    )


async def test_who_is_allowed_is_answered_from_memory(app: EdgeApp, node: Node, client: httpx.AsyncClient) -> None:
    keep_polls(app.cache)
    node.access = asked = Asked()
    for name, query in POLLED.items():
        answer = await client.get(f"/rpc/{name}?{query.decode()}", headers={"x-name": "ann"})
        assert (answer.status_code, answer.text) == (200, SECRET)
        for tags in ('"kept"', 'W/"kept"', '"other", W/"kept"', "*"):
            same = await client.get(f"/rpc/{name}?{query.decode()}", headers={"if-none-match": tags})
            assert (same.status_code, same.content, same.headers["etag"]) == (304, b"", '"kept"')
        for tags in ('"other"', "kept", '"kept'):
            other = await client.get(f"/rpc/{name}?{query.decode()}", headers={"if-none-match": tags})
            assert (other.status_code, other.text) == (200, SECRET)
    assert asked.questions[0] == (Principal("ann"), Action.LIST, None)
    assert asked.questions[-1] == (Principal("nobody"), Action.WATCH, NO_SUCH_TEST)
    assert app.cache.statistics().hits == len(asked.questions) == 16


async def test_by_default_everybody_is_anonymous_and_allowed(
    app: EdgeApp, node: Node, client: httpx.AsyncClient
) -> None:
    assert isinstance(node.access, OpenAccess)
    assert node.access.identify(lambda _: "Bearer x") is ANONYMOUS
    for action in Action:
        node.access.authorize(ANONYMOUS, action, NO_SUCH_TEST)
    keep_polls(app.cache)
    assert (await client.get("/rpc/listTests")).text == SECRET
    assert (await client.get("/rpc/getConfig")).status_code == 200


async def test_the_figures_of_a_node_are_plain_numbers_that_do_not_change(app: EdgeApp, node: Node) -> None:
    figures = app.cache.statistics()
    keep_polls(app.cache)
    assert (figures.responses, app.cache.statistics().responses) == (0, 2)
    assert node.statistics() == node.statistics()

    def numbers(part: Any) -> list[Any]:
        return [number for each in part for number in numbers(each)] if isinstance(part, tuple) else [part]

    assert all(isinstance(number, int | float) for number in numbers(figures)), figures
    with pytest.raises(AttributeError):
        figures.responses = 1  # type: ignore[misc]
