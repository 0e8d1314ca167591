"""What fan-out costs: `make bench`, or a part alone: `python -m tests.bench peers --quick`."""

from __future__ import annotations

import argparse
import asyncio
import importlib
import resource
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

import uvloop

from tests.bench import alone, compare, host, profile, report, scenes
from tests.bench.peers import SHORT_NAMES, EarlierEdge

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
    """One of the edge's own scenes."""
    return lambda options, programs: scene(programs, options.quick)


async def _sockets(options: argparse.Namespace, programs: Path) -> str:
    return await alone.sockets(programs, options.quick, options.minutes)


async def _page(options: argparse.Namespace, programs: Path) -> str:
    """The browser's part, by itself: the others do without Playwright."""
    return str(await importlib.import_module("tests.bench.page").page(programs, options.quick, options.minutes))


PARTS: dict[str, Part] = {
    "peers": _peers,
    "topics": _alone(alone.topics),
    "join": _alone(alone.join),
    "polls": _alone(alone.polling),
    "growth": _alone(alone.growth),
    "open": _alone(alone.opening),
    "sockets": _sockets,
    "profile": _alone(profile.profile),
    "page": _page,
    "storm": _storm,
    "stalled": _stalled,
}
STANDARD = ("peers", "topics", "join", "polls", "growth", "open", "sockets", "profile")
"""What `make bench` runs; the others have to be asked for."""


def main() -> None:
    """Runs the parts asked for, one after the other."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("part", nargs="?", choices=PARTS, help=f"without it: {', '.join(STANDARD)}")
    parser.add_argument("numbers", nargs="*", type=int, help="storm: viewers; stalled: viewers, events")
    parser.add_argument("--quick", action="store_true", help="shorter and once: to see that it works; writes no page")
    parser.add_argument("--rounds", type=int, default=0, help="how often each cell is measured (3; quick: 1)")
    parser.add_argument("--only", default=",".join(SHORT_NAMES), help="peers: these, comma-separated")
    parser.add_argument("--earlier", type=Path, help="peers: a checkout of an earlier commit, as a row of its own")
    parser.add_argument("--minutes", type=float, default=0, help="sockets, page: how long they are held, or it stands")
    parser.add_argument("--print", action="store_true", help="write no page")
    options = parser.parse_args()
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    uvloop.run(_run(options))


async def _run(options: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory(prefix="bench-programs-") as name:
        programs = Path(name)
        await asyncio.to_thread(host.build, programs)
        for part in [options.part] if options.part else STANDARD:
            if part not in ("storm", "stalled", "page"):  # these are many processes themselves
                host.prepare()
            body = await PARTS[part](options, programs)
            if body:
                print(f"\n{body}\n", flush=True)
            if body and not options.quick and not options.print:
                report.write(part, body, f"python -m tests.bench {part}")


main()
