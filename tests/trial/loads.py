"""Other work on the machine: programs that keep a core busy."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

_WORK: Final = "import os\nparent = os.getppid()\nwhile os.getppid() == parent:\n    sum(range(100_000))"
"""Ends with the program that has started it."""


@contextmanager
def busy(loads: int) -> Iterator[None]:
    """That many busy programs run meanwhile, at the priority of everything else."""
    running = [subprocess.Popen([sys.executable, "-c", _WORK]) for _ in range(loads)]
    try:
        yield
    finally:
        for each in running:
            each.kill()
            each.wait()
