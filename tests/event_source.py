"""A reader of server-sent events as the standard has it (WHATWG HTML, 9.2.6), for tests."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Iterator
from typing import Any, NamedTuple

import httpx

_LINE = re.compile(rb"\r\n|\n|\r")


class Message(NamedTuple):
    """One event that was dispatched."""

    event: str
    data: str
    id: str
    """The last id that the stream has said until then."""
    retry_ms: int | None = None


class EventSource:
    """Bytes in, messages out."""

    def __init__(self) -> None:
        self.last_id = ""
        self.retry_ms: int | None = None
        self._rest = b""
        self._event = ""
        self._data: list[str] = []

    def feed(self, data: bytes) -> Iterator[Message]:
        """The messages that are whole with these bytes."""
        *lines, self._rest = _LINE.split(self._rest + data)
        for line in lines:
            if not line:
                if self._data:
                    yield Message(self._event or "message", "\n".join(self._data), self.last_id, self.retry_ms)
                self._event, self._data = "", []
                continue
            name, _, value = line.decode().partition(":")
            value = value.removeprefix(" ")
            if name == "data":
                self._data.append(value)
            elif name == "event":
                self._event = value
            elif name == "id":
                self.last_id = value
            elif name == "retry":
                self.retry_ms = int(value)


async def messages(response: httpx.Response) -> AsyncIterator[tuple[Message, Any]]:
    """The messages of an answer that is a stream, each with its JSON, until it ends."""
    source = EventSource()
    async for data in response.aiter_raw():
        for message in source.feed(data):
            yield message, json.loads(message.data)
