"""`clients/js` as it is installed: what is in it, its types, and a run watched with it in Node."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path

import pytest

from broker.jetstream.api import Streams
from tests.command import started
from tests.conftest import Stack
from tests.harness import begin, publish
from tests.npm import CLIENTS, NODE, ROOT, TOOLS, install, run_node
from tests.proxy import Proxy

TSC = TOOLS / "typescript/bin/tsc"
CONFIG = {
    "compilerOptions": {
        "strict": True,
        "noEmit": True,
        "module": "nodenext",
        "target": "es2023",
        "lib": ["es2023", "dom"],
        "types": [],
    },
    "files": ["consumer.mts", "example.mts"],
}


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, set[str]]:
    """The folder of the installed package, and its files."""
    return install("js", tmp_path_factory.mktemp("js"))


async def test_the_package_is_the_client_of_the_page_with_its_types(package: tuple[Path, set[str]]) -> None:
    folder, files = package
    modules = {path for path in files if path.endswith(".js")}
    assert files - modules == {"package.json", "README.md", "LICENSE", "dist/testcast.d.ts"}
    assert {"dist/testcast.js", "dist/connection.js", "dist/stream.js"} < modules
    for name in (*modules, "dist/testcast.d.ts"):
        assert (folder / name).read_bytes() == (ROOT / "dashboard_ui/client" / Path(name).name).read_bytes()
    version = re.search(r'^version = "(.+)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert version is not None and json.loads((folder / "package.json").read_text())["version"] == version[1]
    consumer = (ROOT / "tests/node/consumer.ts").read_text()
    consumer, replaced = re.subn('"[./]+/dashboard_ui/testcast.js"', '"@testcast/client"', consumer)
    assert replaced == 1
    example = re.search("```js\n(.+?)```", (CLIENTS / "js/README.md").read_text(), re.DOTALL)
    assert example is not None
    (folder.parents[2] / "consumer.mts").write_text(consumer)
    (folder.parents[2] / "example.mts").write_text(example[1].replace("viewer.run(testId)", "viewer.run(testId)!"))
    (folder.parents[2] / "tsconfig.json").write_text(json.dumps(CONFIG))
    assert await run_node(TSC, "-p", folder.parents[2]) == (0, "")


async def test_node_watches_a_run_with_a_socket_another_socket_and_none(
    package: tuple[Path, set[str]], stack: Stack, stack_streams: Streams
) -> None:
    """Cut off in the middle, to the end; then again from the middle."""
    test_id = await begin(stack_streams)
    async with Proxy(stack.edge.port) as proxy:
        watch = (NODE, ROOT / "tests/integration/watch_package.mjs", package[0], proxy.url, test_id, TOOLS)
        async with asyncio.timeout(60), started(*watch, stdout=asyncio.subprocess.PIPE) as process:
            assert process.stdout is not None
            assert sorted([await process.stdout.readline() for _ in range(3)])[1] == b"stream began\n"
            await publish(stack_streams, test_id, "half")
            proxy.cut()
            await publish(stack_streams, test_id, "while away")
            last = await publish(stack_streams, test_id, "Test complete! Score 78/100", "complete", data={"score": 78})
            told = json.loads(await process.stdout.read())
    expected = told["socket"]["seqs"]
    assert (len(expected), expected[-1]) == (5, last.seq)
    for way in told.values():
        assert (way["seqs"], way["after"], way["status"], way["score"]) == (expected, expected[3:], "completed", 78)
    assert "streaming" in told["stream"]["carriers"] and "live" not in told["stream"]["carriers"]
    assert "live" in told["socket"]["carriers"] and "live" in told["ws"]["carriers"]
