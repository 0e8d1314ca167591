"""Takes secrets out of what a program says before others read it. Pure.

A secret is the value of an environment variable whose name says so. Of others, nobody here can know.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import msgspec

from broker.contract.events import Event
from testcast.recording.batches import Entry
from testcast.recording.splitter import Line

MIN_SECRET_CHARS: Final = 8
"""Shorter values are no secrets, or would be found in every text."""
HIDDEN: Final = "***"
_NAME: Final = re.compile(r"token|secret|passw|credential|api_?key|private_?key", re.IGNORECASE)
_PLACE: Final = re.compile(r"_(?:file|path|dir)\Z", re.IGNORECASE)
"""Such a variable says where a secret is."""


class Redactor:
    """Takes the secrets of an environment out of texts.

    Args:
        environ: by name.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        named = (value for name, value in environ.items() if _NAME.search(name) and not _PLACE.search(name))
        self._secrets = sorted(set(_parts(named)), key=len, reverse=True)  # one may contain another

    def __repr__(self) -> str:
        return f"<Redactor secrets={len(self._secrets)}>"

    def text(self, text: str) -> str:
        """The text without them."""
        for each in self._secrets:
            if each in text:
                text = text.replace(each, HIDDEN)
        return text

    def item(self, item: Entry | Event) -> Entry | Event:
        """A line or an event without them."""
        if not self._secrets:
            return item
        if isinstance(item, Event):
            data = None if item.data is None else self._value(item.data)
            return msgspec.structs.replace(item, message=self.text(item.message), data=data)
        line = item.line
        ansi = None if line.ansi is None else self.text(line.ansi)
        return item._replace(line=Line(self.text(line.text), ansi), test=self._value(item.test))

    def _value(self, value: Any) -> Any:
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, list | tuple):
            return [self._value(each) for each in value]
        if isinstance(value, dict):
            return {name: self._value(each) for name, each in value.items()}
        return value


def _parts(values: Iterable[str]) -> Iterator[str]:
    """Output comes in lines: a secret of several, such as a private key, is one in each of them."""
    for value in values:
        for line in value.splitlines():
            if len(line.strip()) >= MIN_SECRET_CHARS:
                yield line.strip()
