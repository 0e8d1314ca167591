"""An edge whose fan-out counts nothing, for `python -m tests.bench metrics`. The calls remain and do nothing."""

from __future__ import annotations

import importlib
import sys
from typing import Any

COUNTERS = ("on_received", "on_sent", "on_write", "on_batch", "on_sync")


def _nothing(*_: object) -> None: ...


def main() -> int:
    """Replaces the counters, and runs the edge. Returns its exit status."""
    figures: Any = importlib.import_module("ws_edge.fanout.figures").FanoutFigures
    for name in COUNTERS:
        assert callable(getattr(figures, name))
        setattr(figures, name, _nothing)
    return int(importlib.import_module("ws_edge.main").main())


if __name__ == "__main__":
    sys.exit(main())
