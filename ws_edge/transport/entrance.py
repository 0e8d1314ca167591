"""What every request has to pass before anything is done for it, whatever it asks for and however it arrives."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from ws_edge.transport import handshake
from ws_edge.transport.event_stream import EventStream
from ws_edge.transport.forwarded import Header, is_trusted, limited_address
from ws_edge.transport.handshake import Refusal
from ws_edge.transport.hosts import check_named_by_proxy
from ws_edge.transport.services import Services
from ws_edge.transport.stream_request import StreamRequest
from ws_edge.transport.websocket import ViewerSocket

if TYPE_CHECKING:
    from uvicorn import Config
    from uvicorn.server import ServerState


def check_names(node: Services, host: str | None, header: Header, transport: asyncio.Transport) -> None:
    """Returns when the request calls this edge by one of its names.

    Raises:
        Refusal: 400 or 421.
    """
    if node.hosts.knows(host) and header("x-forwarded-host") is None and header("forwarded") is None:
        return  # as most of thousands that reconnect: neither address needs to be asked for
    local = address_of(transport, "sockname")
    node.hosts.check(host, local)
    check_named_by_proxy(node.hosts, node.config, header, address_of(transport, "peername"), local)


def check_upgrade(node: Services, request: handshake.Request) -> None:
    """Returns when the address of a socket names no more tests than it may.

    Raises:
        Refusal: 400, before the upgrade.
    """
    most = node.config.limits.max_tests_in_address
    if len(request.query) > most and sum(name == "testId" for name, _ in request.query) > most:
        text = f"the address names more than {most} tests: subscribe to the others by messages on the socket"
        raise Refusal(HTTPStatus.BAD_REQUEST, "too_many_tests", text)


def open_socket(
    config: Config,
    server_state: ServerState,
    app_state: dict[str, Any],
    transport: asyncio.Transport,
    request: handshake.Request,
) -> None:
    """Makes the connection a socket, which answers the request from here on."""
    viewer = ViewerSocket(config, server_state, app_state)
    viewer.connection_made(transport)
    transport.set_protocol(viewer)
    viewer.upgrade(request, at_once=True)


def open_stream(
    config: Config,
    server_state: ServerState,
    app_state: dict[str, Any],
    transport: asyncio.Transport,
    request: handshake.Request,
    asked: StreamRequest,
) -> None:
    """Makes the connection a stream of server-sent events, which answers the request from here on."""
    viewer = EventStream(config, server_state, app_state, asked)
    viewer.connection_made(transport)
    transport.set_protocol(viewer)
    viewer.begin(request)


def counted_address(node: Services, transport: asyncio.Transport) -> str:
    """What a connection counts against; empty for a trusted proxy, whose connections are those of many clients."""
    peer = address_of(transport, "peername")
    return "" if is_trusted(peer, node.config.trusted_proxies) else limited_address(peer)


def address_of(transport: asyncio.Transport, end: str) -> str:
    """The IP address of one end of a connection, "peername" or "sockname"; "local" where it has none."""
    name = transport.get_extra_info(end)
    return str(name[0]) if isinstance(name, tuple) else "local"
