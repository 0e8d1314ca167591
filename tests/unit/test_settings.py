"""Environment variables: each kind of value is checked and named, and so is a name that is misspelt."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import msgspec
import pytest

from agent_worker import config as agent_config
from agent_worker.games.handle import read_job
from broker import config as broker_config
from broker.contract.errors import BadInput, InvalidSetting
from broker.jetstream.runs import make_job
from broker.known_settings import NAMES, unknown
from broker.local.listening import is_loopback
from testcast import config
from tests.harness import NO_SUCH_TEST
from ws_edge import config as edge_config

ROOT = Path(__file__).resolve().parents[2]


def load_all(environ: Mapping[str, str]) -> None:
    for load in (broker_config.load, edge_config.load, agent_config.load):
        load(environ)


WHOLE = ("TESTCAST_NATS_REPLICAS", "TESTCAST_EDGE_PORT", "TESTCAST_EDGE_WORKERS", "TESTCAST_EDGE_MAX_SOCKETS",
         "TESTCAST_EDGE_HIGH_WATER_BYTES", "TESTCAST_AGENT_CONCURRENCY")  # fmt: skip
DURATIONS = ("TESTCAST_EDGE_HEARTBEAT_S", "TESTCAST_EDGE_DRAIN_S", "TESTCAST_RUN_LOST_S")
SWITCHES = ("TESTCAST_EDGE_PROJECTOR", "TESTCAST_EDGE_REAPER", "TESTCAST_ALLOW_PRIVATE", "TESTCAST_AGENT_ALLOW_PRIVATE")
LISTS = ("TESTCAST_EDGE_TRUSTED_PROXIES", "TESTCAST_EDGE_ALLOWED_ORIGINS", "TESTCAST_NATS_URL")
WRONG = [
    *((name, value) for name in WHOLE for value in ("2.5", "1e-3", "one", "0x10", "1_0", "٣", "-1", "nan", "1 2")),
    *((name, value) for name in DURATIONS for value in ("10s", "5m", "nan", "inf", "-1", "1,5", "1e999")),
    *((name, value) for name in SWITCHES for value in ("maybe", "2", "yess")),
    *((name, value) for name in LISTS for value in ("nonsense", "a,b")),
]


@pytest.mark.parametrize(("name", "value"), WRONG)
def test_a_wrong_value_is_refused_with_the_name(name: str, value: str) -> None:
    with pytest.raises(InvalidSetting, match=f"^{name}: "):
        load_all({name: value})


@pytest.mark.parametrize("name", sorted(NAMES))
@pytest.mark.parametrize("value", ["", "  "])
def test_an_empty_value_is_none(name: str, value: str) -> None:
    if value and not name.endswith(("URL", "HOST", "NAME", "CHROMIUM", "STATE_DIR")):
        load_all({name: value})
    load_all({name: ""})


def test_values_are_read() -> None:
    environ = {"TESTCAST_EDGE_PORT": " 8001 ", "TESTCAST_EDGE_DRAIN_S": "2.5", "TESTCAST_EDGE_REAPER": "Off"}
    edge = edge_config.load(environ)
    assert (edge.port, edge.drain_s, edge.reaper) == (8001, 2.5, False)
    assert type(edge.port) is int


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("TESTCAST_EDGE_PRT", "TESTCAST_EDGE_PORT"),
        ("testcast_edge_port", "TESTCAST_EDGE_PORT"),
        ("TESTCASTEDGE_PORT", "TESTCAST_EDGE_PORT"),
        ("TESTCAST_NATS_URLS", "TESTCAST_NATS_URL"),
        ("TESTCAST_EDGE_TRUSTED_PROXY", "TESTCAST_EDGE_TRUSTED_PROXIES"),
        ("TESTCAST_ALLOW_PRIVAT", "TESTCAST_ALLOW_PRIVATE"),
    ],
)
def test_a_misspelt_name_is_told_with_the_nearest(name: str, meant: str) -> None:
    assert unknown([name, "HOME", *NAMES]) == [f"{name} is not a setting and is ignored: is {meant} meant?"]


def test_a_name_that_is_like_none_is_told_alone() -> None:
    assert unknown(["TESTCAST_WEATHER_FORECAST"]) == ["TESTCAST_WEATHER_FORECAST is not a setting and is ignored"]


def test_every_name_in_the_code_is_known() -> None:
    folders = ("broker", "agent_worker", "ws_edge", "testcast")
    code = "\n".join(path.read_text() for each in folders for path in (ROOT / each).rglob("*.py"))
    found = set(re.findall(r'"(TESTCAST_[A-Z][A-Z_]*[A-Z])"', code))
    found |= {f"TESTCAST_EDGE_{name}" for name in re.findall(r'\b(?:of|count_of)\("([A-Z_]+)"', code)}
    assert found - NAMES == set(), "add them to broker/known_settings"


LOOPBACK, REMOTE = "nats://127.0.0.1:4222", "nats://broker.example:4222"
LOCAL, PRIVATE = "http://localhost:3000/", "http://10.0.0.1/"


@pytest.mark.parametrize(
    ("environ", "nats_url", "game", "allowed"),
    [
        ({}, LOOPBACK, LOCAL, True),
        ({}, "nats://[::1]:4222,nats://localhost:4223", "http://[::1]:3000/", True),
        ({}, LOOPBACK, PRIVATE, False),
        ({}, LOOPBACK, None, False),
        ({"TESTCAST_ALLOW_PRIVATE": "1"}, LOOPBACK, None, True),
        ({}, REMOTE, LOCAL, False),
        ({}, f"{LOOPBACK},{REMOTE}", LOCAL, False),
        ({"TESTCAST_ALLOW_PRIVATE": "0"}, LOOPBACK, LOCAL, False),
        ({"TESTCAST_ALLOW_PRIVATE": "1"}, REMOTE, PRIVATE, True),
        ({"TESTCAST_AGENT_ALLOW_PRIVATE": "1"}, REMOTE, PRIVATE, True),
        ({"TESTCAST_ALLOW_PRIVATE": "0", "TESTCAST_AGENT_ALLOW_PRIVATE": "1"}, LOOPBACK, LOCAL, False),
    ],
)
def test_private_games_are_allowed_by_one_setting(
    environ: dict[str, str], nats_url: str, game: str | None, allowed: bool
) -> None:
    assert config.allow_private(nats_url, game, environ) is allowed
    assert edge_config.load(environ).allow_private is (broker_config.allow_private(environ) or False)


@pytest.mark.parametrize("allowed", [True, False])
def test_the_job_carries_what_its_edge_allows(allowed: bool) -> None:
    job = make_job("http://localhost:3000/", None, None, None, allow_private=allowed)
    payload = msgspec.json.encode(job)
    assert (b"allowPrivate" in payload) is allowed
    assert read_job(NO_SUCH_TEST, payload).allow_private is allowed


def test_the_job_carries_the_hosts_that_its_edge_names_and_the_run_does_not() -> None:
    hosts = edge_config.load({"TESTCAST_ALLOW_HOSTS": "demo_game:8080, Games.Example ,"}).allowed_hosts
    assert hosts == config.allowed_hosts({"TESTCAST_ALLOW_HOSTS": "games.example,demo_game:8080"})
    job = make_job("http://demo_game:8080/", None, None, None, allowed_hosts=hosts)
    payload = msgspec.json.encode(job)
    assert b'"allowHosts":["demo_game:8080","games.example"]' in payload
    assert read_job(NO_SUCH_TEST, payload).allowed_hosts == hosts
    with pytest.raises(BadInput):
        read_job(NO_SUCH_TEST, payload.replace(b"games.example", b"http://games.example/"))
    too_many = make_job("http://a/", None, None, None, allowed_hosts=[f"h{n}" for n in range(65)])
    with pytest.raises(BadInput):
        read_job(NO_SUCH_TEST, msgspec.json.encode(too_many))


def test_too_many_hosts_are_refused() -> None:
    with pytest.raises(InvalidSetting, match="at most 64"):
        edge_config.load({"TESTCAST_ALLOW_HOSTS": ",".join(f"h{n}" for n in range(65))})


@pytest.mark.parametrize(
    ("host", "alone"),
    [
        ("127.0.0.1", True),
        ("::1", True),
        ("[::1]", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("10.0.0.1", False),
        ("a.example", False),
        ("127.0.0.2", True),
    ],
)
def test_whether_only_this_machine_reaches_an_address(host: str, alone: bool) -> None:
    assert is_loopback(host) is alone
