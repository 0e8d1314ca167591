"""Every way to prove who sends a request: a token, a ticket, the cookie of a session, cookies of share links.

One of them is judged, in this order, and it is never left aside when it is wrong. Only cookies of share links may stand
beside another proof: they add the runs that they show. What a request may do is left to the tokens' `Access`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from broker.contract.errors import BrokerUnavailable
from ws_edge.access.access import Access, Header
from ws_edge.access.cookies import SESSION, clear_cookie, own_cookies, run_of
from ws_edge.access.principal import Action, NotAuthenticated, Principal, Undecided
from ws_edge.access.records import Records
from ws_edge.access.sessions import Sessions
from ws_edge.access.shares import Shares
from ws_edge.access.signer import NotSigned
from ws_edge.access.tickets import REMEMBERED_S, Tickets, offered

_SKEW_S: Final = 30.0
"""How much clocks may differ: as long as a token counts after its end."""
_MAX_KEPT: Final = 4096
"""Cookies whose signature need not be checked again."""
_NOBODY: Final = Principal("share", projects=frozenset(), actions=frozenset())


class ProofAccess:
    """`Access` with proofs. See `Access` for what its methods raise.

    Args:
        tokens: judges tokens and requests without any proof, and decides what a principal may do.
        records: what was revoked and shared.
        session_key: the secret that all edges of an installation share. None: there are no cookies and tickets.
        now: seconds since 1970.
    """

    def __init__(
        self, tokens: Access, records: Records, session_key: bytes | None, now: Callable[[], float] = time.time
    ) -> None:
        self.records = records
        self.sessions = None if session_key is None else Sessions(session_key, now)
        self.tickets = None if session_key is None else Tickets(session_key, now)
        self.shares = None if session_key is None else Shares(session_key, records, now)
        self._tokens = tokens
        self._now = now
        self._kept: dict[str, Principal] = {}

    def __repr__(self) -> str:
        return f"<ProofAccess {self._tokens!r} {self.records!r}>"

    # -- who -----------------------------------------------------------------------------------------------------

    def identify(self, header: Header) -> Principal:
        """Who sends a request. A ticket is always `Undecided`: using it up takes a look at the broker."""
        self._check_filled()
        if header("authorization") is not None:
            return self._standing(self._tokens.identify(header))
        ticket = offered(header)
        if ticket is not None:
            if self.tickets is None:
                raise NotAuthenticated("this edge takes no tickets")
            self._standing(self.tickets.read(ticket, header("origin")).principal)
            raise Undecided
        cookies = self._cookies(header)
        if not cookies:
            return self._tokens.identify(header)
        return self._with_shares(cookies, lambda: self._tokens.identify(header))

    async def identify_later(self, header: Header) -> Principal:
        """Who sends a request. Uses a ticket up."""
        self._check_filled()
        if header("authorization") is not None:
            return self._standing(await self._tokens.identify_later(header))
        ticket = offered(header)
        if ticket is not None:
            return await self._use(ticket, header("origin"))
        cookies = self._cookies(header)
        if not cookies:
            return await self._tokens.identify_later(header)
        await self._ask_for_shares(cookies)
        try:
            without = await self._tokens.identify_later(lambda _name: None)
        except NotAuthenticated:
            without = None
        return self._with_shares(cookies, lambda: without, certain=True)

    def session_in(self, header: Header) -> Principal | None:
        """Whose session cookie a request has; None when it has none.

        Raises:
            NotAuthenticated: it does not count.
        """
        cookie = own_cookies(header).get(SESSION)
        return None if cookie is None else self._session(cookie)

    def wrong_cookies(self, header: Header) -> list[str]:
        """The `Set-Cookie` for each cookie of a request that does not count: it removes it."""
        try:
            cookies = own_cookies(header)
        except NotAuthenticated:
            return [clear_cookie(SESSION)]
        return [clear_cookie(name) for name, value in cookies.items() if not self._counts(name, value)]

    def _counts(self, name: str, value: str) -> bool:
        test_id = run_of(name)
        try:
            if test_id is None:
                self._session(value)
                return True
            return self.shares is not None and self.records.share(test_id, self.shares.read(test_id, value)) is not None
        except (NotAuthenticated, NotSigned):
            return False

    def _check_filled(self) -> None:
        if not self.records.filled:
            raise BrokerUnavailable("this edge has not read yet what was revoked, so it lets nobody in")

    def _standing(self, principal: Principal) -> Principal:
        """The principal, unless its proof does not count any more."""
        if principal.expires_at is not None and self._now() >= principal.expires_at + _SKEW_S:
            raise NotAuthenticated("the proof of who sends this has expired")
        if self.records.has_ended(principal):
            raise NotAuthenticated("the proof of who sends this was revoked")
        return principal

    def _cookies(self, header: Header) -> dict[str, str]:
        cookies = own_cookies(header)
        if cookies and self.sessions is None:
            raise NotAuthenticated("this edge takes no cookies")
        return cookies

    def _session(self, value: str) -> Principal:
        known = self._kept.get(value)
        if known is None or known.expires_at is None or known.expires_at <= self._now():
            if self.sessions is None:
                raise NotAuthenticated("this edge takes no cookies")
            known = self.sessions.read(value)
            if len(self._kept) >= _MAX_KEPT:
                self._kept.clear()
            self._kept[value] = known
        return self._standing(known)

    def _with_shares(
        self, cookies: dict[str, str], without: Callable[[], Principal | None], *, certain: bool = False
    ) -> Principal:
        """The session's principal, or the one without a proof, who may also watch what its share links show.

        Args:
            without: who asks when there is no session; None, or `NotAuthenticated`, for nobody.
            certain: a link that is not known here does not exist.
        """
        session = cookies.get(SESSION)
        principal = None if session is None else self._session(session)
        found: dict[str, str] = {}
        for name, value in cookies.items():
            test_id = run_of(name)
            share_id = None if test_id is None else self._share_id(test_id, value)
            if test_id is None or share_id is None:
                continue
            if self.records.share(test_id, share_id) is not None:
                found[test_id] = f"{test_id}.{share_id}"
            elif not certain and not self.records.share_has_ended(test_id, share_id):
                raise Undecided
        if principal is None and not found:
            raise NotAuthenticated("the share link has ended; sign in, or ask for another link")
        if principal is None:
            try:
                principal = without() or _NOBODY
            except NotAuthenticated:
                principal = _NOBODY
        return principal.with_shares(found.values())

    def _share_id(self, test_id: str, value: str) -> str | None:
        assert self.shares is not None
        try:
            return self.shares.read(test_id, value)
        except NotSigned:  # it has expired: its run is not shown any more
            return None

    async def _ask_for_shares(self, cookies: dict[str, str]) -> None:
        for name, value in cookies.items():
            test_id = run_of(name)
            share_id = None if test_id is None else self._share_id(test_id, value)
            if test_id is None or share_id is None or self.records.share_has_ended(test_id, share_id):
                continue
            if self.records.share(test_id, share_id) is None:
                await self.records.ask_for_share(test_id, share_id)

    async def _use(self, ticket: str, origin: str | None) -> Principal:
        if self.tickets is None:
            raise NotAuthenticated("this edge takes no tickets")
        read = self.tickets.read(ticket, origin)
        self._standing(read.principal)
        if not await self.records.use_once(read.ticket_id, REMEMBERED_S):
            raise NotAuthenticated("the ticket was used before; ask for another one")
        return self._standing(read.principal)

    # -- may -----------------------------------------------------------------------------------------------------

    def authorize(self, principal: Principal, action: Action, test_id: str | None) -> None:
        """Also refuses a principal whose proof has ended since it was identified."""
        self._tokens.authorize(self._now_standing(principal), action, test_id)

    async def authorize_later(self, principal: Principal, action: Action, test_id: str) -> None:
        """Like `authorize`, with a look at the run's events."""
        await self._tokens.authorize_later(self._now_standing(principal), action, test_id)

    def _now_standing(self, principal: Principal) -> Principal:
        standing = self._standing(principal)
        if not standing.share_ids:
            return standing
        return self.with_standing_shares(standing)

    def with_standing_shares(self, principal: Principal) -> Principal:
        """The principal without the share links that have ended."""
        standing = (each for each in principal.share_ids if self.records.share(*each.split(".")) is not None)
        return principal.with_shares(standing)
