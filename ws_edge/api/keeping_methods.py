"""The methods that keep a run for good, let it go again, and delete it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import orjson
from starlette.requests import Request

from ws_edge.access import Action
from ws_edge.api.calls import Answer, Method, RunParams, principal_of
from ws_edge.node import Node


async def pin_test(node: Node, request: Request, params: RunParams) -> Answer:
    """Keeps a run for good: its age does not delete it."""
    until_ms = await node.keeping.pin(params.test_id, principal_of(request).subject)
    answer: dict[str, Any] = {"testId": params.test_id, "pinned": True}
    if until_ms is not None:
        answer["keptUntil"] = until_ms
    return Answer(orjson.dumps(answer))


async def unpin_test(node: Node, _request: Request, params: RunParams) -> Answer:
    """Lets a run be deleted when its time has come."""
    await node.keeping.unpin(params.test_id)
    return Answer(orjson.dumps({"testId": params.test_id, "pinned": False}))


async def delete_test(node: Node, _request: Request, params: RunParams) -> Answer:
    """Deletes a run that has ended and is not pinned."""
    await node.keeping.delete(params.test_id)
    return Answer(orjson.dumps({"testId": params.test_id, "deleted": True}))


KEEPING_METHODS: Final[Mapping[str, Method]] = {
    "pinTest": Method(Action.DELETE, RunParams, pin_test, reads=False),
    "unpinTest": Method(Action.DELETE, RunParams, unpin_test, reads=False),
    "deleteTest": Method(Action.DELETE, RunParams, delete_test, reads=False),
}
