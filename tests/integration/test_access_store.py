"""The bucket of revocations, share links and used tickets, on a real broker."""

from __future__ import annotations

import asyncio

import pytest

from broker.contract import subjects
from broker.contract.errors import BadInput
from broker.jetstream import kv, topology
from broker.jetstream.access_store import AccessChange, AccessStore
from broker.jetstream.api import Streams
from broker.jetstream.connection import Connection
from tests.harness import until


async def test_one_of_many_creates_a_key(nats: Connection, streams: Streams) -> None:
    store = AccessStore(nats)
    made = await asyncio.gather(*(AccessStore(nats).create("used.abc", b"1", 30) for _ in range(8)))
    assert sorted(made) == [False] * 7 + [True]
    assert await store.get("used.abc") == b"1"
    await store.delete("used.abc", 30)
    assert await store.get("used.abc") is None
    assert not await store.create("used.abc", b"2", 30), "what was deleted is not new"
    for key in ("used.*", "used.>", "used", "used.a b", "used.a.b.c.d", "Used.a", "used.é"):
        with pytest.raises(BadInput):
            await store.get(key)
    config = (await streams.api(f"STREAM.INFO.{kv.stream(subjects.ACCESS)}"))["config"]
    assert config["allow_msg_ttl"] and config["allow_direct"] and config["max_msgs_per_subject"] == 1


async def test_an_entry_goes_when_its_lifetime_is_over(nats: Connection) -> None:
    store = AccessStore(nats)
    await store.put("revoked.short", b"1", 0.5)
    await store.put("revoked.long", b"1", None)
    await store.put("revoked.longest", b"1", 2.0**53)  # the end of a token that somebody has issued

    async def gone() -> bool:
        return await store.get("revoked.short") is None

    await until(gone)
    assert await store.get("revoked.long") == b"1"
    assert await store.get("revoked.longest") == b"1"
    assert await store.create("revoked.short", b"2", 30)


async def test_a_watcher_gets_all_and_is_told_of_another_bucket(nats: Connection, streams: Streams) -> None:
    await topology.apply(nats)
    store, seen, told = AccessStore(nats), list[AccessChange](), list[str]()
    await store.put("revoked.a", b"1", 60)
    watching = store.watch(seen.append, lambda: told.append("current"), lambda: told.append("reset"))
    task = asyncio.create_task(watching.run())
    try:
        await until(lambda: told == ["current"])
        await store.put("share.x.y", b"{}", 60)
        await until(lambda: len(seen) == 2)  # the bucket keeps the newest of a key: who is behind is told that alone
        await store.delete("share.x.y", 30)
        await until(lambda: len(seen) == 3)
        assert seen == [
            AccessChange("revoked.a", b"1"),
            AccessChange("share.x.y", b"{}"),
            AccessChange("share.x.y", None),
        ]
        await streams.api(f"STREAM.DELETE.{kv.stream(subjects.ACCESS)}")
        await store.put("revoked.b", b"1", 60)  # declares it again
        await until(lambda: seen[-1] == AccessChange("revoked.b", b"1"), within_s=20)
        assert "reset" in told
    finally:
        task.cancel()
