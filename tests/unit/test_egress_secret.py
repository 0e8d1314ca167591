"""Whom the egress proxy serves, and which private hosts it opens (agent_worker/games/chromium/egress_proxy.py)."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest

from agent_worker.games.chromium.egress_proxy import EgressProxy, JudgeNamed, Trouble, judge_any
from agent_worker.games.chromium.http_peer import basic_credentials
from broker.contract.url_policy import GameUrlRefused
from tests.egress import Names, Upstream, ask, get, request


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    upstream = Upstream()
    server = await asyncio.start_server(upstream.serve, "127.0.0.1", 0)
    upstream.port = server.sockets[0].getsockname()[1]
    yield upstream
    server.close()


# -- the secret -------------------------------------------------------------------------------------------------------

SECRET = "a-secret-of-one-run"


def authorization(name: str = "testcast", password: str = SECRET) -> str:
    return "Proxy-Authorization: " + basic_credentials(name, password).decode()


@pytest.mark.parametrize("verb", ["GET http://a.example/", "CONNECT a.example:443", "GET nonsense", "POST ftp://x/"])
@pytest.mark.parametrize(
    "headers",
    [
        [],
        [authorization(password="")],
        [authorization(password=SECRET + "x")],
        [authorization(password=SECRET[:-1])],
        [authorization(name="root")],
        [authorization(), authorization(password="another")],
        ["Proxy-Authorization: Basic"],
        ["Proxy-Authorization: Bearer " + SECRET],
        ["Proxy-Authorization: Basic \xe9"],
        ["Authorization: Basic " + authorization().rpartition(" ")[2]],
    ],
)
async def test_who_does_not_name_the_secret_gets_407_and_no_work(verb: str, headers: list[str]) -> None:
    names, troubles = Names(["127.0.0.1"]), list[Trouble]()
    async with EgressProxy(judge_any, troubles.append, names, secret=SECRET) as proxy:
        answer = await ask(proxy, "\r\n".join([f"{verb} HTTP/1.1", "Host: a.example", *headers, "", ""]))
        assert proxy.statistics()[1:] == (0, 0, 0, 1)
        assert SECRET not in repr(proxy)
    assert answer.startswith(b"HTTP/1.1 407") and b'Proxy-Authenticate: Basic realm="testcast"' in answer
    assert SECRET.encode() not in answer and not names.asked and not troubles


async def test_who_names_the_secret_is_served_and_no_server_sees_it(upstream: Upstream) -> None:
    async with EgressProxy(judge_any, lambda _: None, Names(["127.0.0.1"]), secret=SECRET) as proxy:
        asked = request(authorization(), method="GET", target=f"http://a.example:{upstream.port}/")
        assert (await ask(proxy, asked, 12)) == b"HTTP/1.1 200"
    assert len(upstream.heads) == 1 and "authorization" not in upstream.heads[0].lower()


@pytest.mark.parametrize("status", ["407 Proxy Authentication Required", "407 x"])
async def test_a_server_cannot_ask_for_the_secret(upstream: Upstream, status: str) -> None:
    """A browser takes 407 for the proxy's own word, and would forget what the proxy accepts."""
    upstream.answer = f"HTTP/1.1 {status}\r\nProxy-Authenticate: Basic realm=x\r\nContent-Length: 0\r\n\r\n".encode()
    troubles: list[Trouble] = []
    async with EgressProxy(judge_any, troubles.append, Names(["127.0.0.1"])) as proxy:
        answer = await ask(proxy, get(f"http://a.example:{upstream.port}/"))
    assert answer.startswith(b"HTTP/1.1 502") and b"Authenticate" not in answer
    assert [each.code for each in troubles] == ["bad_answer"]


async def test_a_socket_that_listens_already(upstream: Upstream) -> None:
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    listening.listen()
    async with EgressProxy(judge_any, lambda _: None, Names(["127.0.0.1"]), listening=listening) as proxy:
        assert proxy.url.endswith(f":{listening.getsockname()[1]}")
        assert (await ask(proxy, get(f"http://a.example:{upstream.port}/"), 12)) == b"HTTP/1.1 200"
    assert listening.fileno() == -1


# -- hosts that are named ---------------------------------------------------------------------------------------------


def test_a_host_that_is_named_keeps_the_addresses_of_its_first_connection() -> None:
    judge = JudgeNamed(["own.example:8080"])
    judge("own.example", 8080, ["10.0.0.1", "10.0.0.2"])
    judge("own.example", 8080, ["10.0.0.2"])
    for port, addresses in (
        (8080, ["10.0.0.3"]),
        (8080, ["10.0.0.1", "127.0.0.1"]),
        (8080, ["169.254.169.254"]),
        (80, ["10.0.0.1"]),
    ):
        with pytest.raises(GameUrlRefused):
            judge("own.example", port, addresses)
    judge("other.example", 80, ["8.8.8.8"])
    judge("other.example", 80, ["9.9.9.9"])  # public names may change
    with pytest.raises(GameUrlRefused):
        judge("other.example", 80, ["10.0.0.1"])
    with pytest.raises(GameUrlRefused):
        JudgeNamed(["own.example"])("own.example", 80, ["fd00:ec2::254"])
