"""Stand-ins for access: a bucket in memory, and tokens that are names."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Final

from broker.contract.errors import BrokerUnavailable
from broker.jetstream.access_store import AccessChange
from tests.harness import until
from ws_edge.access import ALL_ACTIONS, Action, Header, NotAuthenticated, Principal, Run, Undecided, authorize
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


RUN: Final = "00000000-0000-4000-8000-000000000001"
OTHER: Final = "00000000-0000-4000-8000-000000000002"
ANN: Final = Principal("ann", frozenset({"red"}), ALL_ACTIONS, expires_at=START_S + 3600, token_id="t1")
ROOT: Final = Principal("root", None, ALL_ACTIONS, expires_at=START_S + 3600)
PAGE: Final = "https://edge.example"


def cookie_of(set_cookie: str) -> str:
    """What a browser sends back."""
    return set_cookie.partition(";")[0]


def tokens() -> NamedTokens:
    return NamedTokens({"ann": ANN, "root": ROOT}, {RUN: "red", OTHER: "blue"})


def begin(access: ProofAccess, principal: Principal = ANN) -> str:
    assert access.sessions is not None
    return cookie_of(access.sessions.begin(principal).cookie)


def ticket(access: ProofAccess, principal: Principal = ANN, origin: str | None = PAGE) -> str:
    assert access.tickets is not None
    return access.tickets.issue(principal, origin)[0]


def offer(given: str, origin: str | None = PAGE) -> Callable[[str], str | None]:
    named = {"sec-websocket-protocol": f"testcast.v1, ticket.{given}", "origin": origin}
    return named.get


async def share(access: ProofAccess, test_id: str = RUN, for_s: float = 600.0) -> tuple[str, str, str]:
    """A link of Ann's: its id, its secret, and the cookie of who has opened it."""
    assert access.shares is not None
    made = await access.shares.make(ANN, test_id, for_s)
    return made.share.share_id, made.secret, cookie_of(access.shares.open(test_id, made.secret)[1])


async def follow(records: Records, bucket: MemoryBucket) -> asyncio.Task[None]:
    """The records, as they follow the bucket."""
    count = len(bucket.followers)
    task = asyncio.create_task(records.run())
    await until(lambda: len(bucket.followers) > count)
    return task
