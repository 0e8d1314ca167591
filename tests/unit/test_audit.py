"""The audit log of calls that a method itself refuses, and of the tokens and links that it ends."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator

import pytest

from broker.jetstream.connection import Connection
from tests.harness import free_port
from tests.rpc_stand_ins import CONFIG, FRIEND, RUN, Browser, Edge, bearer, code_of
from ws_edge.access import audit
from ws_edge.node import Node


@pytest.fixture
async def edge() -> AsyncIterator[Edge]:
    nats = Connection.dial(f"nats://127.0.0.1:{free_port()}", name="test")
    yield Edge(Node(nats, CONFIG, 1), CONFIG)
    await nats.close()


async def test_what_a_method_refuses_and_what_it_was_about_is_written_down(
    edge: Edge, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "_refusals", {})  # lines of one kind are rate-limited
    caplog.set_level(logging.INFO, "testcast.audit")
    program, elsewhere = Browser(edge, None), Browser(edge, FRIEND)
    assert code_of(await program("revokeToken", headers=bearer("ann"), jti="r1")) == (403, "forbidden")
    assert code_of(await elsewhere("signIn", token="ann")) == (403, "foreign_origin")
    assert code_of(await program("signIn", token="nobody")) == (401, "unauthenticated")
    made = (await program("shareTest", headers=bearer("ann"), testId=RUN, forSeconds=60)).json()["shareId"]
    assert code_of(await program("unshareTest", headers=bearer("ann"), testId=RUN, shareId="x")) == (404, "not_found")
    await program("unshareTest", headers=bearer("ann"), testId=RUN, shareId=made)
    await program("revokeToken", headers=bearer("root"), jti="a2")
    lines = [record.getMessage() for record in caplog.records if record.name == "testcast.audit"]
    for line, (outcome, action, subject, detail) in zip(
        lines,
        [
            ("refused", "admin", "ann", "forbidden"),
            ("refused", "public", "unknown", "foreign_origin"),
            ("refused", "sign in", "unknown", "unauthenticated"),
            ("done", "watch", "ann", f"shareTest {made}"),
            ("done", "watch", "ann", f"unshareTest {made}"),
            ("done", "admin", "root", "revokeToken a2"),
        ],
        strict=True,
    ):
        assert line.startswith(f'outcome="{outcome}" action="{action}" subject="{subject}" '), line
        assert line.endswith(f' detail="{detail}"'), line
