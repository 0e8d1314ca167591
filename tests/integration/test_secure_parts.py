"""Each part under its own role on a secure broker: it works, nothing is denied to it, and it says what it lacks."""

from __future__ import annotations

import asyncio
import logging
import sys
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from types import ModuleType

import httpx
import pytest

from agent_worker.games.handle import GameJob, RunHandle, read_job
from agent_worker.publish.run import TestRun
from agent_worker.work.worker import Worker
from broker.contract import subjects
from broker.contract.errors import BrokerRefused, InvalidSetting, ServerNotStarted
from broker.contract.roles import Role
from broker.jetstream import kv, runs, topology
from broker.jetstream.api import Streams
from broker.jetstream.connection import Connection
from broker.jetstream.event_log import JetStreamLog
from broker.jetstream.standing import OF_AN_AGENT
from broker.jetstream.topology import Topology
from testcast import config
from testcast.client.events import Event
from testcast.client.known_runs import KnownRuns
from testcast.client.tail import Tail
from testcast.local import secure
from tests.command import Command, run
from tests.harness import EdgeProcess, begin, free_port, until
from tests.secure_broker import ROLES, secure_broker

JOB = runs.make_job("https://game.example/", "Game", 5, 7)


async def is_well(http: httpx.AsyncClient) -> bool:
    return bool((await http.get("/readyz")).json()["degraded"] == [])


async def player(played: RunHandle, _job: GameJob) -> None:
    await played.phase(2, "Playing")
    await played.complete(score=70, metrics={})


async def test_each_part_works_under_its_role_and_is_denied_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TESTCAST_NATS_MANAGE_STREAMS", "0")
    caplog.set_level(logging.INFO)
    async with secure_broker(tmp_path) as broker:
        edge = EdgeProcess(broker.server.url, tmp_path, **broker.settings(Role.EDGE))
        agent, reader = await broker.connect(Role.AGENT), await broker.connect(Role.READER)
        stop = asyncio.Event()
        worker = Worker(agent, player, read_job=read_job, name="w", concurrency=1)
        working = asyncio.create_task(worker.run(stop))
        try:
            await edge.start()
            async with httpx.AsyncClient(base_url=edge.url, trust_env=False) as http:
                answer = await http.post("/rpc/submitTest", json={"gameUrl": "http://127.0.0.1:9/"})
                test_id = answer.json()["testId"]
                tail = Tail(JetStreamLog(reader), test_id)
                told = [event.message async for event in tail if isinstance(event, Event)]
                assert told[-1].startswith("Test complete"), told
                async with TestRun.create(JetStreamLog(agent), title="Mine") as mine:
                    await mine.progress("One")
                    await mine.screenshot(b"\xff\xd8\xff jpeg")
                    await mine.complete(score=1)
                cancelled = (await http.post("/rpc/submitTest", json={"gameUrl": "http://127.0.0.1:9/"})).json()
                known = KnownRuns(JetStreamLog(reader), reader.address)

                async def are_listed() -> bool:
                    await known.refresh()
                    return {test_id, mine.test_id, cancelled["testId"]} <= {each.test_id for each in known.snapshots()}

                await until(are_listed)
                await known.close()

                async def is_folded() -> bool:
                    found = (await http.get("/rpc/getTest", params={"testId": mine.test_id})).json()
                    return bool(found.get("test", {}).get("status") == "completed")

                await until(is_folded)
                await until(partial(is_well, http))
        finally:
            stop.set()
            await working
            await edge.stop()
        asked = "consumer.create.kv_runs"  # a reader asks once whether it may make a consumer
        lines = [*edge.log.read_text().splitlines(), *(each.message for each in caplog.records)]
        assert not [line for line in lines if "does not permit" in line and asked not in line.lower()]
        for each in (agent, reader):
            await each.close()


async def test_a_part_that_makes_no_streams_names_what_an_operator_has_to_make(tmp_path: Path) -> None:
    async with secure_broker(tmp_path, declared=False) as broker:
        operator, agent = await broker.connect(Role.OPERATOR), await broker.connect(Role.AGENT)
        edge = EdgeProcess(broker.server.url, tmp_path, **broker.settings(Role.EDGE))
        edge.spawn()
        looks = Topology(agent, manages=False, uses=OF_AN_AGENT)
        try:
            with pytest.raises(BrokerRefused, match=r"it does not exist, and this part makes none .*testcast declare"):
                await looks.once()
            assert sorted(looks.problems) == ["EVENTS", "FRAMES", "JOBS", "workers"]
            async with httpx.AsyncClient(base_url=edge.url, trust_env=False) as http:

                async def says_so(names: str) -> bool:
                    try:
                        reasons = (await http.get("/readyz")).json()["degraded"]
                    except httpx.TransportError:
                        return False
                    return any(f"an operator has to declare it: {names}" in each for each in reasons)

                await until(partial(says_so, "EVENTS, FRAMES, JOBS"), within_s=20)
                made = (await topology.apply(operator)).made
                assert {"EVENTS", "JOBS", "FRAMES", "KV_RUNS", "KV_PINS", "projector", "workers"} <= set(made)
                await edge.until_ready()
                await looks.once()
                assert not looks.problems

                await until(partial(is_well, http), within_s=20)
                await Streams(operator, mends=False).api(f"STREAM.DELETE.{kv.stream(subjects.RUNS)}")
                await until(partial(says_so, "KV_RUNS"), within_s=20)
                await topology.apply(operator)
                await until(partial(is_well, http), within_s=20)
                await Streams(operator, mends=False).api(f"STREAM.DELETE.{subjects.JOBS}")
                assert not await looks.again(), "nobody makes it again"
                assert sorted(looks.problems) == ["JOBS", "workers"]
            assert "STREAM.CREATE" not in edge.log.read_text() and "does not permit" not in edge.log.read_text()
        finally:
            await edge.stop()
        for each in (operator, agent):
            await each.close()


async def test_streams_that_allow_rollups_are_changed_in_place(nats: Connection) -> None:
    streams = Streams(nats)
    test_id = await begin(streams)
    for name in ("EVENTS", "KV_RUNS", "FRAMES", "KV_PINS", "JOBS"):
        standing = (await streams.api(f"STREAM.INFO.{name}"))["config"]
        await streams.api(f"STREAM.UPDATE.{name}", standing | {"allow_rollup_hdrs": True, "metadata": {}})
    looks = Topology(nats, manages=False)
    with pytest.raises(BrokerRefused, match="allow_rollup_hdrs True -> False"):
        await looks.once()
    await topology.apply(nats)
    for name in ("EVENTS", "KV_RUNS", "FRAMES", "KV_PINS", "JOBS"):
        assert not (await streams.api(f"STREAM.INFO.{name}"))["config"].get("allow_rollup_hdrs")
    with pytest.raises(BrokerRefused, match="rollup"):
        await streams.store(subjects.events(test_id), b"{}", headers={"Nats-Rollup": "all"})
    await looks.once()


# -- the keys -------------------------------------------------------------------------------------------------------


def contents(directory: Path) -> dict[str, bytes]:
    return {str(each.relative_to(directory)): each.read_bytes() for each in directory.rglob("*") if each.is_file()}


def test_keys_are_made_once_and_are_their_owners(tmp_path: Path) -> None:
    access, now = secure.access_in(tmp_path / "access"), datetime.now(UTC)
    access.prepare(["localhost"], now)
    access.write_settings("nats.example", 4222)
    first = contents(access.directory)
    for name in first:
        private = name.endswith(("nkey", ".key", "env", "nats.conf"))
        assert (access.directory / name).stat().st_mode & 0o077 == (0 if private else 0o044), name
    assert access.directory.stat().st_mode & 0o077 == 0
    access.prepare(["localhost"], now + timedelta(days=100))
    assert contents(access.directory) == first
    access.prepare(["localhost"], now + timedelta(days=370))
    second = contents(access.directory)
    assert {name for name in first if first[name] != second[name]} == {"server/server.pem"}, "it was about to end"
    access.prepare(["nats.example"], now + timedelta(days=371))
    third = contents(access.directory)
    assert {name for name in first if third[name] != second[name]} == {"server/server.pem"}, "it has another name"
    access.prepare(["localhost", "nats.example"], now + timedelta(days=371))
    assert contents(access.directory) == third, "it has kept the names that it had"
    seeds = [first[f"{role.value}/nkey"].strip() for role in Role]
    assert len(set(seeds)) == len(seeds) and all(seed.startswith(b"SU") for seed in seeds)
    for name, content in third.items():
        if not name.endswith("nkey"):
            assert not any(seed in content for seed in seeds), f"a secret in {name}"


def test_a_key_that_cannot_be_used_is_named_and_left(tmp_path: Path) -> None:
    access = secure.access_in(tmp_path)
    access.prepare(["localhost"], datetime.now(UTC))
    (tmp_path / "edge" / "nkey").write_text("SUNONSENSE")
    with pytest.raises(ServerNotStarted, match="cannot be used") as refused:
        access.prepare(["localhost"], datetime.now(UTC))
    assert "NONSENSE" not in str(refused.value) and (tmp_path / "edge" / "nkey").read_text() == "SUNONSENSE"


def test_the_settings_of_a_part_name_files_and_its_own_inbox(tmp_path: Path) -> None:
    access = secure.access_in(tmp_path)
    for role in ROLES:
        found = access.settings(role, "tls://nats:4222")
        assert found["TESTCAST_NATS_INBOX_PREFIX"] == f"_INBOX_{role.value}"
        assert found["TESTCAST_NATS_MANAGE_STREAMS"] == ("1" if role is Role.OPERATOR else "0")
        assert Path(found["TESTCAST_NATS_NKEY"]).parent == tmp_path / role.value


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7"])
def test_a_broker_without_users_does_not_listen_beyond_this_machine(host: str) -> None:
    with pytest.raises(InvalidSetting, match=rf"testcast broker --secure --host {host}"):
        config.refuse_exposed_broker(host, {})
    config.refuse_exposed_broker(host, {"TESTCAST_INSECURE": "1"})
    for loopback in ("127.0.0.1", "::1", "localhost"):
        config.refuse_exposed_broker(loopback, {})


async def test_the_broker_command_refuses_makes_and_prints(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    refused = await run("broker", "--host", "0.0.0.0", TESTCAST_STATE_DIR=str(tmp_path))
    assert refused.code and "testcast broker --secure --host 0.0.0.0" in refused.err
    asked = ("broker", "--secure", "--keys", str(keys), "--name", "nats", "--print", "agent")
    printed = await run(*asked, TESTCAST_STATE_DIR=str(tmp_path))
    lines = dict(line.split("=", 1) for line in printed.out.splitlines())
    assert printed.code == 0 and lines["TESTCAST_NATS_URL"] == "tls://nats:4222"
    assert lines == dict(line.split("=", 1) for line in (keys / "agent" / "env").read_text().splitlines())


async def test_one_command_runs_everything_and_others_find_the_broker(tmp_path: Path) -> None:
    port, state = free_port(), {"TESTCAST_STATE_DIR": str(tmp_path)}
    async with Command("up", "--secure", "--agents", "0", "--port", str(port), **state) as everything:
        nats = (await everything.line("tls://127.0.0.1")).rsplit(":", 1)[1].strip()
        await everything.line("edge")
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as http:
            await until(partial(is_well, http))
        listed = await run("list", **state)
        assert listed.code == 0, listed
        refused = await run("list", "--nats", f"nats://127.0.0.1:{nats}", **state)
        assert refused.code == 3 and "certificate is not trusted" in refused.err, refused


def test_edges_use_the_files_of_token_init(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = ModuleType("access_files")
    vars(files)["access_settings"] = lambda directory: {"TESTCAST_STATE_DIR": str(directory / "keys.json")}
    monkeypatch.setitem(sys.modules, "testcast.local.access_files", files)
    monkeypatch.delenv("TESTCAST_STATE_DIR", raising=False)
    assert secure.settings_of_edges(tmp_path) == {}
    (tmp_path / "access").mkdir()
    (tmp_path / "access" / "keys.json").touch()
    assert secure.settings_of_edges(tmp_path) == {"TESTCAST_STATE_DIR": str(tmp_path / "access" / "keys.json")}
    monkeypatch.setenv("TESTCAST_STATE_DIR", "elsewhere")
    assert secure.settings_of_edges(tmp_path) == {}, "the environment says what they use"
