"""docs/examples/curl.sh for real: a client of bash and curl alone, which loses its connection and resumes."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.command import inherited, started
from tests.conftest import Stack
from tests.harness import STALL_S
from tests.proxy import Proxy, Rewrite
from tests.tools import debian_tool

SCRIPT = Path(__file__).resolve().parents[2] / "docs" / "examples" / "curl.sh"


class Remembers(Rewrite):
    """Keeps the heads of all requests."""

    def __init__(self) -> None:
        self.heads: list[str] = []

    def __call__(self, head: bytes) -> bytes | None:
        self.heads.append(head.decode())
        return super().__call__(head)


async def test_bash_and_curl_publish_follow_and_resume(stack: Stack) -> None:
    debian_tool("curl")
    heads = Remembers()
    async with Proxy(stack.edge.port, rewrite=heads) as proxy:
        pipe = asyncio.subprocess.PIPE
        run = started("bash", SCRIPT, proxy.url, env=inherited(), stdout=pipe, stderr=pipe)
        async with asyncio.timeout(3 * STALL_S), run as script:
            out, errors = (said.decode() for said in await script.communicate())
    assert script.returncode == 0, out + errors
    page, *lines, verdict = out.splitlines()
    assert verdict == "7 events over 2 streams: each once, in order", out
    assert [line.split()[-1] for line in lines] == ["Started", "Loading", "one", "cut", "two", "three", "four", "Done"]
    streams = [head for head in heads.heads if "text/event-stream" in head]
    assert len(streams) == 2 and "Last-Event-ID" not in streams[0], streams
    third = lines[2].split()[0]
    assert f"Last-Event-ID: {third}\r\n" in streams[1] and page.startswith(f"{proxy.url}/tests/")
