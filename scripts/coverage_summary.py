"""Says how much of the production code the last run of the tests has reached. Run by `make test`.

Prints the share of lines reached in all, and the files below `LOW`, the least reached first. Every process that the
tests start counts, but for what is killed with SIGKILL; the settings are in pyproject.toml under `tool.coverage`.
"""

import io
import sys
from pathlib import Path
from typing import Final

from coverage import Coverage
from coverage.exceptions import NoDataError

LOW: Final = 0.8


def main() -> int:
    coverage = Coverage()
    try:
        coverage.combine()
        total = coverage.report(file=io.StringIO(), skip_covered=True)
    except NoDataError:
        print("coverage: nothing was measured", file=sys.stderr)
        return 1
    low: list[tuple[float, str]] = []
    for path in coverage.get_data().measured_files():
        _, statements, _, missing, _ = coverage.analysis2(path)
        reached = 1 - len(missing) / len(statements) if statements else 1.0
        if reached < LOW:
            low.append((reached, Path(path).relative_to(Path.cwd()).as_posix()))
    print(f"coverage of the production code by unit and integration tests: {total:.1f} % of lines")
    print(f"files below {LOW:.0%}: {len(low) or 'none'}")
    for reached, name in sorted(low):
        print(f"  {reached:4.0%}  {name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
