"""Keeps a page on the origin that it was opened on, and gives its proxy the password, of the browser's requests."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from agent_worker.games.chromium.incidents import IncidentLog, short_url
from agent_worker.games.chromium.loading import origin


class Staying:
    """Sees every request for a document before it goes out, and every question for a password.

    Args:
        send: Asks Chromium by its DevTools protocol.
        frame: The id of the page's main frame; other frames may go where the proxy lets them.
        credentials: Name and password for the proxy; a server never gets them.
        log: Is told of a page that wanted to leave.
    """

    def __init__(
        self,
        send: Callable[[str, dict[str, Any]], Awaitable[Any]],
        frame: str,
        credentials: tuple[str, str],
        log: IncidentLog,
    ) -> None:
        self._send = send
        self._frame = frame
        self._credentials = credentials
        self._log = log
        self._answered: set[str] = set()
        self.home: str | None = None
        """Where the page has to stay; None: it may go anywhere, as on its way to its address."""
        self.kept: Callable[[], None] = lambda: None
        """Called after the page was kept from leaving."""

    async def begin(self) -> None:
        """Has Chromium hold the requests. The first one is asked for the proxy's password too; the browser sends that
        with all that follow."""
        pattern = {"resourceType": "Document", "requestStage": "Request"}
        await self._send("Fetch.enable", {"patterns": [pattern], "handleAuthRequests": True})

    def leaves(self, url: str) -> bool:
        """Whether that is elsewhere."""
        return self.home is not None and origin(url) != origin(self.home)

    async def on_document(self, event: dict[str, Any]) -> None:
        """A document was asked for."""
        url, request = str(event["request"]["url"]), {"requestId": event["requestId"]}
        if event["frameId"] == self._frame and self.leaves(url):
            self._log.note("left", short_url(url))
            await self._send("Fetch.failRequest", {**request, "errorReason": "Aborted"})
            self.kept()
        else:
            await self._send("Fetch.continueRequest", request)

    async def on_question(self, event: dict[str, Any]) -> None:
        """Somebody asks for name and password. The proxy gets them, once for each request."""
        mine = event["authChallenge"].get("source") == "Proxy" and event["requestId"] not in self._answered
        answer: dict[str, str] = {"response": "CancelAuth"}
        if mine:
            self._answered.add(event["requestId"])
            name, password = self._credentials
            answer = {"response": "ProvideCredentials", "username": name, "password": password}
        await self._send("Fetch.continueWithAuth", {"requestId": event["requestId"], "authChallengeResponse": answer})
