"""Looks at an edge from outside, as a viewer reaches it: through every proxy in between."""

from __future__ import annotations

import asyncio
import time
from typing import Any, Final, NamedTuple

import httpx
import orjson
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI

from broker.config import given as variables
from testcast.client.address import edge_url
from testcast.client.proxies import VARIABLES, proxy_for
from testcast.client.rpc import transport
from testcast.client.token import QUIET, Credentials

_PATIENCE_S: Final = 8.0


class SocketReport(NamedTuple):
    """What a WebSocket to an edge did."""

    problem: str
    """Why there was no connection, or why it did not last; empty when all went well."""
    opened: bool
    first_s: float | None
    """From the subscription to the first message, seconds; None when none came."""
    lasted_s: float
    """How long it was kept without sending anything, seconds."""
    messages: int
    """What arrived meanwhile."""


async def read(edge: str, path: str, credentials: Credentials) -> tuple[int, dict[str, Any]]:
    """Returns the status and the JSON object of a GET; an empty one when the body is none. No redirect is followed.

    Raises:
        httpx.HTTPError: nothing answers.
        BadInput: a proxy variable has no usable value, or certificates cannot be read.
    """
    proxy = proxy_for(edge_url(edge), variables(VARIABLES))
    async with httpx.AsyncClient(timeout=_PATIENCE_S, trust_env=False, transport=transport(edge, proxy)) as http:
        answer = await http.get(f"{edge}{path}", headers=credentials.headers())
    try:
        body = orjson.loads(answer.content)
    except orjson.JSONDecodeError:
        body = None
    return answer.status_code, body if isinstance(body, dict) else {}


async def open_socket(edge: str, keep_s: float, credentials: Credentials) -> SocketReport:
    """Opens a WebSocket, subscribes to the list, waits for the first message, and keeps it for `keep_s`."""
    proxy = proxy_for(edge_url(edge), variables(VARIABLES))
    first_s, kept_since, messages, opened = None, time.monotonic(), 0, False
    problem = ""
    try:
        async with connect(
            edge.replace("http", "ws", 1) + "/ws", additional_headers=credentials.headers(), logger=QUIET,
            open_timeout=_PATIENCE_S, ping_interval=None, compression=None,
            close_timeout=1, max_size=None, proxy=None if proxy is None else proxy.url,
        ) as socket:  # fmt: skip
            opened = True
            await socket.send(orjson.dumps({"type": "subscribe", "channel": "tests"}).decode())
            asked = time.monotonic()
            async with asyncio.timeout(_PATIENCE_S):
                await socket.recv()
            kept_since = time.monotonic()
            first_s = kept_since - asked
            try:
                async with asyncio.timeout(keep_s):
                    while True:
                        await socket.recv()
                        messages += 1
            except TimeoutError:
                pass
    except InvalidStatus as error:
        problem = f"HTTP {error.response.status_code} instead of 101"
    except ConnectionClosed as error:
        problem = f"closed: {error}"
    except TimeoutError:
        problem = "no message arrives" if opened else "no answer to the upgrade"
    except (OSError, InvalidHandshake, InvalidURI) as error:
        problem = str(error) or type(error).__name__
    return SocketReport(problem, opened, first_s, time.monotonic() - kept_since, messages)
