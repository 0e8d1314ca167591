"""`python -m tests.bench storm [SIZE]` · `python -m tests.bench stalled [SIZE] [EVENTS]`."""

import resource
import sys

import uvloop

from tests.bench import scenes


def main() -> None:
    """Runs one scene."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    name, *numbers = sys.argv[1:] or [""]
    sizes = [int(number) for number in numbers]
    if name == "storm":
        uvloop.run(scenes.storm(*(sizes or [10_000])))
    elif name == "stalled":
        uvloop.run(scenes.stalled(*(sizes or [1_000, 15_000])))
    else:
        sys.exit(__doc__)


main()
