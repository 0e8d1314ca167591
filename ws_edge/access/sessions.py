"""Browser sessions: a signed cookie that stands for a token, and never outlives it. Pure but for random ids.

The cookie has what the token permits, not the token: whoever reads it cannot use it anywhere but at this installation's
edges, and ending the session ends the cookie alone.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from broker.contract.errors import BadInput
from ws_edge.access.cookies import MAX_BYTES, SESSION, set_cookie
from ws_edge.access.principal import Action, NotAuthenticated, Principal
from ws_edge.access.signer import NotSigned, Signer

_TYP: Final = "testcast-session+jwt"
_ACTIONS: Final = {each.value: each for each in Action}


class NewSession(NamedTuple):
    """A session that has just begun."""

    principal: Principal
    cookie: str
    """The `Set-Cookie`."""


def claims_of(principal: Principal) -> dict[str, Any]:
    """What a signed text has to say of a principal. The inverse of `principal_of`."""
    claims = {
        "sub": principal.subject,
        "projects": "*" if principal.projects is None else sorted(principal.projects),
        "can": sorted(each.value for each in principal.actions),
        "until": principal.expires_at,
        "jti": principal.token_id,
        "sid": principal.session_id,
    }
    return {name: value for name, value in claims.items() if value is not None}


def principal_of(claims: dict[str, Any]) -> Principal:
    """The principal in signed claims."""
    projects = claims["projects"]
    return Principal(
        subject=claims["sub"],
        projects=None if projects == "*" else frozenset(projects),
        actions=frozenset(_ACTIONS[each] for each in claims["can"] if each in _ACTIONS),
        expires_at=claims["until"],
        token_id=claims.get("jti"),
        session_id=claims.get("sid"),
    )


class Sessions:
    """Begins sessions, and reads their cookies.

    Args:
        session_key: the secret that all edges of an installation share.
        now: seconds since 1970.
    """

    def __init__(self, session_key: bytes, now: Callable[[], float]) -> None:
        self._signer = Signer(session_key, _TYP)
        self._now = now

    def __repr__(self) -> str:
        return "<Sessions>"

    def begin(self, principal: Principal) -> NewSession:
        """Begins a session for the principal of a token.

        Raises:
            BadInput: the token names so many projects that no browser would keep the cookie.
            NotAuthenticated: the token has expired by now.
        """
        expires_at = principal.expires_at
        if expires_at is None or expires_at <= self._now():
            raise NotAuthenticated("this token has expired")
        ours = principal.with_shares(())._replace(session_id=secrets.token_urlsafe(16))
        value = self._signer.sign(claims_of(ours) | {"exp": expires_at})
        if len(SESSION) + len(value) >= MAX_BYTES:
            raise BadInput("this token names too many projects for a browser's cookie; use one with fewer", "too_large")
        return NewSession(ours, set_cookie(SESSION, value, expires_at - self._now()))

    def read(self, cookie: str) -> Principal:
        """The principal of a session cookie. Whether it was revoked since has to be asked apart.

        Raises:
            NotAuthenticated: it is not a session's, or has expired.
        """
        try:
            return principal_of(self._signer.read(cookie, self._now()))
        except NotSigned as error:
            raise NotAuthenticated(f"the session cookie is not valid: {error}; sign in again") from None
