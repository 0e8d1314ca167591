"""A clock for promises about time: it stands still while the machine runs nothing of this process.

A virtual machine can be halted for a second or more. A promise such as "the verdict comes within the budget" is one of
the program; such a halt is none of its doing. A thread that wants to run every 20 ms notices it: what it is late by is
taken off.
"""

from __future__ import annotations

import threading
import time
from typing import Final

TICK_S: Final = 0.02
USUAL_S: Final = 0.05
"""Lateness that a busy but running machine causes; not taken off."""


class FairClock:
    """Seconds since an arbitrary moment, without the time in which the machine stood still."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._halted_s = 0.0
        self._at = time.monotonic()
        threading.Thread(target=self._watch, name="fair clock", daemon=True).start()

    def __call__(self) -> float:
        """Returns the time now."""
        with self._lock:  # this call may be the first after a halt
            now = time.monotonic()
            return now - self._halted_s - self._late(now)

    def _late(self, now: float) -> float:
        late = now - self._at - TICK_S
        return late if late > USUAL_S else 0.0

    def _watch(self) -> None:
        while True:
            time.sleep(TICK_S)
            with self._lock:
                now = time.monotonic()
                self._halted_s += self._late(now)
                self._at = now


fair_time: Final = FairClock()
"""The clock of this process."""
