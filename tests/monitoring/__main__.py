"""Causes every alert on a running system: `make monitoring`. Takes about ten minutes; `--only NAME` runs one scene."""

from __future__ import annotations

import argparse
import asyncio
import importlib
import resource
import shutil
import sys
import tempfile
import time
from contextlib import AsyncExitStack
from pathlib import Path

from tests.monitoring import files
from tests.monitoring.scenes import LONG, SCENES, Scene, empty_queries, unread_metrics
from tests.monitoring.world import World, world

debian = importlib.import_module("scripts.debian")  # the scripts are no package: each is run by itself


def say(text: str) -> None:
    """Prints one line."""
    print(time.strftime("%H:%M:%S"), text, flush=True)


def _prometheus() -> str:
    """Its path.

    Raises:
        SystemExit: it is missing and cannot be installed.
    """
    if shutil.which("prometheus") is None:
        debian.install("prometheus")
    return shutil.which("prometheus") or sys.exit("needs prometheus (Debian and Ubuntu: package prometheus)")


async def run(scenes: list[Scene], directory: Path) -> list[str]:
    """Runs the scenes. Returns what was not as it should be."""
    wrong: list[str] = []
    async with world(_prometheus(), directory, LONG) as made:
        wrong += [f"no value: {each}" for each in await empty_queries(made)]
        say(f"{len(list(files.queries()))} queries of the dashboard, {len(wrong)} without a value")
        wrong += [f"nobody shows {each}" for each in await unread_metrics(made)]
        for scene in scenes:
            wrong += await _caused(made, scene)
        wrong += await made.prometheus.problems()
    return wrong


async def _caused(made: World, scene: Scene) -> list[str]:
    wrong = []
    already = {name for name in scene.alerts if await made.prometheus.firing(name)}
    started = time.monotonic()
    async with AsyncExitStack() as stack:
        await scene.cause(made, stack)
        for name in scene.alerts:
            try:
                await made.fires(name, scene.within_s)
            except AssertionError:
                wrong.append(f"{scene.name}: {name} does not fire")
                say(f"{scene.name}: {name} DOES NOT FIRE")
                continue
            alert = await made.prometheus.firing(name)
            text = "" if alert is None else f": {alert.summary}. {alert.description}"
            note = " (fired before already)" if name in already else ""
            say(f"{scene.name}: {name} after {time.monotonic() - started:.0f} s{note}{text}")
    return wrong


def main() -> int:
    """Returns the exit status: 0 when every alert has fired."""
    parser = argparse.ArgumentParser(prog="python -m tests.monitoring", description=__doc__)
    parser.add_argument("--only", default="", help="scenes whose name or alerts contain this")
    only = parser.parse_args().only
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    chosen = [each for each in SCENES if only in each.name or any(only in name for name in each.alerts)]
    with tempfile.TemporaryDirectory(prefix="monitoring-") as name:
        wrong = asyncio.run(run(chosen, Path(name)))
    for each in wrong:
        say(f"wrong: {each}")
    fired = {name for scene in chosen for name in scene.alerts}
    say(f"{len(fired)} alerts of {len(files.alerts())} caused, {len(wrong)} things wrong")
    return 1 if wrong else 0


sys.exit(main())
