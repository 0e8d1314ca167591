"""Clocks that jump: shifts the wall clock of single processes, with a small library that is loaded into them.

It works for the Python processes (edges, publishers). nats-server is a static program that reads the kernel's clock
page directly, so no other clock can be handed to it. What a broker's clock does is tested with stored times that a
test chooses (`tests/unit/test_snapshot.py`).
"""

from __future__ import annotations

import shutil
import struct
import subprocess
from functools import lru_cache
from pathlib import Path
from typing import Final

_SOURCE: Final = Path(__file__).with_name("clock.c")


class NoCompiler(Exception):
    """There is no C compiler on this machine, so no clock can be shifted."""


@lru_cache
def _built(directory: Path) -> Path:
    compiler = shutil.which("cc")
    if compiler is None:
        raise NoCompiler("clocks cannot be shifted here: no C compiler (cc)")
    library = directory / "clock.so"
    subprocess.run([compiler, "-O2", "-shared", "-fPIC", "-o", library, _SOURCE, "-ldl"], check=True)
    return library


class Clock:
    """The wall clock of the processes that are started with `env`.

    Raises:
        NoCompiler: there is none.
    """

    def __init__(self, name: str, directory: Path) -> None:
        self._file = directory / f"clock-{name}"
        self._file.write_bytes(struct.pack("q", 0))
        self.env = {"LD_PRELOAD": str(_built(directory)), "FAULT_CLOCK": str(self._file)}
        """Variables of their environment."""

    def shift(self, seconds: int) -> None:
        """Sets the clock `seconds` ahead of this machine's; 0: to the same time."""
        with self._file.open("r+b") as file:
            file.write(struct.pack("q", seconds))
