"""Profiles the edge: py-spy's flame graph of 1,000 viewers at 400 events a second, written to docs/profile.svg."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Final

from tests.bench import report
from tests.bench.compare import running
from tests.bench.edges import Edge
from tests.bench.programs import open_load, pour

_PY_SPY: Final = "py-spy==0.4.1"
_PICTURE: Final = Path(__file__).parents[2] / "docs" / "profile.svg"
_MAX_BYTES: Final = 150 * 1024
_VIEWERS: Final = 1_000
_PER_S: Final = 400


async def profile(programs: Path, quick: bool) -> str:
    """Records an edge while events flow. The publisher runs longer than the recording.

    Returns:
        An empty string: BENCHMARKS.md has no generated text for this part.

    Raises:
        SystemExit: py-spy failed, or the flame graph is too large.
    """
    spy = await asyncio.to_thread(_installed)
    seconds = 3 if quick else 10
    events = _PER_S * (seconds + 5)
    picture = programs / "profile.svg"
    async with running(Edge, programs) as edge, open_load(programs, *edge.viewers(), "-n", _VIEWERS) as crowd:
        await crowd.line(within_s=60)
        pouring = asyncio.create_task(pour(programs, *edge.publisher(), "-n", events, "-r", _PER_S))
        command = [spy, "record", "--pid", str(edge.pids()[0]), "--duration", str(seconds), "--rate", "200"]
        command += ["--function", "--nonblocking", "--output", str(picture)]
        for native in (["--native"], []):  # native frames show uvloop and the kernel; not every machine permits them
            recorder = await asyncio.create_subprocess_exec(
                *(command if not native else [each for each in command if each != "--nonblocking"] + native),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
            )
            _, words = await recorder.communicate()
            if recorder.returncode == 0 and picture.exists():
                break
        else:
            raise SystemExit(f"bench: py-spy: {words.decode()}")
        await pouring
        got = await crowd.received(events, within_s=20)
    report.say(f"profile: {picture.stat().st_size / 1024:.0f} KB, {'with' if native else 'without'} native frames")
    if got["least"] != events:
        report.say("some viewers did not have every event: the recorder stops the process for each sample")
    if picture.stat().st_size > _MAX_BYTES:
        raise SystemExit(f"bench: the flame graph is larger than {_MAX_BYTES} bytes and is not kept")
    if not quick:
        drawn = picture.read_text("utf-8").replace(str(Path(spy).parent) + "/", "")  # removes this machine's path
        _PICTURE.write_text(drawn, "utf-8")
    return ""


def _installed() -> str:
    """Installs py-spy into this environment if it is missing, since only this part needs it. Returns its path."""
    program = Path(sys.executable).with_name("py-spy")
    if not program.exists():
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", _PY_SPY]
        subprocess.run(pip, check=True)
    return str(program)
