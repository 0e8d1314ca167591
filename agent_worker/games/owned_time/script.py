"""The script that gives a page its own time, put together of the files in clock/. Pure, once it is imported."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Final

_FOLDER: Final = Path(__file__).parent / "clock"
_PARTS: Final = (
    *("core", "realm", "dates", "random", "stopped", "timers", "messages", "loads", "requests", "media", "audio"),
    *("animations", "observers", "visibility", "canvases", "unseen", "uncontrolled", "fingerprints", "drive", "start"),
)
_OUTSIDE: Final = (Path(__file__).parents[1] / "chromium" / "outside.js").read_text()
_PARTS_TOGETHER: Final = "\n".join((_FOLDER / f"{name}.js").read_text() for name in _PARTS)
_SCRIPT: Final = f'(() => {{ "use strict";\nconst outside = {_OUTSIDE};\n{_PARTS_TOGETHER}\nstart(%s);\n}})();'


def owned_time(token: str, seed: int, hold_s: float = 20.0, gave_up: Iterable[str] = (), *, skips: bool = False) -> str:
    """The script for every frame of a page, to run before any other.

    Args:
        token: What `window.__vt` has to be given by whoever moves the clock; no page knows it.
        seed: Of what the page draws by chance.
        hold_s: Real time for which one load may hold the clock.
        gave_up: Kinds of loads that do not hold it, since one of them never came.
        skips: Frames that nobody looks at are left undrawn where that can be; `advance` says when it could not.
    """
    head, tail = _SCRIPT.rsplit("%s", 1)
    hold = {"holdLimit": round(hold_s * 1000), "gaveUp": sorted(gave_up), "skips": skips}
    return head + json.dumps({"token": token, "seed": seed, **hold}) + tail
