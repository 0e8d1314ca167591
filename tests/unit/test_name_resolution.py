"""Looking up the host names of games (broker/local/name_resolution.py): bounded, and closed when nothing is known."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator

import pytest

from broker.contract.errors import NotResolved
from broker.contract.url_policy import GameUrlRefused
from broker.local.name_resolution import Lookups, check_for_submit
from tests.harness import until

LONG_S = 30.0
SHORT_S = 0.05


class Resolver:
    """Answers names that begin with `slow` only when told to; `no.example` does not exist."""

    def __init__(self) -> None:
        self.answer = threading.Event()
        self.asked: list[str] = []

    def __call__(self, host: str, port: int) -> list[str]:
        self.asked.append(host)
        if host.startswith("slow"):
            self.answer.wait()
        if host == "no.example":
            raise socket.gaierror(socket.EAI_NONAME, "no such name")
        if host == "later.example":
            raise socket.gaierror(socket.EAI_AGAIN, "no name server answers")
        return ["10.0.0.1"] if host == "own.example" else ["8.8.8.8"]


@pytest.fixture
def resolver() -> Iterator[Resolver]:
    made = Resolver()
    yield made
    made.answer.set()


async def test_a_flood_of_slow_names_stalls_only_who_sends_it(resolver: Resolver) -> None:
    lookups = Lookups(resolver, at_once=40, each=4)
    flood = [asyncio.create_task(lookups.addresses(f"slow{n}.example", 80, "192.0.2.1", 1.0)) for n in range(120)]
    await until(lambda: len(resolver.asked) == 4)
    assert await lookups.addresses("a.example", 80, "192.0.2.2", LONG_S) == ["8.8.8.8"]
    for each in await asyncio.gather(*flood, return_exceptions=True):
        assert isinstance(each, NotResolved) and "try again" in each.message
    assert lookups.statistics() == (4, 120)  # the threads cannot be stopped, and go on counting
    with pytest.raises(NotResolved):
        await lookups.addresses("a.example", 80, "192.0.2.1", SHORT_S)
    resolver.answer.set()
    assert await lookups.addresses("a.example", 80, "192.0.2.1", LONG_S) == ["8.8.8.8"]
    await until(lambda: lookups.statistics().under_way == 0)


async def test_all_threads_together_have_a_bound(resolver: Resolver) -> None:
    lookups = Lookups(resolver, at_once=3, each=2)
    waiting = [asyncio.create_task(lookups.addresses("slow.example", 80, f"{n}", 1.0)) for n in range(9)]
    await until(lambda: all(each.done() for each in waiting))
    assert len(resolver.asked) == 3
    assert await lookups.addresses("127.0.0.1", 80, "another", SHORT_S) == ["127.0.0.1"]  # takes no thread
    await asyncio.gather(*waiting, return_exceptions=True)


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST", "a.localhost."])
async def test_localhost_is_judged_without_a_resolver(resolver: Resolver, host: str) -> None:
    """Also while every thread is taken by names that nobody answers."""
    lookups = Lookups(resolver, at_once=0)
    with pytest.raises(GameUrlRefused):
        await check_for_submit(f"http://{host}:3000/", allow_private=False, lookups=lookups)
    assert not resolver.asked


@pytest.mark.parametrize("url", ["http://127.1/", "http://[::1]/", "http://0x7f000001/", "http://own.example/"])
async def test_private_addresses_are_refused_at_submit(resolver: Resolver, url: str) -> None:
    with pytest.raises(GameUrlRefused):
        await check_for_submit(url, allow_private=False, lookups=Lookups(resolver))


@pytest.mark.parametrize("host", ["later.example"])
async def test_a_name_that_could_not_be_judged_is_refused(resolver: Resolver, host: str) -> None:
    with pytest.raises(NotResolved) as caught:
        await check_for_submit(f"http://{host}/", allow_private=False, lookups=Lookups(resolver))
    assert caught.value.code == "name_not_resolved"


async def test_a_name_that_does_not_exist_is_left_to_the_agent(resolver: Resolver) -> None:
    lookups = Lookups(resolver)
    assert await check_for_submit("http://no.example", allow_private=False, lookups=lookups) == "http://no.example/"


async def test_hosts_that_are_named(resolver: Resolver) -> None:
    lookups, hosts = Lookups(resolver), {"own.example:8080"}
    url = "http://own.example:8080/"
    assert await check_for_submit(url, allow_private=False, allowed_hosts=hosts, lookups=lookups) == url
    with pytest.raises(GameUrlRefused):
        await check_for_submit("http://own.example/", allow_private=False, allowed_hosts=hosts, lookups=lookups)


async def test_a_host_that_is_named_and_cannot_be_looked_up_is_left_to_the_agent(resolver: Resolver) -> None:
    """The agent is on the game's network, and this machine may reach no name server."""
    lookups, url = Lookups(resolver), "http://later.example:8080/"
    named = {"later.example:8080"}
    assert await check_for_submit(url, allow_private=False, allowed_hosts=named, lookups=lookups) == url
    with pytest.raises(NotResolved):
        await check_for_submit(url, allow_private=False, allowed_hosts={"later.example:80"}, lookups=lookups)


async def test_whoever_asks_no_more_does_not_free_the_thread(resolver: Resolver) -> None:
    lookups = Lookups(resolver, each=1)
    asking = asyncio.create_task(lookups.addresses("slow.example", 80, "a", LONG_S))
    await until(lambda: resolver.asked)
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    assert lookups.statistics().under_way == 1 and "under_way=1" in repr(lookups)
    resolver.answer.set()
    await until(lambda: lookups.statistics().under_way == 0)
