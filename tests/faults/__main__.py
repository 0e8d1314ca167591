"""`python -m tests.faults --seed N --rounds N --length S [--only NAME]`, or `--scenario NAME`, or `--sum FILES`.

The exit status is 1 on any violation.
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.faults import kit, results
from tests.faults.damage import DISK, NEW_STREAM
from tests.faults.nemesis import KINDS
from tests.faults.scenarios import SCENARIOS
from tests.faults.world import Size
from tests.full_disk import can_mount

_DISK_MIB = 96


def main() -> int:
    """Runs the command line. Returns the exit status."""
    standard = Size()
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=len(KINDS))
    parser.add_argument("--length", type=float, default=5.0, metavar="S", help="average duration of a fault")
    parser.add_argument(
        "--kind", action="append", metavar="WORDS", help="only kinds that contain WORDS; may be repeated"
    )
    parser.add_argument("--only", choices=KINDS, metavar="NAME", help="one kind of fault, by its whole name")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep stores, logs and journals in DIR")
    parser.add_argument("--result", type=Path, metavar="FILE", help="add the results to FILE, for --sum")
    parser.add_argument("--sum", type=Path, nargs="+", metavar="FILE", help="only sum the results of these files")
    for name, value in standard._asdict().items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(value), default=value)
    parser.add_argument("--scenario", choices=SCENARIOS, help="repeat one fault --rounds times and print its figures")
    args = parser.parse_args()
    if args.sum:
        return summed(args.sum)
    size = Size(*(getattr(args, name) for name in Size._fields))
    kinds = [kind for kind in KINDS if not args.kind or any(words in kind for words in args.kind)]
    if args.only is not None:
        kinds = [args.only]
    if shutil.which("cc") is None:
        kinds = [kind for kind in kinds if "clock" not in kind]

    def say(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    with tempfile.TemporaryDirectory(prefix="testcast-faults-") as temporary:
        directory = args.keep or Path(temporary)
        if args.scenario is not None:
            return scenario(args.scenario, directory, args.seed, args.rounds)
        clean = True
        for name, of_group, chosen in groups(size, kinds):
            rounds = args.rounds if len(chosen) == len(kinds) else max(1, args.rounds * len(chosen) // len(kinds))
            place = (directory / name, of_group)
            times = {"seed": args.seed, "rounds": rounds, "length_s": args.length}
            outcome = asyncio.run(kit.run(*place, **times, kinds=chosen, say=say))
            print(kit.table(outcome, of_group), flush=True)
            if args.result is not None:
                results.append(results.result_of(outcome, args.seed, name), args.result)
            clean = clean and outcome.clean
    return 0 if clean else 1


def summed(files: Sequence[Path]) -> int:
    """Prints the sum of these results. Returns 1 for a violation or a complaint, otherwise 0."""
    found = results.read(files)
    print(results.summed(found))
    return 0 if results.clean(found) else 1


def groups(size: Size, kinds: Sequence[str]) -> list[tuple[str, Size, list[str]]]:
    """The kinds that run in one world each: a name, the world's size, the kinds.

    Tails and pages do not say to which life of the stream an event belongs, so they do not watch a stream that is
    deleted. Where no small disk can be made, the kinds that need one are left out.
    """
    plain = [kind for kind in kinds if kind not in NEW_STREAM and kind not in DISK]
    found = [("plain", size, plain)]
    found.append(("new-stream", size._replace(tails=0, pages=0), [kind for kind in kinds if kind in NEW_STREAM]))
    if can_mount():
        found.append(("disk", size._replace(disk_mib=_DISK_MIB), [kind for kind in kinds if kind in DISK]))
    return [group for group in found if group[2]]


def scenario(name: str, directory: Path, seed: int, rounds: int) -> int:
    """Measures a scenario and prints its figures. Returns 1 for a violation or a missed promise, otherwise 0."""
    figures, verdict = asyncio.run(SCENARIOS[name](directory, seed, rounds))
    for figure in figures:
        print(figure)
    violations = [] if verdict is None else verdict.violations
    if verdict is not None:
        print(f"events acknowledged {verdict.acked}, deliveries {verdict.deliveries}, violations {len(violations)}")
    for each in violations[:40]:
        print(f"VIOLATION {each.what} ({each.where}): {each.detail}")
    return 0 if not violations and all(figure.kept for figure in figures) else 1


if __name__ == "__main__":
    sys.exit(main())
