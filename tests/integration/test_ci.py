"""`testcast submit` in a CI job: by itself, and in the steps of the GitHub action and the GitLab template."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.etree import ElementTree

import httpx
import pytest
import yaml

from broker.identity import new_test_id
from broker.jetstream import runs
from broker.jetstream.api import Streams
from broker.jetstream.event_log import JetStreamLog
from tests.command import Command, run, started
from tests.conftest import Stack
from tests.harness import begin, publish, until
from tests.integration.test_cli import way

CI = Path(__file__).resolve().parents[2] / "docs" / "ci"
GAME = "http://localhost:9/game"
PRIVATE = {"TESTCAST_AGENT_ALLOW_PRIVATE": "1"}


async def finish(streams: Streams, test_id: str, score: float) -> None:
    """Plays the run as an agent does."""
    await publish(streams, test_id, "Opening", "status", status="running", phase="phase1", data={"attempt": 1})
    data = {"kind": "console", "detail": "::error::x\n::set-output name=a::b ##[error]y"}
    await publish(streams, test_id, "::warning::z", phase="phase1", data=data)
    await publish(streams, test_id, "Done", "complete", phase="phase4", data={"score": score})


def cases(junit: Path) -> dict[str, bool]:
    """Each case of a JUnit file: whether it is a failure or an error."""
    found = ElementTree.parse(junit).getroot().iter("testcase")
    return {
        each.get("classname", ""): each.find("failure") is not None or each.find("error") is not None for each in found
    }


async def test_below_the_score_it_fails_and_leaves_every_report(
    stack: Stack, stack_streams: Streams, tmp_path: Path
) -> None:
    summary, output, junit = (tmp_path / name for name in ("summary", "output", "out.xml"))
    summary.write_text("before\n")
    files = {"GITHUB_STEP_SUMMARY": str(summary), "GITHUB_OUTPUT": str(output)}
    asked = ("--min-score", "80", "--junit", str(junit), "--github-summary", "--title", "Hopper")
    async with Command("submit", GAME, *asked, *way(stack, "edge"), **files) as command:
        test_id = (await command.note("test ")).split()[1]
        stop = await command.line("::stop-commands::")
        await finish(stack_streams, test_id, 78)
        result = await command.finish()
    assert result.code == 1
    lines = result.out.splitlines()
    ours = lines.index(f"::{stop.removeprefix('::stop-commands::')}::")
    said = [number for number, line in enumerate(lines) if "::warning::z" in line or "##[error]" in line]
    assert max(each for each in said if each < ours) < ours  # what the game says is said while commands are off
    assert lines[ours + 1].startswith("::error title=testcast%3A Hopper::score 78 of 100")
    assert "testcast.asked" in cases(junit)
    assert cases(junit)["testcast.asked"]
    assert not cases(junit)["testcast.run"]
    text = summary.read_text()
    assert text.startswith("before\n## ❌ Hopper")
    assert f"[{test_id}](<{stack.edge_url}/tests/{test_id}>)" in text
    assert (
        f"test-id={test_id}\npage={stack.edge_url}/tests/{test_id}\nstatus=completed\nscore=78\n" in output.read_text()
    )


async def test_a_run_that_does_not_end_is_cancelled_and_has_no_verdict(
    stack: Stack, stack_streams: Streams, tmp_path: Path
) -> None:
    junit = tmp_path / "out.xml"
    given = ("--timeout", "1", "--junit", str(junit), "--json", *way(stack, "nats"))
    result = await run("submit", GAME, *given, **PRIVATE)
    assert result.code == 4
    assert "not ended within 1 s" in result.err
    test_id = result.err.split()[1]
    found = await runs.read(JetStreamLog(stack_streams.nats), test_id)
    assert found.snapshot is not None
    assert found.snapshot.list_status == "cancelled"
    assert cases(junit)["testcast.asked"]


async def test_a_badge_shows_the_newest_score_and_caches_may_keep_it(stack: Stack, stack_streams: Streams) -> None:
    title = f"Badge {new_test_id()}"
    async with httpx.AsyncClient(base_url=stack.edge_url) as client:

        async def shown(text: str, named: str = title) -> httpx.Response | None:
            answer = await client.get(f"/badge/{quote(named, safe='')}.svg")
            assert (answer.status_code, answer.headers["content-type"]) == (200, "image/svg+xml")
            return answer if f">{text}</text>" in answer.text else None

        assert await shown("no runs") is not None
        test_id = await begin(stack_streams, title)
        await publish(stack_streams, test_id, "Done", "complete", data={"score": 78})
        answer = await until(lambda: shown("78/100"), within_s=20)
        assert f"<title>{title}: 78/100</title>" in answer.text
        assert answer.headers["cache-control"] == "public, max-age=60"
        assert answer.headers["cross-origin-resource-policy"] == "cross-origin"  # pages elsewhere show it
        again = await client.get(answer.url, headers={"if-none-match": answer.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        assert await shown("78/100", title.lower().replace(" ", "-")) is not None
        for path, status in (("x", 404), (".svg", 404), ("x.svg?project=No%20Such", 400), ("x.svg?style=flat", 400)):
            assert (await client.get(f"/badge/{path}")).status_code == status


async def test_what_cannot_be_reported_or_submitted_says_so(tmp_path: Path) -> None:
    gone, away = tmp_path / "none" / "out.xml", tmp_path / "out.xml"
    refused = await run("submit", GAME, "--junit", str(gone), "--nats", "nats://127.0.0.1:1", **PRIVATE)
    assert (refused.code, "there is no directory" in refused.err) == (2, True)
    lost = await run("submit", GAME, "--junit", str(away), "--nats", "nats://127.0.0.1:1", **PRIVATE)
    assert lost.code == 3
    assert cases(away)["testcast.run"]


def steps(name: str) -> tuple[str, dict[str, str]]:
    """The shell text of a file of `docs/ci`, and the variables that it gives the shell."""
    text = yaml.safe_load((CI / name).read_text())
    if name == "gitlab.yml":
        job = text[".testcast"]
        return "\n".join([*job["before_script"], *job["script"]]), job["variables"]
    assert text["runs"]["using"] == "composite"
    inputs = {key: each.get("default", "") for key, each in text["inputs"].items()}
    env: dict[str, str] = {}
    for step in text["runs"]["steps"]:
        assert step["shell"] == "bash"
        assert "${{" not in step["run"]  # an expression would put a stranger's text into the script
        for variable, value in step["env"].items():
            env[variable] = inputs[value.removeprefix("${{ inputs.").removesuffix(" }}")]
    install, test = (step["run"] for step in text["runs"]["steps"])
    return f"({install})\n{test}", env


@pytest.mark.parametrize(("name", "score", "status"), [("action.yml", 90, 0), ("gitlab.yml", 70, 1)])
async def test_the_steps_of_the_templates_run(
    stack: Stack, stack_streams: Streams, tmp_path: Path, name: str, score: float, status: int
) -> None:
    script, variables = steps(name)
    given = {"GAME_URL": GAME, "EDGE_URL": stack.edge_url, "MIN_SCORE": "80", "EDGE_TOKEN": "a.b.c" * 8}
    given |= {"RUN_LABELS": "a=b c\n", "GITHUB_SHA": "4f9c2d3e8a51", "GITHUB_REF_NAME": "feature/$(id)"}
    given |= {"CI_COMMIT_SHORT_SHA": "4f9c2d3e8a51", "CI_COMMIT_REF_NAME": "feature/$(id)"}
    given |= {"GITHUB_STEP_SUMMARY": str(tmp_path / "summary"), "JUNIT_FILE": "report.xml", "TMPDIR": str(tmp_path)}
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**variables, **given, "PATH": path, "HOME": str(tmp_path)}
    how: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "limit": 1 << 20}
    async with (
        asyncio.timeout(60),
        started("bash", "-e", "-c", script, cwd=tmp_path, env=environment, **how) as process,
    ):
        assert process.stderr is not None
        while not (line := (await process.stderr.readline()).decode()).startswith("test "):
            assert line, await process.communicate()
        test_id = line.split()[1]
        await finish(stack_streams, test_id, score)
        _, errors = await process.communicate()
        found_files = await asyncio.to_thread(os.listdir, tmp_path)
    assert process.returncode == status, errors.decode()
    assert cases(tmp_path / "report.xml")["testcast.asked"] == (status != 0)
    found = (await runs.read(JetStreamLog(stack_streams.nats), test_id)).snapshot
    assert found is not None
    labels: dict[str, Any] = {"branch": "feature/$(id)", "commit": "4f9c2d3e8a51"}
    assert found.labels == labels | ({"a": "b c"} if name == "action.yml" else {})
    assert not any(each.startswith("tmp.") for each in found_files)  # the token's file is gone


async def test_several_seeds_are_followed_together_and_judged_by_their_median(
    stack: Stack, stack_streams: Streams, tmp_path: Path
) -> None:
    junit = tmp_path / "out.xml"
    asked = ("--seeds", "3", "--min-score", "85", "--junit", str(junit), "--json", "--label", "commit=abc")
    async with Command("submit", GAME, *asked, *way(stack, "nats"), **PRIVATE) as command:
        ids = [(await command.note(f"seed {seed}: test ")).split()[3] for seed in (1, 2, 3)]
        labels = []
        for test_id, score in zip(ids, (90, 70, 84), strict=True):
            found = await runs.read(JetStreamLog(stack_streams.nats), test_id)
            assert found.snapshot is not None
            labels.append(found.snapshot.labels)
            await finish(stack_streams, test_id, score)
        result = await command.finish()
    assert result.code == 1  # the median is 84
    told = json.loads(result.out)
    assert (told["median"], told["spread"], told["exitStatus"]) == (84, 20, 1)
    assert [(each["seed"], each["testId"], each["score"]) for each in told["runs"]] == [
        (1, ids[0], 90),
        (2, ids[1], 70),
        (3, ids[2], 84),
    ]
    assert labels[0] == labels[1] == labels[2] and set(labels[0] or {}) == {"commit", "seeds"}
    assert cases(junit)["testcast.asked"]


async def test_one_seed_and_several_are_not_given_together() -> None:
    result = await run("submit", GAME, "--seed", "3", "--seeds", "3", "--nats", "nats://127.0.0.1:1", **PRIVATE)
    assert (result.code, "only one of them" in result.err) == (2, True)
