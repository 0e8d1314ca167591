"""Stand-ins for access: a bucket in memory, and tokens that are names."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from broker.contract.errors import BrokerUnavailable
from broker.jetstream.access_store import AccessChange
from ws_edge.access import Action, Header, NotAuthenticated, Principal, Run, Undecided, authorize
from ws_edge.access.proofs import ProofAccess
from ws_edge.access.records import Records

SESSION_KEY = bytes(range(32))
START_S = 1_800_000_000.0


class Clock:
    """A clock that stands until it is set."""

    def __init__(self, now: float = START_S) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class MemoryBucket:
    """The bucket `ACCESS`, with any number of followers."""

    def __init__(self) -> None:
        self.values: dict[str, bytes | None] = {}
        self.ttls: dict[str, float | None] = {}
        self.is_away = False
        self.followers: list[Callable[[AccessChange], None]] = []
        self.resets: list[Callable[[], None]] = []
        self.asked = 0

    def _check(self) -> None:
        self.asked += 1
        if self.is_away:
            raise BrokerUnavailable("away")

    def _set(self, key: str, value: bytes | None, ttl_s: float | None) -> None:
        self.values[key], self.ttls[key] = value, ttl_s
        for each in self.followers:
            each(AccessChange(key, value))

    async def create(self, key: str, value: bytes, ttl_s: float | None) -> bool:
        self._check()
        await asyncio.sleep(0)
        if key in self.values:
            return False
        self._set(key, value, ttl_s)
        return True

    async def put(self, key: str, value: bytes, ttl_s: float | None) -> None:
        self._check()
        self._set(key, value, ttl_s)

    async def delete(self, key: str, ttl_s: float | None) -> None:
        self._check()
        self._set(key, None, ttl_s)

    async def get(self, key: str) -> bytes | None:
        self._check()
        await asyncio.sleep(0)
        return self.values.get(key)

    def watch(
        self,
        on_change: Callable[[AccessChange], None],
        on_current: Callable[[], None],
        on_reset: Callable[[], None],
    ) -> Following:
        return Following(self, on_change, on_current, on_reset)

    def delete_all(self) -> None:
        """The bucket is deleted and made again."""
        self.values.clear()
        for each in self.resets:
            each()


class Following:
    """A watch of a bucket in memory."""

    def __init__(
        self,
        bucket: MemoryBucket,
        on_change: Callable[[AccessChange], None],
        on_current: Callable[[], None],
        on_reset: Callable[[], None],
    ) -> None:
        self._bucket, self._on_change, self._on_current, self._on_reset = bucket, on_change, on_current, on_reset

    async def run(self) -> None:
        for key, value in self._bucket.values.items():
            self._on_change(AccessChange(key, value))
        self._bucket.followers.append(self._on_change)
        self._bucket.resets.append(self._on_reset)
        self._on_current()
        await asyncio.Event().wait()


class NamedTokens:
    """An `Access` whose tokens are the names of principals, and which knows the projects of some runs.

    Args:
        principals: by token.
        projects: by test id, of the runs that are known in memory.
        elsewhere: by test id, of the runs that take a look elsewhere.
        anonymous: who sends a request without a proof; None: nobody may.
    """

    def __init__(
        self,
        principals: Mapping[str, Principal],
        projects: Mapping[str, str] | None = None,
        elsewhere: Mapping[str, str] | None = None,
        anonymous: Principal | None = None,
    ) -> None:
        self.principals = dict(principals)
        self.projects, self.elsewhere = dict(projects or {}), dict(elsewhere or {})
        self.anonymous = anonymous
        self.may_look = asyncio.Event()
        self.may_look.set()

    def identify(self, header: Header) -> Principal:
        given = header("authorization")
        if given is None:
            if self.anonymous is None:
                raise NotAuthenticated("no proof")
            return self.anonymous
        principal = self.principals.get(given.removeprefix("Bearer "))
        if principal is None:
            raise NotAuthenticated("a wrong token")
        return principal

    async def identify_later(self, header: Header) -> Principal:
        return self.identify(header)

    def authorize(self, principal: Principal, action: Action, test_id: str | None) -> None:
        if test_id is None or test_id in self.projects:
            authorize(principal, action, None if test_id is None else Run(test_id, self.projects[test_id]))
            return
        raise Undecided

    async def authorize_later(self, principal: Principal, action: Action, test_id: str) -> None:
        await self.may_look.wait()
        authorize(principal, action, Run(test_id, self.elsewhere.get(test_id)))


def headers(**given: str) -> Header:
    """The headers of a request; `_` in a name stands for `-`."""
    named = {name.replace("_", "-"): value for name, value in given.items()}
    return named.get


def access_of(
    tokens: NamedTokens, bucket: MemoryBucket | None = None, clock: Clock | None = None, *, filled: bool = True
) -> ProofAccess:
    """Proofs over a bucket of their own, which has been read."""
    clock = clock or Clock()
    records = Records(bucket or MemoryBucket(), clock)
    records.filled = filled
    return ProofAccess(tokens, records, SESSION_KEY, clock)
