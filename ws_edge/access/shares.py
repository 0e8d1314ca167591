"""Share links: who has one may watch one run, and nothing else.

A link's secret is shown once, in the fragment of an address, which browsers send to no server. The bucket `ACCESS` has
its SHA-256 only. Whoever opens the link gets a cookie that names it; when the link ends, what was opened ends.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable
from typing import Final, NamedTuple

from broker.contract.errors import BadInput, BrokerUnavailable, NotFound
from ws_edge.access.cookies import run_of, set_cookie, share_cookie
from ws_edge.access.principal import AccessDenied, NotAuthenticated, Principal
from ws_edge.access.records import Records, Share, fingerprint
from ws_edge.access.signer import NotSigned, Signer

MAX_PER_RUN: Final = 100
MAX_PER_SUBJECT: Final = 1_000
"""Every edge holds all links in memory, about half a kilobyte each."""
MAX_OPENED: Final = 20
"""Links that one browser has open: it sends a cookie of each with every request, whose head has a size."""
_SECRET_BYTES: Final = 32
_TYP: Final = "testcast-share+jwt"


class NewShare(NamedTuple):
    """A share link that was just made."""

    share: Share
    secret: str
    """43 characters of base64url. It is kept nowhere."""


def may_share(principal: Principal) -> bool:
    """Whether a principal may hand on what it may watch: one that is known by a token, and not by a link itself."""
    return principal.expires_at is not None


class Shares:
    """Makes, opens and ends share links.

    Args:
        session_key: the secret that all edges of an installation share.
        records: where the links are.
        now: seconds since 1970.
    """

    def __init__(self, session_key: bytes, records: Records, now: Callable[[], float]) -> None:
        self._signer = Signer(session_key, _TYP)
        self._records = records
        self._now = now

    def __repr__(self) -> str:
        return f"<Shares {self._records!r}>"

    def of(self, test_id: str) -> list[Share]:
        """The links of a run that count at the moment, the oldest first."""
        self._check_filled()
        return self._records.shares_of(test_id)

    def _check_filled(self) -> None:
        if not self._records.filled:
            raise BrokerUnavailable("this edge has not read the share links yet")

    async def make(self, principal: Principal, test_id: str, for_s: float) -> NewShare:
        """Makes a link to a run that the principal may watch.

        Raises:
            AccessDenied: the principal has no token.
            BadInput: the run has its links already.
            BrokerUnavailable: it was not stored.
        """
        if not may_share(principal):
            raise AccessDenied("only who has signed in may share a test")
        if len(self.of(test_id)) >= MAX_PER_RUN:
            raise BadInput(f"this test has {MAX_PER_RUN} links already: end one of them", code="too_many_shares")
        if self._records.made_by(principal.subject) >= MAX_PER_SUBJECT:
            raise BadInput(f"you have made {MAX_PER_SUBJECT} links already: end one of them", code="too_many_shares")
        secret, now = secrets.token_urlsafe(_SECRET_BYTES), self._now()
        share = Share(test_id, secrets.token_hex(8), fingerprint(secret), now + for_s, now, principal.subject)
        await self._records.add(share)
        return NewShare(share, secret)

    def open(self, test_id: str, secret: str) -> tuple[Share, str]:
        """The link that a secret belongs to, and the `Set-Cookie` that shows its run.

        Every link of the run is compared, each in constant time.

        Raises:
            NotFound: there is no such link, or it has ended. A run that does not exist is answered alike.
        """
        self._check_filled()
        given, found = fingerprint(secret), None
        for each in self._records.shares_of(test_id):
            if hmac.compare_digest(each.secret_hash, given):
                found = each
        if found is None:
            raise NotFound(test_id)
        value = self._signer.sign({"run": test_id, "share": found.share_id, "exp": found.expires_at})
        return found, set_cookie(share_cookie(test_id), value, found.expires_at - self._now())

    def surplus(self, cookies: dict[str, str], test_id: str) -> list[str]:
        """The names of cookies that make room for the one of another run: of the links that end first.

        Args:
            cookies: those of the edge that a request has, by name.
        """
        ends: dict[str, float] = {}
        for name, value in cookies.items():
            if run_of(name) not in (None, test_id):
                try:
                    ends[name] = float(self._signer.read(value, 0.0)["exp"])
                except NotSigned:
                    ends[name] = 0.0
        return sorted(ends, key=ends.__getitem__)[: max(0, len(ends) + 1 - MAX_OPENED)]

    async def end(self, test_id: str, share_id: str) -> Share:
        """Ends a link on every edge. What it has opened is closed, also on open sockets.

        Raises:
            NotFound: there is no such link. BrokerUnavailable: it may stand yet.
        """
        self._check_filled()
        share = self._records.share(test_id, share_id)
        if share is None:
            raise NotFound(test_id)
        await self._records.remove(share)
        return share

    def read(self, test_id: str, cookie: str) -> str:
        """The id of the link in the cookie for a run. Whether it has ended since has to be asked apart.

        Raises:
            NotAuthenticated: the cookie was not signed here, or is of another run.
            NotSigned: it has expired.
        """
        try:
            claims = self._signer.read(cookie, 0.0)
        except NotSigned:
            raise NotAuthenticated("the cookie of a share link is not valid; open the link again") from None
        if claims["run"] != test_id:
            raise NotAuthenticated("the cookie of a share link is of another test")
        if claims["exp"] <= self._now():
            raise NotSigned("it has expired")
        return str(claims["share"])
