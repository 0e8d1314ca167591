"""Who holds a token: its signature and its claims become a principal. Pure: time and keys are passed in."""

from __future__ import annotations

from typing import NamedTuple

from joserfc.jwk import Key, OctKey

from broker.contract.access import SECRET_ALGORITHM
from broker.contract.errors import InvalidSetting
from broker.contract.token_keys import KeySet
from broker.contract.tokens import MalformedToken, Token, grant, is_signed_by, parse, problems
from ws_edge.access.principal import Action, NotAuthenticated, Principal
from ws_edge.access.settings import SECRET_FILE, AccessConfig


class UnknownKey(NotAuthenticated):
    """The token may be good: the key that it names is not among those that are known."""


class Verified(NamedTuple):
    """What a good token says."""

    principal: Principal
    key: Key
    """The key that has signed it."""


class Verifier:
    """Checks tokens as the settings demand. It keeps nothing but them.

    Raises:
        InvalidSetting: the secret is a public key.
    """

    def __init__(self, config: AccessConfig) -> None:
        self._config = config
        self._secret: OctKey | None = None
        if config.secret is not None:
            try:
                self._secret = OctKey.import_key(bytes(config.secret))
            except ValueError:  # joserfc refuses what is a public key
                raise InvalidSetting(f"{SECRET_FILE}: the file holds a key, and no secret of random bytes") from None

    def __repr__(self) -> str:
        return f"<Verifier {' '.join(self._config.algorithms)} issuer={self._config.issuer!r}>"

    def verify(self, text: str, keys: KeySet, now: float) -> Verified:
        """Checks a token.

        Args:
            text: the token in its compact form.
            keys: public keys that are known now.
            now: seconds since 1970.

        Raises:
            UnknownKey: it names a key that is not known.
            NotAuthenticated: it is not good. The message says why, and shows nothing of it.
        """
        try:
            token = parse(text)
        except MalformedToken as error:
            raise NotAuthenticated(error.message) from None
        key = self._key(token, keys)
        if not is_signed_by(token, key):
            raise NotAuthenticated("the token's signature is wrong")
        wrong = problems(token.claims, self._config.issuer, self._config.audience, now)
        if wrong:
            raise NotAuthenticated(wrong[0])
        return Verified(_principal(token), key)

    def _key(self, token: Token, keys: KeySet) -> Key:
        """The key to check a token with. The algorithm decides where it comes from: a public key is no HMAC secret."""
        if token.algorithm not in self._config.algorithms:
            raise NotAuthenticated(f"the token's algorithm (alg) is none of {', '.join(self._config.algorithms)}")
        if token.algorithm == SECRET_ALGORITHM:
            assert self._secret is not None, "the settings demand a secret for it"
            return self._secret
        if not keys.keys:
            raise UnknownKey("no key to check tokens with is known at the moment: try again later")
        key = keys.find(token.algorithm, token.key_id)
        if key is None and token.key_id is None:
            raise UnknownKey("the token names no key (kid), and there is not exactly one for its algorithm")
        if key is None:
            raise UnknownKey("the token's key (kid) is not known, or not for its algorithm")
        return key


def _principal(token: Token) -> Principal:
    given = grant(token.claims)
    actions = frozenset(Action(each) for each in given.actions)
    return Principal(given.subject, given.projects, actions, frozenset(), given.expires_at, given.token_id)
