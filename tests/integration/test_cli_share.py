"""`testcast share` through an edge with authentication."""

from __future__ import annotations

import time
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import orjson

from broker.jetstream.api import Streams
from testcast import list_runs
from testcast.local import access_files
from tests.command import run
from tests.conftest import MakeEdge
from tests.harness import begin, until


async def test_share_links(make_edge: MakeEdge, streams: Streams, tmp_path: Path) -> None:
    access_files.make(tmp_path / "access", time.time())
    edge = await make_edge(**access_files.access_settings(tmp_path / "access"))
    test_id, file = await begin(streams), tmp_path / "access" / access_files.TOKEN
    admin = access_files.read_token(file)

    async def is_listed() -> bool:  # the beginning of an id stands for a run that the edge knows
        return test_id in [each.test_id for each in await list_runs(edge.url, token=admin)]

    await until(is_listed)
    options = ["--edge", edge.url, "--token-file", str(file)]
    made = await run("share", test_id[:18], "--for", "2h", "--json", *options)
    assert made.code == 0, made.err
    told = orjson.loads(made.out)
    link = urlsplit(told["link"])
    assert told["link"].startswith(f"{edge.url}/tests/{test_id}#share=")
    assert 7000 < told["expiresAt"] / 1000 - time.time() < 7300
    plain = await run("share", test_id, *options)
    assert (plain.code, plain.out.count("#share=")) == (0, 1)
    assert "--revoke" in plain.err
    listed = await run("share", test_id, "--list", "--json", *options)
    shares = [orjson.loads(line) for line in listed.out.splitlines()]
    assert told["shareId"] in [each["shareId"] for each in shares]
    assert len(shares) == 2
    assert link.fragment.partition("=")[2] not in listed.out
    opening = {"testId": test_id, "secret": link.fragment.partition("=")[2]}
    async with httpx.AsyncClient(base_url=edge.url, headers={"origin": edge.url}) as client:
        assert (await client.post("/rpc/openShare", json=opening)).status_code == 200
        ended = await run("share", test_id, "--revoke", told["shareId"], *options)
        assert (ended.code, ended.out) == (0, f"ended {told['shareId']}\n")

        async def gone() -> bool:
            return (await client.post("/rpc/openShare", json=opening)).status_code == 404

        await until(gone)


async def test_without_a_token_or_with_nonsense(make_edge: MakeEdge, streams: Streams, tmp_path: Path) -> None:
    access_files.make(tmp_path / "access", time.time())
    edge = await make_edge(**access_files.access_settings(tmp_path / "access"))
    test_id = await begin(streams)
    refused = await run("share", test_id, "--edge", edge.url)
    assert (refused.code, refused.out) == (2, "") or refused.code == 1, refused
    assert "#share=" not in refused.out
    wrong = await run("share", test_id, "--for", "soon", "--edge", edge.url)
    assert (wrong.code, wrong.out) == (2, "")
    assert "no length of time" in wrong.err
    long = await run("share", test_id, "--for", "91d", "--edge", edge.url)
    assert (long.code, long.out) == (2, "") and "60 seconds to 90 days" in long.err
    own = ["--edge", edge.url, "--token-file", str(tmp_path / "access" / access_files.TOKEN)]
    missing = await run("share", test_id, "--revoke", "c70f1eb845ad511b", *own)
    assert missing.code == 2 and "it has no link 'c70f1eb845ad511b' that works" in missing.err
    both = await run("share", test_id, "--list", "--for", "2h", "--edge", edge.url)
    assert both.code == 2
