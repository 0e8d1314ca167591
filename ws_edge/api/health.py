"""`/healthz`: the process runs. `/readyz`: viewers may be sent here, and what they would miss."""

from __future__ import annotations

from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from broker.version import VERSION
from ws_edge.node import Node


async def healthz(_request: Request) -> Response:
    """The process is alive. Restarting it cures nothing that `/readyz` names."""
    return _json({"ok": True, "version": VERSION}, 200)


async def readyz(request: Request) -> Response:
    """A load balancer may send viewers here."""
    node: Node = request.state.node
    body = {
        "ready": node.ready,
        "degraded": node.degraded,
        "failed": sorted(node.failed),
        "broker": node.nats.connected,
        "catalogue": node.catalogue.filled.is_set(),
        "draining": node.draining,
        "version": VERSION,
    }
    return _json(body, 200 if node.ready else 503)


def _json(body: dict[str, Any], status: int) -> Response:
    headers = {"cache-control": "no-store"}
    return Response(orjson.dumps(body), status_code=status, headers=headers, media_type="application/json")
