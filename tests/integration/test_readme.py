"""The README's example is run as it stands; only the addresses are those of the test."""

from __future__ import annotations

import asyncio
import re
import sys
from pathlib import Path

import httpx

from tests.harness import EdgeProcess, until

README = Path(__file__).resolve().parents[2] / "README.md"


async def test_the_example_of_an_agent_of_ones_own(nats_edge: EdgeProcess, nats_server: object, tmp_path: Path) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    assert len([line for line in code.splitlines() if line.strip()]) <= 20
    script = tmp_path / "example.py"
    script.write_text(
        code.replace("nats://127.0.0.1:4222", nats_server.url)  # type: ignore[attr-defined]
        .replace("http://127.0.0.1:8000", nats_edge.url)
        .replace("asyncio.run(play())", "asyncio.run(play())\nasyncio.run(look(sys.argv[1])) if sys.argv[1:] else None")
        .replace("import asyncio", "import asyncio, sys")
    )

    async def run(*arguments: str) -> str:
        process = await asyncio.create_subprocess_exec(
            sys.executable, str(script), *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        output, _ = await process.communicate()
        assert process.returncode == 0, output.decode()
        return output.decode()

    test_id = (await run()).strip().rsplit("/", 1)[1]

    async def completed() -> dict[str, object] | None:
        async with httpx.AsyncClient() as client:
            test = (await client.get(f"{nats_edge.url}/rpc/getTest?testId={test_id}")).json()["test"]
        return test if test["status"] == "completed" else None

    test = await until(completed)
    assert (test["title"], test["score"], test["metrics"]) == ("My game", 78, {"fps": 60})
    seen = await run(test_id)
    for message in ("Loading level 1", "Level loaded", "Testing WASD movement"):
        assert message in seen
