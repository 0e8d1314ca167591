"""What happens to a page without being asked for: collected while it happens, taken when the feed has time for it."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from agent_worker.games.chromium.egress_proxy import Trouble
from agent_worker.games.chromium.page_state import REJECTION, Incident

MAX_INCIDENTS: Final = 500
MAX_TROUBLES: Final = 100
"""A page that causes more between two looks of the agent loses the oldest."""
_MAX_DETAIL_CHARS: Final = 400
_MAX_STACK_CHARS: Final = 2000
_OF_THE_AGENT: Final = re.compile(r"\bat .*<anonymous>:\d+:\d+\)?$")
"""Lines of a stack in scripts without an address: those that run before the page's own."""


class IncidentLog:
    """The incidents of one run's pages, one after another, and the proxy's troubles with their requests. Methods do not
    block and do not raise."""

    def __init__(self) -> None:
        self._incidents: deque[Incident] = deque(maxlen=MAX_INCIDENTS)
        self._troubles: deque[Trouble] = deque(maxlen=MAX_TROUBLES)

    def __repr__(self) -> str:
        return f"<IncidentLog incidents={len(self._incidents)} troubles={len(self._troubles)}>"

    @property
    def trouble(self) -> Trouble | None:
        """The newest trouble since `forget_troubles` or `take`."""
        return self._troubles[-1] if self._troubles else None

    def forget_troubles(self) -> None:
        """Drops the troubles: what comes now belongs to another address."""
        self._troubles.clear()

    def on_trouble(self, trouble: Trouble) -> None:
        """A request that the proxy did not carry."""
        self._troubles.append(trouble)

    def note(self, kind: str, detail: str, stack: str = "") -> None:
        """Anything; see `Incident` for the kinds."""
        self._incidents.append(Incident(kind, detail[:_MAX_DETAIL_CHARS], stack[:_MAX_STACK_CHARS]))

    def exception(self, details: Mapping[str, Any]) -> None:
        """An error that nobody has caught: `exceptionDetails` of Chromium's protocol."""
        thrown = details.get("exception") or {}
        said = str(thrown.get("description") or thrown.get("value") or details.get("text") or "an error")
        stack = said if "\n    at " in said else f"{first_line(said)}\n    at {_place(details)}"
        message = first_lines(said.partition("\n    at ")[0])
        in_promise = "in promise" in str(details.get("text", ""))
        own = "\n".join(line for line in stack.splitlines() if not _OF_THE_AGENT.search(line))
        self.note("pageerror", f"{REJECTION}{message}" if in_promise else message, own)

    def console(self, kind: str, text: str, at: Mapping[str, Any] = MappingProxyType({})) -> None:
        """A message on the console, from the line of a script that `at` says; only errors count."""
        # Chromium's own message about a failed request comes as an event of its own, with the reason.
        # That the proxy lets nothing through is told as a trouble of its own, and is no fault of the game.
        own = text.startswith("Failed to load resource") or "via proxy server failed" in text
        if kind == "error" and not own:
            place = f"{at['url']}:{at['lineNumber'] + 1}:{at['columnNumber'] + 1}" if at.get("url") else ""
            self.note("console", first_lines(text), place)

    def request_failed(self, url: str, why: str) -> None:
        """A request without an answer."""
        # ERR_ABORTED means that the page gave the request up; a tunnel that failed is reported by the proxy.
        if not any(code in why for code in ("ERR_ABORTED", "ERR_TUNNEL", "ERR_BLOCKED_BY_CLIENT")):
            self.note("request", f"{short_url(url)}: {why}")

    def response(self, url: str, status: int, from_proxy: bool) -> None:
        """An answer; what the proxy itself answers is reported as a trouble."""
        if status >= 400 and not from_proxy and not url.endswith("/favicon.ico"):
            self.note("request", f"{short_url(url)}: HTTP {status}")

    def take(self) -> list[Incident]:
        """What happened since the last call, oldest first; troubles come last."""
        for trouble in self._troubles:
            kind = "refused" if trouble.code == "url_refused" else "request"
            self.note(kind, f"{trouble.host}:{trouble.port}: {trouble.message}")
        self._troubles.clear()
        found = list(self._incidents)
        self._incidents.clear()
        return found


def _place(details: Mapping[str, Any]) -> str:
    row, column = details.get("lineNumber", 0) + 1, details.get("columnNumber", 0) + 1
    return f"{details.get('url') or '(unknown)'}:{row}:{column}"


def first_lines(text: str) -> str:
    """The first two lines of `text` as one, at most 300 characters."""
    return " ".join(text.strip().splitlines()[:2])[:300]


def first_line(text: str) -> str:
    """The first line of `text`, at most 300 characters; a stand-in when it is empty."""
    return text.strip().splitlines()[0][:300] if text.strip() else "no reason given"


def short_url(url: str) -> str:
    """`url`, cut to 160 characters."""
    return url if len(url) <= 160 else url[:157] + "..."
