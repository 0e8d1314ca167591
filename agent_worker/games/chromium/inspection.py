"""What the developer tools know of a page: its scripts, the code that has run, and its memory.

Everything here is measured by the browser, not told by the page; texts and addresses are the page's own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from agent_worker.games.chromium.page import Page

MAX_SCRIPTS: Final = 60
MAX_SCRIPT_CHARS: Final = 4_000_000
"""Of one script; the engines of today have 1 to 2 million. A longer one is cut."""


class Code(NamedTuple):
    """One function of a script: the script's address, which one of that address, and where it begins and ends in it."""

    url: str
    nth: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Coverage:
    """What of the page's own code has run, over all openings of a stage."""

    functions: frozenset[Code] = frozenset()
    """Those that have run."""
    known: frozenset[Code] = frozenset()
    """All that have been compiled."""

    @property
    def used(self) -> int:
        """Characters in functions that have run, without those inside of them that have not."""
        return sum(_covered(spans, self.functions) for spans in self._scripts().values())

    @property
    def total(self) -> int:
        """Characters of the page's scripts that have been compiled."""
        return sum(max(span.end for span in spans) for spans in self._scripts().values())

    def joined(self, other: Coverage) -> Coverage:
        """Both together, for the same page at different times or in different openings."""
        return Coverage(self.functions | other.functions, self.known | other.known)

    def _scripts(self) -> dict[tuple[str, int], list[Code]]:
        scripts: dict[tuple[str, int], list[Code]] = {}
        for each in self.known:
            scripts.setdefault((each.url, each.nth), []).append(each)
        return scripts


async def start_coverage(page: Page) -> None:
    """Has Chromium note, for each function, whether it runs. Before the page opens; it costs no speed to speak of."""
    await page.devtools("Profiler.enable", {}, "measuring its code")
    asked = {"callCount": True, "detailed": False, "allowTriggeredUpdates": False}
    await page.devtools("Profiler.startPreciseCoverage", asked, "measuring its code")


async def coverage(page: Page) -> Coverage:
    """The code that has run since the last call, or since `start_coverage`."""
    told = await page.devtools("Profiler.takePreciseCoverage", {}, "measuring its code")
    ran: set[Code] = set()
    known: set[Code] = set()
    seen: dict[str, int] = {}
    for script in told["result"]:
        url = str(script["url"])
        if not url.startswith(("http:", "https:", "blob:", "data:")):
            continue  # the agent's own, and what is evaluated without an address
        nth = seen[url] = seen.get(url, -1) + 1
        for function in script["functions"]:
            span = function["ranges"][0]
            code = Code(url, nth, int(span["startOffset"]), int(span["endOffset"]))
            if code.start >= code.end:
                continue  # without a character of its own
            known.add(code)
            if span["count"] > 0:
                ran.add(code)
    return Coverage(frozenset(ran), frozenset(known))


def _covered(spans: list[Code], ran: frozenset[Code]) -> int:
    """Characters in functions that ran; functions lie inside each other."""
    edges = sorted(
        edge for span in spans for edge in ((span.start, 1, -span.end, span), (span.end, 0, -span.start, span))
    )
    used, at = 0, 0
    around: list[bool] = []
    for offset, begins, _, span in edges:
        if around and around[-1]:
            used += offset - at
        at = offset
        if begins:
            around.append(span in ran)
        else:
            around.pop()
    return used


async def sources(page: Page) -> Mapping[str, str]:
    """The texts of the page's scripts, by address; several of one address, as those of the document, stand together."""
    parsed: list[tuple[str, str]] = []

    def heard(told: dict[str, Any]) -> None:
        if str(told["url"]).startswith(("http:", "https:", "blob:", "data:")):
            parsed.append((str(told["scriptId"]), str(told["url"])))

    page.on_devtools("Debugger.scriptParsed", heard)
    await page.devtools("Debugger.enable", {"maxScriptsCacheSize": 1}, "reading its scripts")
    texts: dict[str, str] = {}
    try:
        for script, url in parsed[:MAX_SCRIPTS]:
            told = await page.devtools("Debugger.getScriptSource", {"scriptId": script}, "reading its scripts")
            texts[url] = (texts.get(url, "") + str(told["scriptSource"]) + "\n")[:MAX_SCRIPT_CHARS]
    finally:
        await page.devtools("Debugger.disable", {}, "reading its scripts")
    return texts


async def heap(page: Page) -> int:
    """Bytes of JavaScript's memory that are in use, right after a collection of garbage."""
    await page.devtools("HeapProfiler.collectGarbage", {}, "measuring its memory")
    await asyncio.sleep(0)
    told = await page.devtools("Runtime.getHeapUsage", {}, "measuring its memory")
    return int(told["usedSize"])
