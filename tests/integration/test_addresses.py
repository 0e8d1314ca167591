"""IPv6 wherever a host is taken; an error of listening is read, not guessed; and what runs without a home directory."""

from __future__ import annotations

import socket
from pathlib import Path

import httpx
import pytest

from broker import config as broker_config
from broker.contract.errors import BadInput, InvalidSetting, ServerNotStarted
from broker.jetstream import topology
from broker.jetstream.connection import Connection
from broker.local.embedded_server import EmbeddedServer
from broker.local.listening import host_port, reachable, refusal
from testcast import config
from testcast.local import game_server
from testcast.local.stack import Stack
from tests.command import Command
from ws_edge.transport.listener import listen

needs_ipv6 = pytest.mark.skipif(refusal("::1", 0) != "", reason="this machine has no IPv6")


@needs_ipv6
async def test_a_broker_and_an_edge_on_ipv6(tmp_path: Path) -> None:
    stack = Stack(tmp_path)
    try:
        url = await stack.start_broker(0, host="[::1]")
        assert url.startswith("nats://[::1]:")
        edge = await stack.start_edge(free_port_6(), host="::1")
        assert edge.startswith("http://[::1]:")
        async with httpx.AsyncClient(trust_env=False) as http:
            assert (await http.get(f"{edge}/readyz")).status_code == 200
        nats = await Connection.connect(url, name="test")
        await topology.apply(nats)
        await nats.close()
    finally:
        await stack.stop()


@needs_ipv6
async def test_the_command_prints_brackets(tmp_path: Path) -> None:
    port = str(free_port_6())
    settings = {"TESTCAST_STATE_DIR": str(tmp_path)}
    async with Command("broker", "--host", "::1", "--port", port, **settings) as command:
        assert f"nats://[::1]:{port}" in await command.line("broker")


def free_port_6() -> int:
    with socket.socket(socket.AF_INET6) as probe:
        probe.bind(("::1", 0))
        return int(probe.getsockname()[1])


@needs_ipv6
def test_a_port_that_is_taken_on_ipv6_is_taken_there_alone() -> None:
    with socket.socket(socket.AF_INET6) as taken:
        taken.bind(("::1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert refusal("::1", port) == f"port {port} is taken by another program"
        with pytest.raises(InvalidSetting, match="taken by another program"):
            listen("[::1]", port)


@pytest.mark.parametrize(
    ("host", "why"),
    [("192.0.2.1", "this machine has no such address"), ("no.such.host.invalid", "there is no such host")],
)
async def test_an_error_of_listening_says_what_is_wrong(host: str, why: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidSetting, match=f"cannot listen on {host}:8000: {why}"):
        listen(host, 8000)
    with pytest.raises(ServerNotStarted, match=why):
        await EmbeddedServer(tmp_path, 8000, host).start()
    with pytest.raises(BadInput, match=why):
        await Stack(tmp_path).start_edge(8000, host=host)
    with pytest.raises(BadInput, match=why):
        game_server.serve(host, 8000)


@pytest.mark.parametrize(("host", "shown"), [("::1", "[::1]:1"), ("[::1]", "[::1]:1"), ("localhost", "localhost:1")])
def test_addresses_are_written_as_urls_have_them(host: str, shown: str) -> None:
    assert host_port(host, 1) == shown
    assert (reachable("::"), reachable("0.0.0.0"), reachable("[::1]")) == ("::1", "127.0.0.1", "::1")


class Account:
    """What the system knows of a user."""

    pw_dir = "/home/of/account"


@pytest.mark.parametrize(
    ("environ", "directory"),
    [
        ({"TESTCAST_STATE_DIR": "/state"}, "/state"),
        ({"TESTCAST_STATE_DIR": "", "XDG_STATE_HOME": "/xdg"}, "/xdg/testcast"),
        ({"XDG_STATE_HOME": "relative", "HOME": "/home/me"}, "/home/me/.local/state/testcast"),
        ({"XDG_STATE_HOME": "", "HOME": "relative"}, "/home/of/account/.local/state/testcast"),
        ({"HOME": ""}, "/home/of/account/.local/state/testcast"),
        ({}, "/home/of/account/.local/state/testcast"),
    ],
)
def test_the_state_directory(environ: dict[str, str], directory: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("broker.config.pwd.getpwuid", lambda _: Account())
    assert broker_config.load(environ).state_dir == Path(directory)


@pytest.mark.parametrize("environ", [{}, {"HOME": ""}, {"HOME": "."}, {"XDG_STATE_HOME": "./state"}])
def test_a_user_without_an_account_needs_no_directory_until_something_is_written(
    environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(uid: int) -> None:
        raise KeyError(uid)

    monkeypatch.setattr("broker.config.pwd.getpwuid", unknown)
    settings = broker_config.load(environ)
    assert settings.state_dir is None
    with pytest.raises(InvalidSetting, match=r"^TESTCAST_STATE_DIR: .* no home directory"):
        config.state_directory(settings)


def test_a_home_of_nobody_is_named() -> None:
    with pytest.raises(InvalidSetting, match=r"^TESTCAST_STATE_DIR: "):
        broker_config.load({"TESTCAST_STATE_DIR": "~nobody.of.this.name/state"})


async def test_a_directory_that_cannot_be_written_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    stack = Stack(tmp_path / "file")
    stack.use_broker("nats://127.0.0.1:1")
    with pytest.raises(ServerNotStarted, match=r"cannot write to .*file/logs: .*\(TESTCAST_STATE_DIR\)"):
        stack.start_agent()
    with pytest.raises(ServerNotStarted, match="TESTCAST_STATE_DIR"):
        await stack.start_broker(0)
