"""Runs the agent's trial: `python -m tests.trial fetch`, `run`, `look`, `summary`, `serve`, `side-by-side`."""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

from agent_worker.games.chromium.browser import Browser
from tests.trial import playing, tables
from tests.trial.catalogue import BUGS, UNCHANGED, Game, games
from tests.trial.looking import look
from tests.trial.packages import CannotFetch, brought_in
from tests.trial.served import serving, site

CACHE = Path.home() / ".cache" / "testcast" / "trial"


def main() -> int:
    """The command; returns its exit status."""
    given = _parser().parse_args()
    try:
        chosen = games(given.games)
        return int(given.do(given, chosen))
    except (CannotFetch, ValueError) as error:
        print(error, file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--games", nargs="*", default=[], help="names of games; all without it")
    shared.add_argument("--cache", type=Path, default=CACHE, help="where packages are kept (%(default)s)")
    kinds = [UNCHANGED, *BUGS]
    shared.add_argument(
        "--kinds", nargs="*", default=kinds, choices=kinds, help="unchanged and kinds of bug; all without it"
    )
    shared.add_argument("--results", type=Path, default=Path("trial-results"), help="folder of results (%(default)s)")
    parser = argparse.ArgumentParser(prog="python -m tests.trial", description=__doc__)
    commands = parser.add_subparsers(required=True)
    for name, do, says in (
        ("fetch", _fetch, "brings in the packages, and tries each change of their files"),
        ("serve", _serve, "serves one game, with a bug or without, to play it by hand"),
        ("look", _look, "plays a fixed round without the agent, to see that a game runs and a bug is in it"),
        ("summary", _summary, "prints the tables of the results"),
    ):
        command = commands.add_parser(name, parents=[shared], help=says)
        command.set_defaults(do=do)
        if name == "summary":
            command.add_argument("--into", type=Path, help="puts them between the marks of this file, as AGENT.md has")
        if name == "look":
            command.add_argument("--pictures", type=Path, help="folder for pictures of each round")
    run = commands.add_parser("run", parents=[shared], help="plays with the agent and writes a result for each run")
    run.set_defaults(do=_run)
    run.add_argument("--again", action="store_true", help="plays also what has a result already")
    run.add_argument("--jobs", type=int, default=1, help="runs at the same time (%(default)s)")
    run.add_argument("--repeat", type=int, default=1, help="equal runs of each")
    beside = commands.add_parser("side-by-side", parents=[shared], help="plays unchanged games at the same time")
    beside.set_defaults(do=_side_by_side)
    beside.add_argument("--runs", type=int, nargs="*", default=[1, 2, 3], help="how many at a time (%(default)s)")
    for command in (run, beside):
        command.add_argument("--budget", type=float, default=60.0, help="seconds a run (%(default)s)")
        command.add_argument("--seed", type=int, default=7)
        command.add_argument("--loads", type=int, default=0, help="other programs that keep a core busy")
    return parser


def _fetch(given: argparse.Namespace, chosen: Sequence[Game]) -> int:
    for game in chosen:
        for package in game.packages:
            brought_in(package, given.cache)
        for kind in game.kinds:
            made = site(game, kind, given.cache)
            for path in {game.entry, *(patch.file for patch in made.patches)}:
                made.answer(path)
        absent = [f"{kind}: {bug.absent}" for kind, bug in game.bugs.items() if bug.absent]
        print(f"{game.name}: {len(game.kinds) - 1} bugs{'; no ' if absent else ''}{'; no '.join(absent)}", flush=True)
    return 0


def _serve(given: argparse.Namespace, chosen: Sequence[Game]) -> int:
    if len(chosen) != 1 or len(given.kinds) != 1:
        raise ValueError("serve takes one game and one kind: --games breakout --kinds freeze")
    with serving(site(chosen[0], given.kinds[0], given.cache)) as url:
        print(f"{url.replace(' ', '%20')}  (Ctrl-C ends it)", flush=True)
        while True:
            time.sleep(3600)


def _look(given: argparse.Namespace, chosen: Sequence[Game]) -> int:
    if given.pictures:
        given.pictures.mkdir(parents=True, exist_ok=True)
    for game, kind in _wanted(chosen, given.kinds):
        print(game.name, kind, asyncio.run(look(game, kind, given.cache, given.pictures)), flush=True)
    return 0


def _summary(given: argparse.Namespace, chosen: Sequence[Game]) -> int:
    results = [each for each in playing.read(given.results) if each["kind"] in given.kinds]
    made = tables.summary(results, {game.name: game for game in chosen})
    if given.into:
        given.into.write_text(tables.put_into(given.into.read_text(encoding="utf-8"), made), encoding="utf-8")
    else:
        print(made)
    return 0


def _wanted(chosen: Sequence[Game], kinds: Sequence[str]) -> list[tuple[Game, str]]:
    return [(game, kind) for kind, game in product(kinds, chosen) if kind in game.kinds]


def _run(given: argparse.Namespace, chosen: Sequence[Game]) -> int:
    asyncio.run(_play_all(given, chosen))
    return 0


async def _play_all(given: argparse.Namespace, chosen: Sequence[Game]) -> None:
    every = product(range(given.repeat), _wanted(chosen, given.kinds))
    trials = [
        (playing.Trial(game.name, kind, given.budget, given.seed, given.loads, repeat), game)
        for repeat, (game, kind) in every
    ]
    waiting = [each for each in trials if given.again or not (given.results / each[0].name).exists()]
    async with playing.browser_for_trial() as browser:

        async def player() -> None:
            while waiting:
                trial, game = waiting.pop(0)
                found = await playing.played(trial, game, browser, given.cache)
                playing.write(trial, found, given.results)
                print(_line(found, game), flush=True)

        await asyncio.gather(*(player() for _ in range(given.jobs)))


def _line(found: dict[str, Any], game: Game) -> str:
    judged, told = tables.verdict_of(found, game), tables.controls_of(found, game)
    bug = "" if found["kind"] == UNCHANGED else (", bug told" if judged.told else ", bug MISSED")
    others = f", {len(judged.others)} to confirm" if judged.others else ""
    wrong = f", wrong controls: {', '.join(told.wrong)}" if told.wrong else ""
    missed = f", missed: {', '.join(told.missed)}" if told.missed and found["kind"] == UNCHANGED else ""
    failed = f", FAILED: {found['wrong'].strip().splitlines()[-1]}" if found["wrong"] else ""
    points = found["score"] if found["score"] is not None else found["failure"]
    return f"{game.name} {found['kind']}: {points} in {found['tookS']:.0f} s{bug}{others}{wrong}{missed}{failed}"


def _side_by_side(given: argparse.Namespace, chosen: Sequence[Game]) -> int:
    rows = asyncio.run(_beside(given, chosen))
    head = ["at a time", "runs", "seconds", "game seconds a second, all together", "controls found of all"]
    print(tables.table(head, rows))
    return 0


async def _beside(given: argparse.Namespace, chosen: Sequence[Game]) -> list[list[object]]:
    rows: list[list[object]] = []
    for number in given.runs:
        async with playing.browser_for_trial() as browser:
            waiting = list(chosen)
            results: list[tuple[Game, dict[str, Any]]] = []
            began = time.monotonic()

            async def player(waiting: list[Game], results: list[Any], browser: Browser = browser) -> None:
                while waiting:
                    game = waiting.pop(0)
                    trial = playing.Trial(game.name, UNCHANGED, given.budget, given.seed, given.loads, 0)
                    results.append((game, await playing.played(trial, game, browser, given.cache)))

            await asyncio.gather(*(player(waiting, results) for _ in range(number)))
            took_s = time.monotonic() - began
        told = [tables.controls_of(found, game) for game, found in results]
        right = sum(len(each.found) for each in told)
        there = right + sum(len(each.missed) for each in told)
        seconds = sum(float(found["metrics"].get("gameSeconds", 0)) for _, found in results)
        rows.append([number, len(results), round(took_s), f"{seconds / took_s:.1f}", f"{right} of {there}"])
        print(rows[-1], flush=True)
    return rows


if __name__ == "__main__":
    raise SystemExit(main())
