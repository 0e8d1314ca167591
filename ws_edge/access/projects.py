"""Who may do what with which run, by the project that the run belongs to.

What is known in memory answers for the runs that a principal may see. For every other test id the run's first event is
looked for, whether or not the run is known here: a foreign run and a missing one then cost the same requests, fail
alike while the broker is away, and are answered after the same time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple

from broker.contract import projects
from broker.contract.errors import BadInput, BrokerUnavailable, NotFound
from broker.contract.snapshot import Snapshot
from ws_edge.access.authorize import Run, authorize
from ws_edge.access.principal import AccessDenied, Action, Principal, Undecided

SnapshotOf = Callable[[str], Snapshot | None]
"""The newest snapshot known on this node, by test id."""
Look = Callable[[str], Awaitable[str | None]]
"""A run's project from its events, by test id; None where there is no such run. It raises `BrokerUnavailable`."""

_AT_ONCE: Final = 16
"""Looks under way at the broker. A flood of made-up ids waits for these, and the broker answers others meanwhile."""
_SLOT_S: Final = 0.02
"""How long a look counts as under way at least: there are at most 800 of them a second."""
_MAX_WAITING: Final = 1_000
_KEPT_S: Final = 1.0
"""How long what was found counts: who asks for the same id again and again makes one look a second."""
_MAX_KEPT: Final = 4_096
NOT_FOUND_AFTER_S: Final = 0.05
"""When "there is no such test" is said, after the question. A look takes less: how long it took is not to be seen."""


class ProjectAccessStatistics(NamedTuple):
    """What is held at one moment, and the looks since the start of the node."""

    looks: int
    waiting: int
    """Looks that are under way, or wait for others."""
    kept: int


class _Found(NamedTuple):
    look: asyncio.Task[str | None]
    until: float
    """Loop time up to which it counts, from when it began. A look that is under way counts longer."""


class ProjectAccess:
    """The run's half of `Access`: `authorize` and `authorize_later`.

    Args:
        snapshot_of: what this node knows; it does not block.
        look: asks the broker.
        wait: waits for so many seconds.
    """

    def __init__(
        self, snapshot_of: SnapshotOf, look: Look, *, wait: Callable[[float], Awaitable[None]] = asyncio.sleep
    ) -> None:
        self._snapshot_of = snapshot_of
        self._look = look
        self._wait = wait
        self._found: dict[str, _Found] = {}
        self._slots = asyncio.Semaphore(_AT_ONCE)
        self._looks = 0
        self._waiting = 0

    def __repr__(self) -> str:
        return f"<ProjectAccess looks={self._looks} waiting={self._waiting} kept={len(self._found)}>"

    def statistics(self) -> ProjectAccessStatistics:
        """The figures of this moment."""
        return ProjectAccessStatistics(self._looks, self._waiting, len(self._found))

    def project_of(self, test_id: str) -> str | None:
        """The run's project as far as it is known in memory; None: not known here."""
        snapshot = self._snapshot_of(test_id)
        return None if snapshot is None else snapshot.project

    def authorize(self, principal: Principal, action: Action, test_id: str | None) -> None:
        """See `Access.authorize`. A principal that may see all projects is never undecided: what it asks for says
        itself whether there is such a run."""
        if test_id is None:
            authorize(principal, action, None)
        elif principal.projects is None:
            authorize(principal, action, Run(test_id, projects.UNKNOWN))
        elif (project := self.project_of(test_id)) in principal.projects:
            authorize(principal, action, Run(test_id, project))
        elif not (action is Action.WATCH and test_id in principal.shared_runs):
            raise Undecided

    async def authorize_later(self, principal: Principal, action: Action, test_id: str) -> None:
        """See `Access.authorize_later`."""
        try:
            self.authorize(principal, action, test_id)
        except Undecided:
            loop = asyncio.get_running_loop()
            began = loop.time()
            project = await self._project(test_id)
            try:
                authorize(principal, action, Run(test_id, project))
            except NotFound:
                await self._wait(max(0.0, NOT_FOUND_AFTER_S - (loop.time() - began)))
                raise

    async def _project(self, test_id: str) -> str | None:
        """Who asks for the same run at the same time shares one look."""
        now = asyncio.get_running_loop().time()
        found = self._found.get(test_id)
        if found is None or (found.look.done() and (now >= found.until or _has_failed(found.look))):
            if self._waiting >= _MAX_WAITING:
                raise BrokerUnavailable("too many runs are looked for at the moment: try again in a few seconds")
            self._forget_old()
            self._waiting += 1
            look = asyncio.get_running_loop().create_task(self._ask(test_id), name=f"project-of-{test_id}")
            look.add_done_callback(self._has_looked)
            found = self._found[test_id] = _Found(look, now + _KEPT_S)
        return await asyncio.shield(found.look)  # a client that leaves does not end the look for the others

    async def _ask(self, test_id: str) -> str | None:
        loop = asyncio.get_running_loop()
        await self._slots.acquire()
        free_at = loop.time() + _SLOT_S
        try:
            self._looks += 1
            return await self._look(test_id)
        finally:
            loop.call_at(free_at, self._slots.release)

    def _has_looked(self, look: asyncio.Task[str | None]) -> None:
        self._waiting -= 1
        if not look.cancelled():
            look.exception()  # taken note of: everybody who waited may have gone

    def _forget_old(self) -> None:
        if len(self._found) >= _MAX_KEPT:
            self._found = {each: found for each, found in self._found.items() if not found.look.done()}


def _has_failed(look: asyncio.Task[str | None]) -> bool:
    return look.cancelled() or look.exception() is not None


def project_for(principal: Principal, given: str | None) -> str:
    """The project of a run that the principal makes.

    Args:
        given: the one it names; None: `default` where it has that, else its only one.

    Raises:
        BadInput: the name is none, or one has to be named; the message says which there are.
        AccessDenied: it is not one of the principal's.
    """
    if given is not None:
        if principal.projects is not None and projects.parse_project(given) not in principal.projects:
            raise AccessDenied(f"{principal.subject} has no project {given!r}")
        return projects.parse_project(given)
    if principal.projects is None or projects.DEFAULT in principal.projects:
        return projects.DEFAULT
    if not principal.projects:
        raise AccessDenied(f"{principal.subject} has no project")
    if len(principal.projects) > 1:
        raise BadInput(f"project: name one of {', '.join(sorted(principal.projects))}", code="project_needed")
    return next(iter(principal.projects))
