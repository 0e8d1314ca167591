"""Where the events of a recorded run go: to the broker, or to an edge."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple, Protocol

from broker.contract import projects
from broker.contract.errors import BadInput, TestcastError
from broker.contract.events import Event
from broker.contract.snapshot import MAX_TITLE_CHARS


class About(NamedTuple):
    """What a new run is called, and who sees it."""

    title: str
    project: str | None = None
    """None: `default`, or the only one that the edge lets this user use."""
    labels: Mapping[str, str] = MappingProxyType({})
    phases: tuple[str, ...] = ()
    """Titles of its phases, as far as they are known."""


def checked(about: About) -> About:
    """Returns it.

    Raises:
        BadInput: the title or the project is not valid; the message names the option.
    """
    if not about.title.strip() or len(about.title) > MAX_TITLE_CHARS:
        raise BadInput(f"--title: expected 1 to {MAX_TITLE_CHARS} characters")
    if about.project is not None:
        projects.parse_project(about.project)
    return about


class Sink(Protocol):
    """Publishes the events of one new run, in order. Its methods are called from one task at a time, on one loop."""

    test_id: str | None
    """None: there is no run yet."""
    trouble: str
    """What it waits for, in words; empty while it waits for nothing."""
    signs: int
    """Events that it has published by itself, as signs of life."""

    async def open(self) -> None:
        """Returns when the run exists, however long the other side is away.

        Raises:
            TestcastError: it will never exist; the error says why.
        """

    async def put(self, event: Event) -> None:
        """Returns when the event is taken, which may be before it is stored.

        Raises:
            BadInput: this event is too large. Another error: the run takes no more events.
        """

    @property
    def pending(self) -> int:
        """Events that were taken and are not stored."""

    async def end(self, event: Event) -> None:
        """Publishes the run's last event, and returns when everything is stored.

        Raises:
            TestcastError: something will never be stored.
        """

    async def wait_over(self) -> TestcastError:
        """Returns when the run takes no more events, with the reason: it was cancelled, or is another's."""

    async def close(self) -> None:
        """Lets go of the connection. Waits for nothing."""
