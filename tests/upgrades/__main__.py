"""`python -m tests.upgrades [--brokers 3] [--sockets N] …`: the upgrade and the rollback, with figures.

The exit status is 1 on any violation.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

from tests.upgrades import rolling
from tests.upgrades.versions import NoHistory, previous, today
from tests.upgrades.world import Size


def main() -> int:
    """Runs the command line. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.upgrades", description=__doc__)
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep stores, logs and journals in DIR")
    for name, value in Size()._asdict().items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(value), default=value)
    args = parser.parse_args()
    size = Size(*(getattr(args, name) for name in Size._fields))
    with tempfile.TemporaryDirectory(prefix="testcast-upgrades-") as made:
        directory = args.keep or Path(made)
        try:
            old = previous(directory / "previous")
        except NoHistory as error:
            print(error)
            return 1
        outcome = asyncio.run(rolling.run(directory, size, old, today(), lambda line: print(line, flush=True)))
    verdict = outcome.verdict
    print(f"changed on the broker: {outcome.changed or 'nothing'}")
    print(
        f"{outcome.took_s:.0f} s; events acknowledged {verdict.acked}, stored {verdict.stored}, "
        f"deliveries {verdict.deliveries}; lost {verdict.count('lost')}, duplicated {verdict.count('duplicated')}, "
        f"out of order {verdict.count('out of order')}, resets {verdict.count('reset')}; "
        f"longest time without news {verdict.longest_wait_s:.1f} s ({verdict.longest_wait_of})"
    )
    for violation in verdict.violations[:40]:
        print(f"VIOLATION {violation.what} ({violation.where}): {violation.detail}")
    for complaint in outcome.complaints:
        print(f"COMPLAINT {complaint}")
    return int(bool(verdict.violations or outcome.complaints))


if __name__ == "__main__":
    sys.exit(main())
