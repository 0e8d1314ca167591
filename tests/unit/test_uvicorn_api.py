"""What `ws_edge/transport` overrides and relies on in uvicorn, compared with what is installed."""

from __future__ import annotations

import ast
import asyncio
import inspect
from pathlib import Path
from typing import Any, ClassVar

import pytest
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from tests.private_api import differences, missing
from ws_edge.transport.accept import AcceptProtocol
from ws_edge.transport.deadlines import DeadlineHttp
from ws_edge.transport.websocket import ViewerSocket

TRANSPORT = Path(__file__).resolve().parents[2] / "ws_edge" / "transport"
OVERRIDDEN = {
    "data_received": "(self, data)",
    "connection_lost": "(self, exc)",
    "connection_made": "(self, transport)",
    "on_response_complete": "(self)",
    "pause_writing": "(self)",
    "resume_writing": "(self)",
    "send_400_response": "(self, msg)",
}
CALLED = {
    "__init__": "(self, config, server_state, app_state, _loop=None)",
    "shutdown": "(self)",
}


class FakeTransport:
    """Records what is done to it."""

    def __init__(self) -> None:
        self.protocol: Any = None
        self.written = b""

    def set_protocol(self, protocol: Any) -> None:
        self.protocol = protocol

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default

    def write(self, data: bytes) -> None:
        self.written += data

    def abort(self) -> None:
        self.protocol = None


class FakeSocket(asyncio.Protocol):
    """In the place of `ViewerSocket`: records what uvicorn tells it."""

    made: ClassVar[list[FakeSocket]] = []

    def __init__(self, **given: Any) -> None:
        self.given = given
        self.told: list[Any] = []
        FakeSocket.made.append(self)

    def connection_made(self, transport: Any) -> None:
        self.told.append(transport)

    def data_received(self, data: bytes) -> None:
        self.told += [data, self.told[0].protocol]


async def app(scope: Any, receive: Any, send: Any) -> None:
    raise AssertionError("an upgrade never reaches the application")


def test_what_deadline_http_overrides_is_there_and_called_in_the_same_way() -> None:
    assert issubclass(DeadlineHttp, HttpToolsProtocol)
    assert differences("uvicorn", HttpToolsProtocol, OVERRIDDEN | CALLED) == []
    for name in OVERRIDDEN:
        assert name in vars(DeadlineHttp), f"DeadlineHttp does not override {name}: take it off the list"


def test_deadline_http_adds_no_name_that_uvicorn_has() -> None:
    added = {name for name in vars(DeadlineHttp) if not name.startswith("__")} - OVERRIDDEN.keys()
    source = inspect.getsource(HttpToolsProtocol)
    assert [name for name in added if hasattr(HttpToolsProtocol, name) or f"self.{name}" in source] == []


async def test_the_attributes_that_deadline_http_reads_are_there() -> None:
    config = uvicorn.Config(app, http=AcceptProtocol, ws=ViewerSocket, log_config=None)
    config.load()
    state = {"node": object()}
    http = HttpToolsProtocol(config, ServerState(), state)
    assert missing("uvicorn", http, {"loop": asyncio.AbstractEventLoop, "app_state": dict, "transport": object}) == []
    assert missing("uvicorn", http, {"timeout_keep_alive": int, "timeout_keep_alive_task": type(None)}) == []
    assert callable(http.timeout_keep_alive_handler)
    assert http.app_state is state


def test_the_server_state_has_the_connections_that_uvicorn_shuts_down() -> None:
    assert missing("uvicorn", ServerState(), {"connections": set}) == []
    assert "connection.shutdown()" in inspect.getsource(uvicorn.Server.shutdown)


@pytest.mark.parametrize("protocol", [AcceptProtocol, ViewerSocket, DeadlineHttp])
def test_our_protocols_take_what_uvicorn_gives(protocol: type) -> None:
    inspect.signature(protocol).bind(config=None, server_state=None, app_state={}, _loop=None)
    inspect.signature(protocol).bind(config=None, server_state=None, app_state={})
    for name in ("connection_made", "connection_lost", "data_received", "shutdown"):
        assert callable(getattr(protocol, name))


def test_uvicorn_takes_our_protocols_as_classes() -> None:
    config = uvicorn.Config(app, http=AcceptProtocol, ws=ViewerSocket, log_config=None)
    config.load()
    assert (config.http_protocol_class, config.ws_protocol_class) == (AcceptProtocol, ViewerSocket)


async def test_an_upgrade_is_handed_on_as_the_socket_expects_it() -> None:
    """In this order: made with keywords, told of the transport, given the request, made the transport's protocol."""
    config = uvicorn.Config(app, http=AcceptProtocol, ws=FakeSocket, log_config=None)
    config.load()
    server_state, state, transport = ServerState(), {"node": object()}, FakeTransport()
    http = HttpToolsProtocol(config, server_state, state)
    http.connection_made(transport)  # type: ignore[arg-type]
    http.data_received(b"GET /ws?testId=x HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
    (socket,) = FakeSocket.made
    assert socket.given == {"config": config, "server_state": server_state, "app_state": state}
    given, request, protocol_before = socket.told
    assert (given, protocol_before, transport.protocol) == (transport, None, socket)
    assert request.startswith(b"GET /ws?testId=x HTTP/1.1\r\n") and b"host: h\r\n" in request.lower()
    assert http not in server_state.connections


@pytest.mark.parametrize("name", ["accept", "websocket", "deadlines"])
def test_no_underscore_name_of_uvicorn_is_touched(name: str) -> None:
    tree = ast.parse((TRANSPORT / f"{name}.py").read_text())
    touched = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr.startswith("_") and not node.attr.startswith("__")
    ]
    assert [ast.unparse(node) for node in touched if ast.unparse(node.value) != "self"] == []
