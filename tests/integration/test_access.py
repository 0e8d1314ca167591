"""Access on an edge with a broker: who is refused learns nothing of a run, whatever others have been told of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import pytest

from broker.jetstream.api import Streams
from broker.local.embedded_server import EmbeddedServer
from tests.harness import begin, store_picture, until
from tests.in_process import Edge, a_client
from ws_edge.access import AccessDenied, Action, OpenAccess, Principal
from ws_edge.api.access_methods import ACCESS_METHODS
from ws_edge.api.methods import METHODS

TITLE = "the title of somebody's run"


class OnlyAnn:
    """Allows everything to Ann, and nothing to anybody else."""

    def identify(self, header: Callable[[str], str | None]) -> Principal:
        return Principal(header("x-name") or "nobody")

    def authorize(self, principal: Principal, action: Action, test_id: str | None) -> None:
        if principal.subject != "ann":
            raise AccessDenied("only Ann may do this")

    async def identify_later(self, header: Callable[[str], str | None]) -> Principal:
        return self.identify(header)

    async def authorize_later(self, principal: Principal, action: Action, test_id: str) -> None:
        self.authorize(principal, action, test_id)


@pytest.fixture
async def edge(nats_server: EmbeddedServer) -> AsyncIterator[Edge]:
    edge = await Edge(nats_server.url).start()
    yield edge
    await edge.stop()


async def test_what_one_was_told_is_not_told_to_another(edge: Edge, streams: Streams) -> None:
    node = edge.node
    test_id = await begin(streams, TITLE)
    await store_picture(streams, test_id, b"\xff\xd8\xff picture")

    def folded() -> bool:  # both of its events, so that nothing changes any more
        found = node.snapshot(test_id)
        return found is not None and found.status == "running" and node.hub.epoch != ""

    await until(folded)
    node.access = OnlyAnn()
    reads = [name for name, method in METHODS.items() if method.reads and name not in ACCESS_METHODS]
    told: dict[str, bytes] = {}
    async with a_client(edge, "ann") as ann, a_client(edge, "bob") as bob:
        for name in reads:
            params = {"testId": test_id} if "test_id" in METHODS[name].params.__struct_fields__ else {}
            for _ in range(2):  # the second time from memory, where that is possible
                answer = await ann.get(f"/rpc/{name}", params=params)
                assert answer.status_code == 200, (name, answer.text)
            told[name] = answer.content
            etag = answer.headers.get("etag", '"any"')
            for headers in ({}, {"if-none-match": etag}, {"if-none-match": "*"}):
                refused = await bob.get(f"/rpc/{name}", params=params, headers=headers)
                assert (refused.status_code, refused.json()["error"]["code"]) == (403, "forbidden"), name
                assert not any(secret in refused.text for secret in (TITLE, test_id)), name
                assert "etag" not in refused.headers
        hits = edge.cache.statistics().hits
        assert hits > 0, "something was answered from memory"
        for name, params in (("cancelTest", {"testId": test_id}), ("submitTest", {"gameUrl": "http://127.0.0.1:9/"})):
            refused = await bob.post(f"/rpc/{name}", json=params)
            assert refused.status_code == 403
        node.access = OpenAccess()
        for name in ("listTests", "getTest"):
            params = {"testId": test_id} if name == "getTest" else {}
            assert (await bob.get(f"/rpc/{name}", params=params)).content == told[name], "nothing has changed"
    assert TITLE.encode() in told["listTests"] and TITLE.encode() in told["getTest"]
