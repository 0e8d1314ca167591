"""Asks a running edge, with schemathesis, everything that its OpenAPI document allows, and much that it does not.

No answer is a 500, and none is undocumented: its status, content type, headers and shape are those of the document.

    python -m tests.fuzz [--examples 500] [--seed 1]

The edges have a broker of their own, with runs in each state and a picture. The document that is asked is the one that
they serve, with the ids of these runs among the values of `testId`: nearly all others would be 404.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

import httpx

from broker.jetstream import topology
from broker.jetstream.connection import Connection
from broker.local.embedded_server import EmbeddedServer
from tests.harness import NO_SUCH_TEST, EdgeProcess, PatientStreams, begin, publish, store_picture
from tests.security.mint import Keys

CHECKS: Final = (
    *("not_a_server_error", "status_code_conformance", "content_type_conformance", "response_headers_conformance"),
    *("response_schema_conformance", "negative_data_rejection", "unsupported_method", "allow_header_conformance"),
)
UNLIMITED: Final = {
    f"TESTCAST_EDGE_{each}_PER_S": "0" for each in ("SUBMITS", "CANCELS", "PUBLISHES", "LISTS", "READS", "SIGN_INS")
}
"""A limit that is reached hides what is behind it; 429 is asked for by the tests of limits."""


async def prepare(nats_url: str) -> list[str]:
    """Stores a run that goes on, one that has ended, and one with messages that cannot be read. Returns their ids."""
    nats = await Connection.connect(nats_url, name="fuzz")
    try:
        await topology.apply(nats)
        streams = PatientStreams(nats)
        found = [await begin(streams, title) for title in ("On its way", "Done", "Odd")]
        await store_picture(streams, found[0])
        await publish(streams, found[0], "Playing", phase="phase2", data={"action": "left"})
        await publish(streams, found[1], "Over", "complete", data={"score": 61, "metrics": {"problems": []}})
        await publish(streams, found[2], "When?", timestamp="now")
        await publish(streams, found[2], "New", "shiny")
        return found
    finally:
        await nats.close()


def with_ids(openapi: dict[str, Any], test_ids: list[str]) -> dict[str, Any]:
    """The document with these among the values of every `testId`, and without what makes an answer wait."""

    def visit(node: Any) -> None:
        if isinstance(node, dict):
            if node.get("name") == "testId" and "schema" in node:
                node["schema"] = wanted(node["schema"])
            if isinstance(node.get("parameters"), list):
                node["parameters"] = [each for each in node["parameters"] if each.get("name") not in ("wait", "live")]
            properties = node.get("properties")
            if str(node.get("title")).endswith("Params") and isinstance(properties, dict) and "testId" in properties:
                properties["testId"] = wanted(properties["testId"])
            for each in node.values():
                visit(each)
        elif isinstance(node, list):
            for each in node:
                visit(each)

    def wanted(schema: Any) -> dict[str, Any]:
        return {"anyOf": [{"enum": test_ids}, {"enum": [*test_ids, NO_SUCH_TEST]}, schema]}

    visit(openapi)
    return openapi


def fuzz(url: str, openapi: dict[str, Any], examples: int, seed: int, folder: Path, *also: str) -> tuple[int, str]:
    """Asks the edge. Returns the exit status of schemathesis, 0 when it has found nothing, and what it has said."""
    path = folder / "openapi.json"
    path.write_text(json.dumps(openapi), "utf-8")
    command = [str(Path(sys.executable).parent / "schemathesis"), "run", str(path), "--url", url]
    command += ["--checks", ",".join(CHECKS), "--max-examples", str(examples), "--seed", str(seed), "--no-color"]
    command += ["--warnings", "off", "--continue-on-failure", *also]
    said = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    return said.returncode, said.stdout + said.stderr


async def main(examples: int, seed: int, also: list[str]) -> int:
    """Asks an open edge, then one with access control: with a token, and without one. Returns 0 if nothing is found."""
    failed = False
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        keys, session = Keys.make(), folder / "session.key"
        session.write_bytes(os.urandom(32))
        session.chmod(0o600)
        closed = {**keys.write(folder), "TESTCAST_ACCESS_SESSION_KEY_FILE": str(session)}
        token = keys.good("fuzz", projects="*", can=["list", "watch", "submit", "cancel", "publish", "delete", "admin"])
        async with EmbeddedServer(folder / "nats") as server:
            test_ids = await prepare(server.url)
            for what, settings, proof in (
                ("An open edge", {}, ()),
                ("With a token", closed, ("--header", f"Authorization: Bearer {token}")),
                ("Without a token", closed, ()),
            ):
                edge = await EdgeProcess(server.url, folder, **UNLIMITED, **settings).start()
                try:
                    failed |= await _ask(what, edge, test_ids, examples, seed, folder, [*proof, *also])
                finally:
                    await edge.stop()
    return int(failed)


async def _ask(
    what: str, edge: EdgeProcess, test_ids: list[str], examples: int, seed: int, folder: Path, also: list[str]
) -> bool:
    """Asks one edge. Returns whether something was found."""
    print(what)
    async with httpx.AsyncClient() as client:
        openapi = (await client.get(f"{edge.url}/openapi.json")).json()
    asked = with_ids(openapi, test_ids)
    status, said = await asyncio.to_thread(fuzz, edge.url, asked, examples, seed, folder, *also)
    print(said)
    errors = [line for line in edge.log.read_text("utf-8").splitlines() if "ERROR" in line]
    print("\n".join(errors) or "The edge has logged no error.")
    return status != 0 or bool(errors)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Asks a running edge everything that its OpenAPI document allows.")
    parser.add_argument("--examples", type=int, default=50, help="of each operation")
    parser.add_argument("--seed", type=int, default=random.randrange(2**31))
    known, others = parser.parse_known_args()
    print(f"seed {known.seed}")
    sys.exit(asyncio.run(main(known.examples, known.seed, others)))
