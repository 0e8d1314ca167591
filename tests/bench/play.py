"""Plays one game for a broker of its own and prints what the agent took, as JSON. `pictures.py` runs it.

    python tests/bench/play.py demo 30

Runs with the code on `PYTHONPATH`, whichever version that is.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

from agent_worker.games.chromium.browser import Browser
from agent_worker.games.handle import GameJob
from agent_worker.games.player import play
from agent_worker.publish.run import TestRun
from broker.jetstream import topology
from broker.jetstream.api import Streams
from broker.jetstream.connection import Connection
from broker.jetstream.event_log import JetStreamLog
from broker.local.embedded_server import EmbeddedServer
from tests.games.playing import OnlyThese, game_server

_ONE_SQUARE: Final = """<body style="margin:0"><canvas id=c width=1280 height=720></canvas><script>
  const x = c.getContext("2d"); let at = 600;
  addEventListener("keydown", (e) => { if (e.key === "ArrowLeft") at -= 60; if (e.key === "ArrowRight") at += 60; });
  (function f() { x.fillStyle = "#124"; x.fillRect(0, 0, 1280, 720);
    x.fillStyle = "#fd5"; x.fillRect(at, 300, 90, 90); requestAnimationFrame(f); })();
</script>"""
_ALL_MOVES: Final = """<body style="margin:0"><canvas id=c width=1280 height=720></canvas><script>
  const x = c.getContext("2d"); let n = 0; addEventListener("keydown", () => { n += 40; });
  (function f() { n += 1; for (let i = 0; i < 36; i++) for (let j = 0; j < 64; j++) {
    x.fillStyle = `hsl(${(i * 37 + j * 91 + n * 3) % 360} 70% ${30 + (i * j + n) % 50}%)`;
    x.fillRect(j * 20, i * 20, 20, 20); }
    requestAnimationFrame(f); })();
</script>"""
GAMES: Final = {"demo": "", "one square": _ONE_SQUARE, "all moves": _ALL_MOVES}


async def _played(game: str, budget_s: float) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as store, game_server() as server:
        url = server.page("/game.html", GAMES[game]) if GAMES[game] else f"{server.url}/index.html"
        async with EmbeddedServer(Path(store)) as broker, Browser(judge=OnlyThese(server.port)) as browser:
            nats = await Connection.connect(broker.url, name="bench")
            await topology.apply(nats)
            before, began = _cpu_s(), time.monotonic()
            async with TestRun.create(JetStreamLog(nats), title=game) as run:
                await play(run, browser, GameJob(run.test_id, url, budget_s, 7))
            used, took = _cpu_s() - before, time.monotonic() - began
            statistics, streams = run.statistics(), Streams(nats, mends=False)
            found = {"cpu_s": used, "seconds": took, "pictures": statistics.screenshots, "events": statistics.stored}
            for stream, name in (("FRAMES", "picture_bytes"), ("EVENTS", "event_bytes")):
                try:
                    found[name] = (await streams.api(f"STREAM.INFO.{stream}"))["state"]["bytes"]
                except Exception:  # of an earlier version, which has no such stream
                    found[name] = 0
            await nats.close()
    return found


def _cpu_s() -> float:
    own = resource.getrusage(resource.RUSAGE_SELF)
    return own.ru_utime + own.ru_stime


if __name__ == "__main__":
    print(json.dumps(asyncio.run(_played(sys.argv[1], float(sys.argv[2])))))
