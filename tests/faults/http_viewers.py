"""Viewers over plain HTTP: streams of server-sent events, and long polls."""

from __future__ import annotations

from typing import Final

import httpx

from tests.event_source import messages
from tests.faults.viewers import SILENCE_S, Poller, SocketViewer

_WAIT_S: Final = 2
"""Of a long poll. Shorter than the silence after which an edge counts as dead."""
_OPEN_S: Final = 5.0


class StreamViewer(SocketViewer):
    """`/events`, as the page takes it where no socket passes. It says what a socket says, and is come back to alike."""

    async def _listen(self, edge: str) -> None:
        watched = [f"{run}:{place.epoch}.{place.after}" if place.after else run for run, place in self.places.items()]
        timeout = httpx.Timeout(_OPEN_S, read=SILENCE_S)
        async with httpx.AsyncClient(timeout=timeout, trust_env=False) as http:
            request = http.build_request(
                "GET", f"{edge}/events", params={"watch": watched}, headers={"accept": "text/event-stream"}
            )
            try:
                answer = await http.send(request, stream=True)
            except httpx.TransportError:
                raise ConnectionResetError from None
            try:
                if answer.status_code != httpx.codes.OK:
                    self.refused += 400 <= answer.status_code < 500 and answer.status_code not in (404, 429)
                    return
                async for _, message in messages(answer):
                    self._take(message)
            except httpx.TransportError:
                raise ConnectionResetError from None
            finally:
                await answer.aclose()


class LongPoller(Poller):
    """Asks for the events behind its position and waits for them, each time at another edge."""

    async def _poll(self, http: httpx.AsyncClient, edge: str, run: str) -> None:
        answer = await http.get(f"{edge}/tests/{run}/events", params={"wait": _WAIT_S, **self._resume(run)})
        if answer.status_code in (404, 429, 502, 503):
            return
        answer.raise_for_status()
        page = answer.json()
        self._sync(run, page)
        for event in page["events"]:
            self._event(event)
        place = self.places[run]
        self.places[run] = place._replace(after=max(place.after, page["after"]))
