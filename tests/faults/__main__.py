"""`python -m tests.faults --seed N --rounds N --length S`, or `--scenario NAME`. Exit status 1 on any violation."""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

from tests.faults import kit
from tests.faults.nemesis import KINDS
from tests.faults.scenarios import SCENARIOS
from tests.faults.world import Size


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
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep stores, logs and journals in DIR")
    for name, value in standard._asdict().items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(value), default=value)
    parser.add_argument("--scenario", choices=SCENARIOS, help="repeat one fault --rounds times and print its figures")
    args = parser.parse_args()
    size = Size(*(getattr(args, name) for name in Size._fields))
    kinds = [kind for kind in KINDS if not args.kind or any(words in kind for words in args.kind)]

    def say(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    with tempfile.TemporaryDirectory(prefix="testcast-faults-") as temporary:
        directory = args.keep or Path(temporary)
        if args.scenario is not None:
            return scenario(args.scenario, directory, args.seed, args.rounds)
        outcome = asyncio.run(
            kit.run(directory, size, seed=args.seed, rounds=args.rounds, length_s=args.length, kinds=kinds, say=say)
        )
    print(kit.table(outcome, size))
    return 0 if outcome.clean else 1


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
