"""What all edges must know of access, in this edge's memory: which proofs are revoked, and which share links there are.

It follows the bucket `ACCESS`. An edge that has never read it does not know what was revoked, and lets nobody in. What
was read once is kept while the broker is away. Where the bucket was deleted, the edges put back what they remember.
"""

from __future__ import annotations

import asyncio
import hashlib
import heapq
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any, Final, NamedTuple, Protocol

import orjson

from broker.contract.errors import BrokerRefused, BrokerUnavailable, TestcastError
from broker.jetstream.access_store import AccessChange
from broker.log import RateLimited
from ws_edge.access.principal import Principal

_REVOKED: Final = "revoked."
_SHARE: Final = "share."
_USED: Final = "used."
MIN_SHARE_S: Final = 60
MAX_SHARE_S: Final = 90 * 24 * 3600
"""How long a share link may count, seconds."""
_PRUNE_EVERY_S: Final = 0.5
_MAX_ENDED: Final = 10_000
"""Share links that are remembered after their end. One that is not costs a question to the broker."""
_SKEW_S: Final = 60.0
"""A revocation outlives its token: edges whose clocks differ accept that for a while longer."""
_log = logging.getLogger("testcast.access")
_limited = RateLimited(_log, per_s=10.0)


class Watching(Protocol):
    """A watch of the bucket."""

    def run(self) -> Awaitable[None]:
        """Delivers until cancelled."""


class Store(Protocol):
    """The bucket. See `broker.jetstream.access_store.AccessStore`."""

    async def create(self, key: str, value: bytes, ttl_s: float | None) -> bool:
        """Sets a new key. Returns whether it was new."""

    async def put(self, key: str, value: bytes, ttl_s: float | None) -> None:
        """Sets a key."""

    async def delete(self, key: str, ttl_s: float | None) -> None:
        """Deletes a key."""

    async def get(self, key: str) -> bytes | None:
        """The value of a key, from the leader."""

    def watch(
        self,
        on_change: Callable[[AccessChange], None],
        on_current: Callable[[], None],
        on_reset: Callable[[], None],
    ) -> Watching:
        """Delivers every key, then every change."""


class Share(NamedTuple):
    """One share link."""

    test_id: str
    share_id: str
    secret_hash: str
    """SHA-256 of its secret, hex."""
    expires_at: float
    """Seconds since 1970."""
    created_at: float
    by: str
    """The subject that made it."""

    @property
    def key(self) -> str:
        """Its key in the bucket."""
        return f"{_SHARE}{self.test_id}.{self.share_id}"


class RecordsStatistics(NamedTuple):
    """What an edge knows of access, in numbers."""

    filled: bool
    revoked: int
    shares: int


def fingerprint(text: str) -> str:
    """SHA-256 of a text, hex: under which it is known where it must not be readable."""
    return hashlib.sha256(text.encode()).hexdigest()


def token_proof(token_id: str) -> str:
    """The name under which a token is revoked."""
    return fingerprint(token_id)


def session_proof(session_id: str) -> str:
    """The name under which a browser session is ended."""
    return fingerprint(f"session:{session_id}")


def proofs_of(principal: Principal) -> tuple[str, ...]:
    """The names of everything whose end takes something from a principal. A share link's begins with `share.`."""
    names = [f"{_SHARE}{each}" for each in principal.share_ids]
    if principal.token_id is not None:
        names.append(token_proof(principal.token_id))
    if principal.session_id is not None:
        names.append(session_proof(principal.session_id))
    return tuple(names)


def shared_run(proof: str) -> str | None:
    """The run that a share link shows, by the name of its proof; None where the proof is no share link."""
    return proof.split(".")[1] if proof.startswith(_SHARE) else None


class Records:
    """The records of one edge. All calls from the loop.

    Args:
        store: the bucket.
        now: seconds since 1970.
    """

    def __init__(self, store: Store, now: Callable[[], float] = time.time) -> None:
        self.filled = False
        """The bucket was read whole, once at least."""
        self.on_end: list[Callable[[str], None]] = []
        """Called with the name of each proof that has ended: revoked, signed out, or a share link that is gone."""
        self._store = store
        self._now = now
        self._revoked: dict[str, float | None] = {}
        self._shares: dict[str, dict[str, Share]] = {}
        self._by_subject: Counter[str] = Counter()
        self._ended: dict[str, None] = {}
        """Share links that have ended, by key, the oldest first."""
        self._ends: list[tuple[float, str]] = []
        self._is_reset = False

    def __repr__(self) -> str:
        return f"<Records filled={self.filled} revoked={len(self._revoked)} runs={len(self._shares)}>"

    def statistics(self) -> RecordsStatistics:
        """The figures of this moment."""
        return RecordsStatistics(self.filled, len(self._revoked), sum(map(len, self._shares.values())))

    # -- questions -----------------------------------------------------------------------------------------------

    def revoked(self, token_id: str) -> bool:
        """Whether a token is revoked."""
        return token_proof(token_id) in self._revoked

    def has_ended(self, principal: Principal) -> bool:
        """Whether the token or the session of a principal does not count any more. Share links are judged apart."""
        token_id, session_id = principal.token_id, principal.session_id
        return bool(self._revoked) and (
            (token_id is not None and self.revoked(token_id))
            or (session_id is not None and session_proof(session_id) in self._revoked)
        )

    def share(self, test_id: str, share_id: str) -> Share | None:
        """A share link that counts at the moment, as far as it is known here."""
        found = self._shares.get(test_id, {}).get(share_id)
        return found if found is not None and found.expires_at > self._now() else None

    def share_has_ended(self, test_id: str, share_id: str) -> bool:
        """Whether a share link is known to have ended. Of one that is known in no way this returns False."""
        return f"{_SHARE}{test_id}.{share_id}" in self._ended

    def shares_of(self, test_id: str) -> list[Share]:
        """All share links of a run that count at the moment, the oldest first."""
        now = self._now()
        found = [each for each in self._shares.get(test_id, {}).values() if each.expires_at > now]
        return sorted(found, key=lambda each: (each.created_at, each.share_id))

    def made_by(self, subject: str) -> int:
        """How many share links of a subject count at the moment."""
        return self._by_subject[subject]

    async def ask_for_share(self, test_id: str, share_id: str) -> Share | None:
        """Like `share`, from the bucket's leader: another edge may have made it a moment ago.

        Raises:
            BrokerUnavailable: no leader.
        """
        key = f"{_SHARE}{test_id}.{share_id}"
        value = await self._store.get(key)
        if value is not None:
            self._take(AccessChange(key, value))
        return self.share(test_id, share_id)

    # -- changes -------------------------------------------------------------------------------------------------

    async def revoke(self, proof: str, until: float | None, by: str) -> None:
        """Ends a proof on every edge.

        Args:
            proof: of `token_proof` or `session_proof`.
            until: when it would have expired, seconds since 1970. None: not known, and it is remembered for ever.
            by: who does so.

        Raises:
            BrokerUnavailable: it may or may not be revoked.
        """
        until = None if until is None else max(until, self._now()) + _SKEW_S
        value = orjson.dumps({"until": until, "by": by})
        ttl_s = None if until is None else max(1.0, until - self._now())
        await self._store.put(_REVOKED + proof, value, ttl_s)
        self._take(AccessChange(_REVOKED + proof, value))

    async def add(self, share: Share) -> None:
        """Makes a share link. It is counted among those of its run before the broker has it.

        Raises:
            BrokerUnavailable: it was not made.
        """
        self._keep_share(share)
        try:
            await self._store.put(share.key, _share_value(share), max(1.0, share.expires_at - self._now()))
        except TestcastError:
            self._forget_share(share.test_id, share.share_id)
            raise
        self._end_at(share.expires_at, share.key)

    async def remove(self, share: Share) -> None:
        """Ends a share link on every edge.

        Raises:
            BrokerUnavailable: it may stand yet.
        """
        await self._store.delete(share.key, max(1.0, share.expires_at - self._now()))
        self._take(AccessChange(share.key, None))

    async def use_once(self, ticket_id: str, for_s: float) -> bool:
        """Whether this is the first use of a ticket on any edge.

        Raises:
            BrokerUnavailable: the ticket may count as used.
        """
        return await self._store.create(_USED + ticket_id, b"1", for_s)

    # -- following the bucket ------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Follows the bucket until cancelled."""
        watching = self._store.watch(self._take, self._on_current, self._on_reset)
        following = asyncio.ensure_future(watching.run())
        try:
            while not following.done():
                await asyncio.wait([following], timeout=_PRUNE_EVERY_S)
                self.prune()
                if self._is_reset:
                    await self._put_back()
            await following
        finally:
            following.cancel()

    def prune(self) -> None:
        """Forgets what has expired by now. Share links that expire end for their viewers."""
        now = self._now()
        while self._ends and self._ends[0][0] <= now:
            key = heapq.heappop(self._ends)[1]
            if key.startswith(_SHARE):
                _, test_id, share_id = key.split(".")
                known = self._shares.get(test_id, {}).get(share_id)
                if known is not None and known.expires_at <= now:
                    self._take(AccessChange(key, None))
            else:
                until = self._revoked.get(key.removeprefix(_REVOKED))
                if until is not None and until <= now:
                    del self._revoked[key.removeprefix(_REVOKED)]

    def _on_current(self) -> None:
        self.filled = True

    def _on_reset(self) -> None:
        self._is_reset = True

    async def _put_back(self) -> None:
        """Stores what is remembered in a bucket that was deleted and made again. All edges do so at the same time."""
        now, again = self._now(), dict[str, tuple[bytes, float | None]]()
        for proof, until in self._revoked.items():
            ttl_s = None if until is None else max(1.0, until - now)
            again[_REVOKED + proof] = (orjson.dumps({"until": until, "by": "edge"}), ttl_s)
        for each in [share for shares in self._shares.values() for share in shares.values()]:
            again[each.key] = (_share_value(each), max(1.0, each.expires_at - now))
        try:
            made = [key for key, (value, ttl_s) in again.items() if await self._store.create(key, value, ttl_s)]
        except (BrokerUnavailable, BrokerRefused) as error:
            _limited.warning("revocations and share links cannot be put back yet: %s", error)
            return
        self._is_reset = False
        _log.warning("the bucket of revocations and share links was made again: put %d entries back", len(made))

    def _take(self, change: AccessChange) -> None:
        kind, _, rest = change.key.partition(".")
        if kind == "revoked":
            if change.value is not None:
                self._note_revoked(rest, _number(_object(change.value).get("until")))
        elif kind == "share" and rest.count(".") == 1:
            test_id, _, share_id = rest.partition(".")
            share = None if change.value is None else _share(test_id, share_id, change.value)
            if share is not None:
                self._keep_share(share)
                self._end_at(share.expires_at, change.key)
            else:
                self._note_ended(change.key)
                if self._forget_share(test_id, share_id):
                    self._tell(change.key)

    def _note_ended(self, key: str) -> None:
        self._ended[key] = None
        while len(self._ended) > _MAX_ENDED:
            del self._ended[next(iter(self._ended))]

    def _note_revoked(self, proof: str, until: float | None) -> None:
        is_new, known = proof not in self._revoked, self._revoked.get(proof)
        if not is_new and (known is None or (until is not None and until <= known)):
            return
        self._revoked[proof] = until
        if until is not None:
            self._end_at(until, _REVOKED + proof)
        if is_new:
            self._tell(proof)

    def _keep_share(self, share: Share) -> None:
        self._forget_share(share.test_id, share.share_id)
        self._shares.setdefault(share.test_id, {})[share.share_id] = share
        self._by_subject[share.by] += 1

    def _forget_share(self, test_id: str, share_id: str) -> bool:
        shares = self._shares.get(test_id, {})
        known = shares.pop(share_id, None)
        if not shares:
            self._shares.pop(test_id, None)
        if known is None:
            return False
        self._by_subject[known.by] -= 1
        if not self._by_subject[known.by]:
            del self._by_subject[known.by]
        return True

    def _end_at(self, when: float, key: str) -> None:
        heapq.heappush(self._ends, (when, key))

    def _tell(self, proof: str) -> None:
        for callback in self.on_end:
            callback(proof)


def _share_value(share: Share) -> bytes:
    return orjson.dumps(
        {"secret": share.secret_hash, "expiresAt": share.expires_at, "createdAt": share.created_at, "by": share.by}
    )


def _share(test_id: str, share_id: str, value: bytes) -> Share | None:
    """The share link in a stored value; None when it is none: then it shows nothing."""
    given = _object(value)
    secret, by = given.get("secret"), given.get("by")
    expires_at, created_at = _number(given.get("expiresAt")), _number(given.get("createdAt"))
    if not isinstance(secret, str) or not isinstance(by, str) or expires_at is None or created_at is None:
        return None
    return Share(test_id, share_id, secret, expires_at, created_at, by)


def _object(value: bytes) -> dict[str, Any]:
    try:
        given = orjson.loads(value)
    except orjson.JSONDecodeError:
        return {}
    return given if isinstance(given, dict) else {}


def _number(given: object) -> float | None:
    return float(given) if isinstance(given, int | float) and not isinstance(given, bool) else None
