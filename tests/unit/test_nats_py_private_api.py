"""What `broker/jetstream/client.py` overrides or touches in nats-py and asyncio, compared with what is installed."""

from __future__ import annotations

import ast
import asyncio
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from nats.aio.client import Client, Srv
from nats.aio.subscription import Subscription
from nats.aio.transport import TcpTransport
from nats.protocol import parser
from nats.protocol.parser import Parser

from broker.jetstream import client as ours
from broker.jetstream.client import NatsClient
from tests.private_api import differences, missing

BROKER = Path(__file__).resolve().parents[2] / "broker"
CLIENT = BROKER / "jetstream" / "client.py"

OVERRIDDEN: list[tuple[type, type, dict[str, str]]] = [
    (
        Client,
        NatsClient,
        {
            "_connect_to_server": "async (self, s)",
            "_send_ping": "async (self, future=None)",
            "_process_msg": "async (self, sid, subject, reply, data, headers)",
            "_attempt_reconnect": "async (self)",
            "_parse_server_uri": "(connect_url)",
            "_connect_command": "(self)",
            "_process_info": "async (self, info, initial_connection=False)",
            "_process_err": "async (self, err_msg)",
        },
    ),
    (Parser, ours._Parser, {"reset": "(self)", "parse": "async (self, data=b'')"}),
    (
        TcpTransport,
        ours._Tcp,
        {
            "__init__": "(self)",
            "connect": "async (self, uri, buffer_size, connect_timeout)",
            "connect_tls": "async (self, uri, ssl_context, buffer_size, connect_timeout)",
        },
    ),
    (asyncio.StreamReader, ours._Reader, {"feed_data": "(self, data)"}),
]
CALLED: list[tuple[type, dict[str, str]]] = [
    (
        Client,
        {
            "_send_command": "async (self, cmd, priority=False)",
            "_flush_pending": "async (self, force_flush=False)",
            "publish": "async (self, subject, payload=b'', reply='', headers=None)",
            "flush": "async (self, timeout=10)",
            "close": "async (self)",
            "force_reconnect": "async (self)",
            "_process_op_err": "async (self, e)",
        },
    ),
    (Parser, {"__init__": "(self, nc=None)"}),
    (TcpTransport, {"writelines": "(self, payload)"}),
    (Subscription, {"unsubscribe": "async (self, limit=0)"}),
    (asyncio.StreamReader, {"__init__": "(self, limit=65536, loop=None)"}),
    (asyncio.StreamReaderProtocol, {"__init__": "(self, stream_reader, client_connected_cb=None, loop=None)"}),
    (asyncio.StreamWriter, {"__init__": "(self, transport, protocol, reader, loop)"}),
]
NONE = type(None)
CLIENT_HAS: dict[str, Any] = {
    "_ps": Parser,
    "_transport": NONE,
    "_pending": list,
    "_pending_data_size": int,
    "_reading_task": NONE,
    "is_connected": bool,
    "options": dict,
    "_server_info": dict,
    "_current_server": NONE,
    "_error_cb": object,
}
PARSER_HAS: dict[str, Any] = {"nc": Client, "buf": bytearray, "state": int}
TRANSPORT_HAS: dict[str, Any] = {
    "_bare_io_reader": NONE,
    "_io_reader": NONE,
    "_bare_io_writer": NONE,
    "_io_writer": NONE,
}
SUBSCRIPTION_HAS: dict[str, Any] = {"_id": int, "_pending_queue": asyncio.Queue, "subject": str}
READER_HAS: dict[str, Any] = {"_buffer": bytearray}
PROTOCOL_HAS: dict[str, Any] = {"_over_ssl": bool}
OUR_OWN = {"_client", "_tail", "_parse"}
"""Underscore names that client.py defines itself."""


@pytest.mark.parametrize(("theirs", "our_class", "expected"), OVERRIDDEN)
def test_what_is_overridden_is_there_and_called_in_the_same_way(
    theirs: type, our_class: type, expected: dict[str, str]
) -> None:
    assert issubclass(our_class, theirs)
    assert differences(package_of(theirs), theirs, expected) == []
    for name in expected:
        assert name in vars(our_class), f"{our_class.__name__} does not override {name}: take it off the list"


@pytest.mark.parametrize(("theirs", "expected"), CALLED)
def test_what_is_called_takes_the_same_arguments(theirs: type, expected: dict[str, str]) -> None:
    assert differences(package_of(theirs), theirs, expected) == []


def test_subscribing_and_connecting_take_what_we_give() -> None:
    assert "subject" in inspect.signature(Client.subscribe).parameters
    given = {
        "servers",
        "name",
        "error_cb",
        "disconnected_cb",
        "reconnected_cb",
        "reconnect_to_server_handler",
        "max_reconnect_attempts",
        "reconnect_time_wait",
        "connect_timeout",
        "ping_interval",
        "max_outstanding_pings",
        "tls",
        "user",
        "password",
        "token",
        "user_credentials",
        "nkeys_seed",
    }
    gone = given - set(inspect.signature(Client.connect).parameters)
    assert not gone, f"nats-py's Client.connect no longer takes {gone}"


async def test_the_attributes_that_are_touched_are_there() -> None:
    client = Client()
    found = missing("nats-py", client, CLIENT_HAS)
    found += missing("nats-py", Parser(client), PARSER_HAS)
    found += missing("nats-py", TcpTransport(), TRANSPORT_HAS)  # type: ignore[no-untyped-call]
    found += missing("nats-py", Subscription(client, 1, "subject"), SUBSCRIPTION_HAS)
    found += missing("Python", asyncio.StreamReader(), READER_HAS)
    found += missing("Python", asyncio.StreamReaderProtocol(asyncio.StreamReader()), PROTOCOL_HAS)
    assert found == []
    assert Parser(client).state == parser.AWAITING_CONTROL_LINE, "a new parser waits for a line"
    assert {"uri", "reconnects"} <= set(Srv.__dataclass_fields__), "the choice of the next server looks at these"


def package_of(theirs: type) -> str:
    return "nats-py" if theirs.__module__.startswith("nats.") else "Python"


def attributes(path: Path) -> Iterator[ast.Attribute]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute) and node.attr.startswith("_") and not node.attr.startswith("__"):
            yield node


def test_the_lists_name_every_private_name_that_client_py_touches() -> None:
    touched = {node.attr for node in attributes(CLIENT)} - OUR_OWN
    listed = {name for _, _, names in OVERRIDDEN for name in names} | {name for _, names in CALLED for name in names}
    listed |= {*CLIENT_HAS, *PARSER_HAS, *TRANSPORT_HAS, *SUBSCRIPTION_HAS, *READER_HAS, *PROTOCOL_HAS}
    assert touched <= listed, f"client.py touches {touched - listed}: add them to the lists above"


@pytest.mark.parametrize("path", sorted(BROKER.rglob("*.py")), ids=lambda path: path.stem)
def test_no_other_file_touches_a_private_name_of_another(path: Path) -> None:
    """An underscore name may only be used in the file that defines it: on `self`, or as a method or attribute of it."""
    if path == CLIENT:
        return
    tree = ast.parse(path.read_text())
    own = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    own |= {node.attr for node in attributes(path) if isinstance(node.ctx, ast.Store)}
    own |= {"_replace", "_asdict"}  # a named tuple's methods, public in spite of their names
    strange = {f"line {node.lineno}: {ast.unparse(node)}" for node in attributes(path) if node.attr not in own}
    assert strange == set()


def test_a_name_that_has_gone_or_changed_is_named() -> None:
    found = differences("nats-py", Client, {"_gone": "()", "_send_ping": "(self)"})
    assert [sentence.partition(": ")[2] for sentence in found] == [
        "Client._gone has gone",
        "Client._send_ping is now async (self, future=None); it was (self)",
    ]
    assert "_gone has gone" in missing("nats-py", Client(), {"_gone": int})[0]
    assert "_sid is now a int" in missing("nats-py", Client(), {"_sid": str})[0]
