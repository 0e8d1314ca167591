"""Access by tokens: who sends a request is told by a bearer token, or by another proof that was made from one."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from hashlib import sha256
from pathlib import Path
from typing import Final, NamedTuple, Protocol

from broker.contract.errors import NotFound
from ws_edge.access.access import Header
from ws_edge.access.authorize import Run, authorize
from ws_edge.access.keys import KeyAddress, KeyFile, Keys, KeyStatistics, SecretOnly
from ws_edge.access.principal import Action, NotAuthenticated, Principal, Undecided
from ws_edge.access.settings import AccessConfig, is_address
from ws_edge.access.tokens import UnknownKey, Verifier

Clock = Callable[[], float]

_MAX_VERIFIED: Final = 10_000
"""Tokens whose check is remembered. Beyond it the oldest goes."""
_MAX_VERIFIED_BYTES: Final = 8 << 20
"""Of these tokens: what is remembered of one takes a few times its length."""
_SCHEME: Final = "bearer"
_NO_PROOF: Final = "this server wants to know who you are: send a token (Authorization: Bearer …), or sign in"


class RunAccess(Protocol):
    """What a principal may do with a run, whose project has to be known for that."""

    def authorize(self, principal: Principal, action: Action, test_id: str | None) -> None:
        """See `Access.authorize`."""

    async def authorize_later(self, principal: Principal, action: Action, test_id: str) -> None:
        """See `Access.authorize_later`."""


class ProjectRuns:
    """Asks for the project of a run, and decides.

    Args:
        project_of: the project of a run, as far as it is known here; None otherwise.
        project_later: the project of a run; None when there is no such run.
    """

    def __init__(
        self, project_of: Callable[[str], str | None], project_later: Callable[[str], Awaitable[str | None]]
    ) -> None:
        self._project_of = project_of
        self._project_later = project_later

    def authorize(self, principal: Principal, action: Action, test_id: str | None) -> None:
        """See `Access.authorize`."""
        if test_id is None:
            authorize(principal, action, None)
            return
        project = self._project_of(test_id)
        if project is None and principal.projects is not None:
            raise Undecided
        try:
            authorize(principal, action, Run(test_id, project))
        except NotFound:  # in the time that it takes to find out that there is no such run
            raise Undecided from None

    async def authorize_later(self, principal: Principal, action: Action, test_id: str) -> None:
        """See `Access.authorize_later`."""
        authorize(principal, action, Run(test_id, await self._project_later(test_id)))


class _Remembered(NamedTuple):
    principal: Principal
    version: int
    """Of the keys that it was checked with."""
    size: int
    """Of the token, bytes."""


class TokenAccessStatistics(NamedTuple):
    """What a node has seen of tokens since its start."""

    remembered: int
    hits: int
    verified: int
    refused: int
    keys: KeyStatistics


class TokenAccess:
    """Knows who sends a request by its token, and what they may do. See `Access`.

    Args:
        config: the settings, which are enabled.
        runs: decides about runs.
        keys: public keys; None: as the settings say.
        clock: seconds since 1970.

    Attributes:
        revoked: whether a token with this id (`jti`) is revoked. It does not block.

    Raises:
        InvalidSetting: the file of keys cannot be used.
    """

    def __init__(
        self, config: AccessConfig, runs: RunAccess, keys: Keys | None = None, clock: Clock = time.time
    ) -> None:
        self.revoked: Callable[[str], bool] = lambda _token_id: False
        self.keys = keys if keys is not None else keys_of(config)
        self._runs = runs
        self._verifier = Verifier(config)
        self._clock = clock
        self._anonymous = _anonymous(config)
        self._remembered: dict[bytes, _Remembered] = {}
        self._remembered_bytes = 0
        self._hits, self._verified, self._refused = 0, 0, 0

    def __repr__(self) -> str:
        return f"<TokenAccess {self._verifier!r} {self.keys!r} remembered={len(self._remembered)}>"

    def statistics(self) -> TokenAccessStatistics:
        """The figures of this moment."""
        keys = self.keys.statistics()
        return TokenAccessStatistics(len(self._remembered), self._hits, self._verified, self._refused, keys)

    def identify(self, header: Header) -> Principal:
        """See `Access.identify`. A wrong token is refused, whatever else the request has."""
        given = header("authorization")
        if given is not None:
            return self.principal_of(_bearer(given))
        return self._without_proof()

    async def identify_later(self, header: Header) -> Principal:
        """See `Access.identify_later`."""
        given = header("authorization")
        if given is not None:
            return await self.principal_of_later(_bearer(given))
        return self._without_proof()

    def principal_of(self, token: str) -> Principal:
        """Whose token this is.

        Raises:
            NotAuthenticated: it is not good, or revoked. The message says why, and shows nothing of it.
            Undecided: its key may be known elsewhere.
        """
        try:
            return self._checked(token)
        except UnknownKey:
            if self.keys.may_learn:
                raise Undecided from None
            self._refused += 1
            raise
        except NotAuthenticated:
            self._refused += 1
            raise

    async def principal_of_later(self, token: str) -> Principal:
        """Whose token this is, after a look for its key where that is due.

        Raises:
            NotAuthenticated: as above.
        """
        try:
            return self._checked(token)
        except UnknownKey:
            await self.keys.learn()
        except NotAuthenticated:
            self._refused += 1
            raise
        try:
            return self._checked(token)
        except NotAuthenticated:
            self._refused += 1
            raise

    def _checked(self, token: str) -> Principal:
        """What is remembered of a token counts only while its keys do, and its time and revocation are always asked."""
        name = sha256(token.encode("utf-8", "surrogatepass")).digest()
        keys, now = self.keys.current(), self._clock()
        known = self._remembered.get(name)
        principal = known.principal if known is not None and known.version == self.keys.version else None
        if principal is not None and (principal.expires_at is None or now < principal.expires_at):
            self._hits += 1
        else:
            self._forget(name)
            principal = self._verifier.verify(token, keys, now).principal
            self._verified += 1
            self._remember(name, _Remembered(principal, self.keys.version, len(token)))
        if principal.token_id is not None and self.revoked(principal.token_id):
            raise NotAuthenticated("the token is revoked")
        return principal

    def _remember(self, name: bytes, what: _Remembered) -> None:
        self._remembered[name] = what
        self._remembered_bytes += what.size
        while len(self._remembered) > _MAX_VERIFIED or self._remembered_bytes > _MAX_VERIFIED_BYTES:
            self._forget(next(iter(self._remembered)))

    def _forget(self, name: bytes) -> None:
        known = self._remembered.pop(name, None)
        self._remembered_bytes -= 0 if known is None else known.size

    def _without_proof(self) -> Principal:
        if self._anonymous is None:
            raise NotAuthenticated(_NO_PROOF)
        return self._anonymous

    def authorize(self, principal: Principal, action: Action, test_id: str | None) -> None:
        """See `Access.authorize`."""
        self._runs.authorize(principal, action, test_id)

    async def authorize_later(self, principal: Principal, action: Action, test_id: str) -> None:
        """See `Access.authorize_later`."""
        await self._runs.authorize_later(principal, action, test_id)


def keys_of(config: AccessConfig) -> Keys:
    """The source of public keys that the settings name.

    Raises:
        InvalidSetting: the file cannot be used.
    """
    if config.keys is None:
        return SecretOnly()
    return KeyAddress(config.keys) if is_address(config.keys) else KeyFile(Path(config.keys).expanduser())


def _anonymous(config: AccessConfig) -> Principal | None:
    """Who sends a request without any proof. None: nobody may."""
    if not config.anonymous:
        return None
    return Principal("anonymous", config.anonymous, frozenset((Action.LIST, Action.WATCH)))


def _bearer(given: str) -> str:
    """The token in an `Authorization` header (RFC 6750, 2.1).

    Raises:
        NotAuthenticated: it holds none, or another proof: none is left aside.
    """
    scheme, _, token = given.strip(" \t").partition(" ")
    token = token.strip(" ")
    if scheme.lower() != _SCHEME or not token:
        raise NotAuthenticated("Authorization has to be: Bearer, a space and one token")
    if "," in token:
        raise NotAuthenticated("the request has more than one Authorization")
    return token
