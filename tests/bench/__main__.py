"""Measures what fan-out costs. `make bench` runs the standard parts, `python -m tests.bench peers --quick` one part.

`python -m tests.bench simulate` computes the tables of docs/scale.md from the figures that were measured.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import os
import resource
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

import uvloop

from tests.bench import (
    alone,
    answers,
    broker,
    compare,
    deploy,
    frames,
    host,
    jitter,
    metrics,
    profile,
    projector,
    report,
    scenes,
    sockets_100k,
    streams,
    tokens,
)
from tests.bench.compare import SHORT_NAMES
from tests.bench.edges import EarlierEdge

Part = Callable[[argparse.Namespace, Path], Awaitable[str]]


async def _peers(options: argparse.Namespace, programs: Path) -> str:
    kinds = [SHORT_NAMES[name] for name in options.only.split(",")]
    if options.earlier is not None:
        EarlierEdge.checkout = options.earlier.resolve()
        kinds.append(EarlierEdge)
    rounds = options.rounds or (1 if options.quick else 3)
    rows = await compare.compare(programs, kinds, rounds, options.quick)
    return compare.tables(rows, rounds, options.quick)


async def _storm(options: argparse.Namespace, _programs: Path) -> str:
    await scenes.storm(*(options.numbers or [10_000]))
    return ""


async def _stalled(options: argparse.Namespace, _programs: Path) -> str:
    await scenes.stalled(*(options.numbers or [1_000, 15_000]))
    return ""


def _alone(scene: Callable[[Path, bool], Awaitable[str]]) -> Part:
    """Wraps a part that takes only the C programs and `--quick`."""
    return lambda options, programs: scene(programs, options.quick)


async def _sockets(options: argparse.Namespace, programs: Path) -> str:
    return await alone.sockets(programs, options.quick, options.minutes)


async def _sockets_100k(options: argparse.Namespace, programs: Path) -> str:
    return await sockets_100k.sockets_100k(programs, options.quick, options.minutes)


async def _access(options: argparse.Namespace, programs: Path) -> str:
    """Imported here, because the other parts need no keys."""
    return str(await importlib.import_module("tests.bench.access").access(programs, options.quick))


async def _metrics(options: argparse.Namespace, programs: Path) -> str:
    """What metrics cost."""
    if options.earlier is not None:
        EarlierEdge.checkout = options.earlier.resolve()
    return await metrics.metrics(programs, options.rounds or (2 if options.quick else 9), options.earlier is not None)


async def _pictures(options: argparse.Namespace, _programs: Path) -> str:
    """Imported here, because the other parts need no Chromium."""
    part = importlib.import_module("tests.bench.pictures").pictures
    return str(await part(options.rounds or (1 if options.quick else 3), options.quick, options.earlier))


async def _page(options: argparse.Namespace, programs: Path) -> str:
    """Imported here, because the other parts need no Playwright."""
    return str(await importlib.import_module("tests.bench.page").page(programs, options.quick, options.minutes))


async def _wall(options: argparse.Namespace, programs: Path) -> str:
    return str(await importlib.import_module("tests.bench.wall").wall(programs, options.quick, options.minutes))


async def _streams(options: argparse.Namespace, programs: Path) -> str:
    """Sockets beside streams over plain HTTP."""
    return await streams.streams(programs, options.rounds or (2 if options.quick else 7), options.quick)


async def _jitter_kills(options: argparse.Namespace, programs: Path) -> str:
    """Imported here, because the other parts need no fault kit."""
    return str(await importlib.import_module("tests.bench.jitter_kills").jitter_kills(programs, options.quick))


async def _cards(options: argparse.Namespace, programs: Path) -> str:
    """Imported here, because the other parts need no Playwright."""
    return str(await importlib.import_module("tests.bench.page").cards_in_thousands(programs, options.quick))


async def _projector(options: argparse.Namespace, programs: Path) -> str:
    """The list while very many runs are busy."""
    earlier = None if options.earlier is None else options.earlier.resolve()
    runs, seconds = options.numbers or ((1_000, 12) if options.quick else (10_000, 60))
    return await projector.projector(programs, runs, seconds, options.rounds or 1, earlier)


async def _recorder(options: argparse.Namespace, programs: Path) -> str:
    """Imported here, because the other parts need no Playwright."""
    return str(await importlib.import_module("tests.bench.recorder").recorder(programs, options.quick))


PARTS: dict[str, Part] = {
    "peers": _peers,
    "topics": _alone(alone.topics),
    "join": _alone(alone.join),
    "polls": _alone(alone.polling),
    "growth": _alone(alone.growth),
    "access": _access,
    "metrics": _metrics,
    "open": _alone(alone.opening),
    "tokens": _alone(tokens.tokens),
    "answers": _alone(answers.answers),
    "broker": _alone(broker.broker),
    "frames": _alone(frames.frames),
    "sockets": _sockets,
    "sockets-100k": _sockets_100k,
    "jitter": _alone(jitter.jitter),
    "jitter-kills": _jitter_kills,
    "projector": _projector,
    "deploy": _alone(deploy.deploy),
    "profile": _alone(profile.profile),
    "page": _page,
    "cards": _cards,
    "wall": _wall,
    "pictures": _pictures,
    "recorder": _recorder,
    "streams": _streams,
    "storm": _storm,
    "stalled": _stalled,
}
STANDARD = (
    "peers",
    "topics",
    "join",
    "polls",
    "growth",
    "open",
    "sockets",
    "sockets-100k",
    "jitter",
    "projector",
    "deploy",
    "profile",
)
"""The parts that `make bench` runs. The others run only when named."""
ON_BOTH_CORES = (
    *("storm", "stalled", "jitter-kills", "deploy", "sockets-100k"),
    *("page", "cards", "pictures", "recorder", "wall"),
)
"""The parts whose own processes share both cores; in the others the measured server has one for itself."""


def main() -> None:
    """Runs the requested parts in sequence."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("part", nargs="?", choices=PARTS, help=f"default: {', '.join(STANDARD)}")
    parser.add_argument(
        "numbers", nargs="*", type=int, help="storm: viewers; stalled: viewers, events; projector: runs, s"
    )
    parser.add_argument("--quick", action="store_true", help="a short check; does not write BENCHMARKS.md")
    parser.add_argument("--rounds", type=int, default=0, help="measurements per cell (default 3; with --quick 1)")
    parser.add_argument("--only", default=",".join(SHORT_NAMES), help="peers: only these, comma-separated")
    parser.add_argument(
        "--earlier", type=Path, help="peers, metrics, pictures, projector: adds a row for this checkout"
    )
    parser.add_argument("--minutes", type=float, default=0, help="sockets, sockets-100k, page, wall: how long")
    parser.add_argument("--print", action="store_true", help="print only; do not write BENCHMARKS.md")
    if sys.argv[1:2] == ["simulate"]:
        sys.exit(importlib.import_module("tests.bench.scale.tables").main(sys.argv[2:]))
    options = parser.parse_args()
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    uvloop.run(_run(options))


async def _run(options: argparse.Namespace) -> None:
    cores = os.sched_getaffinity(0)
    with tempfile.TemporaryDirectory(prefix="bench-programs-") as name:
        programs = Path(name)
        await asyncio.to_thread(host.build, programs)
        for part in [options.part] if options.part else STANDARD:
            if part in ON_BOTH_CORES:
                os.sched_setaffinity(0, cores)  # a part before it may have bound this process to the second one
            else:
                host.prepare()
            body = await PARTS[part](options, programs)
            if body:
                print(f"\n{body}\n", flush=True)
            if body and not options.quick and not options.print:
                report.write(part, body, f"python -m tests.bench {part}")


main()
