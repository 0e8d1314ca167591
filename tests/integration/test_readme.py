"""The README's examples are run as they stand; only the addresses are those of the test.

That its commands parse, `tests/unit/test_doc_commands.py` holds, for all pages.
"""

from __future__ import annotations

import asyncio
import re
import sys
from pathlib import Path

import httpx

from broker.local.embedded_server import EmbeddedServer
from testcast.cli.main import cli
from tests.harness import EdgeProcess, until

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()


async def test_the_examples_in_python(nats_edge: EdgeProcess, nats_server: EmbeddedServer, tmp_path: Path) -> None:
    agent, viewer = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len([line for line in agent.splitlines() if line.strip()]) <= 20

    async def run(code: str) -> str:
        script = tmp_path / "example.py"
        script.write_text(
            code.replace("nats://127.0.0.1:4222", nats_server.url).replace("http://127.0.0.1:8000", nats_edge.url)
        )
        process = await asyncio.create_subprocess_exec(
            sys.executable, str(script), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        output, _ = await process.communicate()
        assert process.returncode == 0, output.decode()
        return output.decode()

    test_id = (await run(agent)).strip().rsplit("/", 1)[1]

    async def completed() -> dict[str, object] | None:
        async with httpx.AsyncClient() as client:
            tests = (await client.get(f"{nats_edge.url}/rpc/listTests?status=completed")).json()["tests"]
        return tests[0] if tests else None

    test = await until(completed)
    assert (test["testId"], test["title"], test["score"], test["metrics"]) == (test_id, "My game", 78, {"fps": 60})
    seen = await run(viewer)
    assert seen.startswith("My game 78")
    for message in ("Loading level 1", "Level loaded", "Testing WASD movement"):
        assert message in seen


def test_the_readme_names_every_command() -> None:
    known = {name for name, command in cli.commands.items() if not command.hidden}
    assert known <= set(re.findall(r"[a-z-]+", README))
