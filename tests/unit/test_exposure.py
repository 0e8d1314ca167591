"""Without authentication nothing listens where other machines can reach it, unless somebody says so."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from broker.config import load as broker_settings
from broker.contract.errors import InvalidSetting
from broker.local.exposure import is_exposed, is_exposed_address
from testcast import config
from testcast.cli import demo
from testcast.cli.terminal import Terminal
from tests.tokens import jwks
from ws_edge.access.settings import AccessConfig
from ws_edge.config import EdgeConfig
from ws_edge.main import refuse_exposure, serve

OWN = (
    "127.0.0.1",
    "127.8.9.1",
    "127.1",
    "0x7f000001",
    "::1",
    "[::1]",
    "::ffff:127.0.0.1",
    "[::ffff:7f00:1]",
    "localhost",
)
ALL = ("0.0.0.0", "0", "0.0", "0x0", "::", "[::]", "::0", "::ffff:0.0.0.0", "::ffff:0:0")
OTHERS = ("192.0.2.1", "10.0.0.1", "::ffff:10.0.0.1", "2001:db8::1", "fe80::1", "1")


@pytest.mark.parametrize("host", [*ALL, *OTHERS])
def test_addresses_that_other_machines_reach(host: str) -> None:
    assert is_exposed(host)


@pytest.mark.parametrize("host", [*OWN, "no.such.host.invalid", "a" * 300, "a..b"])
def test_addresses_that_only_this_machine_reaches(host: str) -> None:
    assert not is_exposed(host)


def test_the_path_of_a_socket_is_of_this_machine() -> None:
    assert not is_exposed_address("/run/edge.sock") and not is_exposed_address("")


def test_a_name_counts_by_all_of_its_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    found = {
        "mine.example": ["127.0.0.1", "::1"],
        "both.example": ["127.0.0.1", "192.0.2.7"],
        "out.example": ["10.0.0.9"],
    }

    def resolve(host: str, *_args: object, **_kwargs: object) -> list[tuple[object, ...]]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, 0)) for each in found[host]]

    monkeypatch.setattr("broker.local.exposure.socket.getaddrinfo", resolve)
    assert [is_exposed(host) for host in found] == [False, True, True]


def test_an_edge_is_refused_there_with_the_two_commands() -> None:
    with pytest.raises(InvalidSetting) as refused:
        refuse_exposure(EdgeConfig(host="0.0.0.0"), "0.0.0.0")
    second = "access/session.key testcast edge --host 0.0.0.0"
    for line in ("testcast token init", "access/keys.json TESTCAST_", second, "TESTCAST_INSECURE=1"):
        assert line in refused.value.message
    refuse_exposure(EdgeConfig(), "127.0.0.1")
    refuse_exposure(EdgeConfig(insecure=True), "0.0.0.0")
    refuse_exposure(EdgeConfig(access=AccessConfig(keys="keys.json")), "0.0.0.0")


def test_the_socket_counts_whatever_its_name_was() -> None:
    """A name may lead elsewhere when it is asked again, and a supervisor hands its sockets on."""
    with socket.socket() as listening:
        listening.bind(("0.0.0.0", 0))
        with pytest.raises(InvalidSetting, match="other machines"):
            serve("nats://127.0.0.1:1", 1, EdgeConfig(host="localhost"), listening)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_the_process_ends_at_once(workers: str, tmp_path: Path) -> None:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("TESTCAST_")}
    settings = {"TESTCAST_EDGE_HOST": "::ffff:0.0.0.0", "TESTCAST_EDGE_WORKERS": workers, "HOME": str(tmp_path)}
    edge = [sys.executable, "-m", "ws_edge"]
    ended = subprocess.run(edge, env=clean | settings, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 1
    assert "testcast token init" in ended.stderr and "Traceback" not in ended.stderr


async def test_the_commands_start_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*config.ACCESS, "TESTCAST_INSECURE"):
        monkeypatch.delenv(name, raising=False)
    settings = broker_settings({"TESTCAST_STATE_DIR": str(tmp_path / "state")})
    with pytest.raises(InvalidSetting, match="testcast token init"):
        await demo.demo(demo.DemoRequest(True, None, 8000, None, None, "0.0.0.0"), settings, Terminal())
    with pytest.raises(InvalidSetting, match=r"testcast up --secure --host ::"):
        await demo.up(demo.UpRequest(1, 1, 8000, None, "::"), settings, Terminal())
    assert not (tmp_path / "state").exists()


def test_the_commands_ask_the_settings(tmp_path: Path) -> None:
    (tmp_path / "keys.json").write_bytes(jwks())
    for environ in ({"TESTCAST_INSECURE": "1"}, *({name: str(tmp_path / "keys.json")} for name in config.ACCESS)):
        config.refuse_exposed_edge("0.0.0.0", "testcast up", environ=environ)
    config.refuse_exposed_edge("0.0.0.0", "testcast up", {"TESTCAST_ACCESS_KEYS": "keys.json"}, {})
    for environ in ({}, {"TESTCAST_INSECURE": "0"}, dict.fromkeys(config.ACCESS, " ")):
        with pytest.raises(InvalidSetting):
            config.refuse_exposed_edge("0.0.0.0", "testcast up", environ=environ)
    with pytest.raises(InvalidSetting, match=r"^TESTCAST_INSECURE: "):
        config.refuse_exposed_edge("0.0.0.0", "testcast up", environ={"TESTCAST_INSECURE": "maybe"})
