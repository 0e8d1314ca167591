"""Signing in with OpenID Connect: the authorization code flow with PKCE (OpenID Connect Core 1.0, 3.1; RFC 7636).

`/oidc/login` sends a person to the provider, `/oidc/callback` takes them back with the same session cookie that
`signIn` sets. What the two share (state, nonce, where to go on) is in a signed cookie of ten minutes, so any edge may
answer.
A failure ends on the page it came from, with a word for the reason; no code and no token is logged.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import logging
import re
import secrets
import time
from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import quote

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import OctKey
from starlette.requests import Request
from starlette.responses import Response

from broker.contract.errors import TestcastError
from broker.log import RateLimited
from ws_edge.access import Action, Principal, audit
from ws_edge.access.oidc_settings import OidcConfig, claim_of, members_of, projects_of
from ws_edge.api.oidc_provider import Provider, ProviderUnavailable, Refused

STATE_COOKIE: Final = "__Host-testcast-oidc"
_COOKIE: Final = "; Path=/; Secure; HttpOnly; SameSite=Lax"
_TYPE: Final = "testcast-oidc-state+jwt"
_STATE_S: Final = 600
"""How long a person may take to sign in at the provider, seconds."""
_NEXT: Final = re.compile(r"/(?:tests/[0-9a-f-]{36})?(?:\?[A-Za-z0-9=&%_.,+~-]{0,500})?")
_MAX_CODE_CHARS: Final = 4096
_MAX_SUBJECT_CHARS: Final = 200
_DEFAULT_ACTIONS: Final = frozenset((Action.LIST, Action.WATCH))
_log = RateLimited(logging.getLogger("testcast.edge"), per_s=1.0)


Issue = Callable[[Request, Principal], str]
"""Begins a session: the value of `Set-Cookie`."""


class Problem(Exception):
    """Signing in has failed. The page has a sentence for each word."""

    def __init__(self, word: str) -> None:
        super().__init__(word)
        self.word = word


def principal_of(config: OidcConfig, claims: Mapping[str, object], now_s: float) -> Principal:
    """Who signs in, what they may do, and until when.

    Args:
        now_s: seconds since 1970.

    Raises:
        Problem: the claims name no project, or no subject.
    """
    subject = claim_of(claims, config.subject_claim)
    if not isinstance(subject, str) or not 0 < len(subject) <= _MAX_SUBJECT_CHARS:
        raise Problem("no_subject")
    projects = projects_of(claim_of(claims, config.projects_claim))
    if projects is not None and not projects:
        raise Problem("no_project")
    given = claim_of(claims, config.actions_claim)
    names = members_of(given)
    known = frozenset(Action) if names == ["*"] else frozenset(each for each in Action if each.value in names)
    actions = _DEFAULT_ACTIONS if given is None else known
    return Principal(subject, projects, actions, expires_at=now_s + config.session_s)


def safe_next(given: str | None) -> str:
    """Where to go on after signing in: a page of this edge, below its root; the main page for anything else."""
    return given if given is not None and _NEXT.fullmatch(given) else "/"


class Oidc:
    """The two routes.

    Args:
        key: signs the state. The same on all edges.
        issue: makes the session cookie.
        address_of: where a request comes from, for the audit log.
    """

    def __init__(self, config: OidcConfig, key: bytes, issue: Issue, address_of: Callable[[Request], str]) -> None:
        self._config = config
        self._key = OctKey.import_key(hmac.digest(key, b"testcast oidc state", hashlib.sha256))
        self._verifier_key = hmac.digest(key, b"testcast oidc verifier", hashlib.sha256)
        self._issue = issue
        self._address_of = address_of
        self._provider = Provider(config, time.monotonic)

    def __repr__(self) -> str:
        return f"<Oidc {self._config.issuer}>"

    async def login(self, request: Request) -> Response:
        """`GET /oidc/login?next=/…`: to the provider."""
        after = safe_next(request.query_params.get("next"))
        state, nonce = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
        try:
            url = await self._provider.authorization_url(state, nonce, self._verifier(state))
        except ProviderUnavailable:
            return self._back(request, after, problem="provider_unavailable")
        claims = {"state": state, "nonce": nonce, "next": after, "exp": int(time.time()) + _STATE_S}
        sealed = jwt.encode({"alg": "HS256", "typ": _TYPE}, claims, self._key)
        return _redirect(url, f"{STATE_COOKIE}={sealed}; Max-Age={_STATE_S}{_COOKIE}")

    async def callback(self, request: Request) -> Response:
        """`GET /oidc/callback`: from the provider."""
        after = "/"
        try:
            started = self._started(request)
            after = safe_next(started.get("next"))
            principal = await self._principal(request, started)
            cookie = self._issue(request, principal)
        except Problem as problem:
            audit.refused("signIn", problem.word, subject="", address=self._address_of(request))
            return self._back(request, after, problem=problem.word)
        except TestcastError:  # more projects than a cookie can hold
            return self._back(request, after, problem="not_valid")
        audit.acted("signIn", subject=principal.subject, address=self._address_of(request), detail="oidc")
        return self._back(request, after, cookie=cookie)

    async def _principal(self, request: Request, started: Mapping[str, Any]) -> Principal:
        """Checks what the provider sends a person back with.

        Raises:
            Problem.
        """
        query = request.query_params
        if not hmac.compare_digest(query.get("state", "").encode(), str(started["state"]).encode()):
            raise Problem("wrong_state")
        try:
            named = (await self._provider.metadata()).names_itself
            if query.get("iss", None if named else self._config.issuer) != self._config.issuer:
                raise Problem("not_valid")
            if "error" in query:
                raise Problem("denied" if query["error"] == "access_denied" else "refused")
            code = query.get("code", "")
            if not 0 < len(code) <= _MAX_CODE_CHARS:
                raise Problem("not_valid")
            verifier = self._verifier(started["state"])
            claims = await self._provider.exchange(code, started["nonce"], verifier, time.time())
        except ProviderUnavailable:
            raise Problem("provider_unavailable") from None
        except Refused as error:
            _log.warning("signing in with OpenID Connect has failed: %s", error)
            raise Problem("not_valid") from None
        return principal_of(self._config, claims, time.time())

    def _started(self, request: Request) -> dict[str, Any]:
        """What the cookie of `login` says.

        Raises:
            Problem: there is none, it is forged, or it has expired.
        """
        try:
            token = jwt.decode(request.cookies.get(STATE_COOKIE, ""), self._key, algorithms=["HS256"])
            jwt.JWTClaimsRegistry(exp={"essential": True}).validate(token.claims)
        except (JoseError, ValueError, TypeError):
            raise Problem("wrong_state") from None
        claims = token.claims
        if token.header.get("typ") != _TYPE or not all(isinstance(claims.get(name), str) for name in _SHARED):
            raise Problem("wrong_state")
        return dict(claims)

    def _verifier(self, state: str) -> str:
        """The secret of PKCE. It is made from the state, so that no cookie carries it."""
        digest = hmac.digest(self._verifier_key, state.encode(), hashlib.sha256)
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()

    def _back(self, request: Request, after: str, *, problem: str | None = None, cookie: str | None = None) -> Response:
        """To a page of this edge. The state is used up."""
        query = "" if problem is None else f"{'&' if '?' in after else '?'}sign-in-problem={quote(problem)}"
        response = _redirect(f"{self._config.prefix}{after}{query}", f"{STATE_COOKIE}=; Max-Age=0{_COOKIE}")
        if cookie is not None:
            response.headers.append("set-cookie", cookie)
        return response


_SHARED: Final = ("state", "nonce", "next")


def _redirect(to: str, cookie: str) -> Response:
    return Response(status_code=303, headers={"location": to, "cache-control": "no-store", "set-cookie": cookie})
