"""Events as the benchmark's publisher writes them."""

from __future__ import annotations

import time
from typing import Final

FIRST: Final = 1_000_001


def event(number: int, age_s: float = 0.0, pad: int = 40) -> str:
    """An event as `pour` writes it, `number` counted from 0."""
    at = time.time_ns() - int(age_s * 1e9)
    return f'{{"type":"progress","data":{{"n":{FIRST + number},"ns":{at},"pad":"{"x" * pad}"}}}}'
