"""The public keys that tokens are checked with, as JSON Web Key Sets (RFC 7517). Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import orjson
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, Key, OKPKey, RSAKey

from broker.contract.errors import BadInput

MAX_KEYS_BYTES: Final = 64 * 1024
MAX_KEYS: Final = 100
_MIN_RSA_BITS: Final = 2048
_MAX_RSA_BITS: Final = 8192
"""A check takes longer with a longer key: one of 8192 bits 0.3 ms."""
_MAX_RSA_EXPONENT: Final = 2**32
_PRIVATE_MEMBERS: Final = ("d", "p", "q", "dp", "dq", "qi", "oth")


class MalformedKeys(BadInput):
    """It is not a set of public keys. The message says why."""


class KeySet(NamedTuple):
    """Public keys by algorithm and key id. A key is used with the one algorithm that its type is for, and no other."""

    keys: Mapping[tuple[str, str | None], Key]
    ignored: int
    """Keys that are of no use here: other types, other uses."""

    def __repr__(self) -> str:
        return f"<KeySet keys={len(self.keys)} ignored={self.ignored}>"

    def find(self, algorithm: str, key_id: str | None) -> Key | None:
        """The key of this id for this algorithm; for a token without a key id, the only key for this algorithm."""
        if key_id is not None:
            return self.keys.get((algorithm, key_id))
        suitable = [key for (name, _), key in self.keys.items() if name == algorithm]
        return suitable[0] if len(suitable) == 1 else None


NO_KEYS: Final = KeySet({}, 0)


def parse_keys(content: bytes) -> KeySet:
    """Reads a set of public keys.

    Symmetric keys are ignored: whoever can read the set could sign with them.

    Raises:
        MalformedKeys: it is no set, holds a private key, or two different keys of one id for one algorithm.
    """
    if len(content) > MAX_KEYS_BYTES:
        raise MalformedKeys(f"the set of keys is larger than {MAX_KEYS_BYTES} bytes")
    try:
        given = orjson.loads(content)
    except orjson.JSONDecodeError:
        raise MalformedKeys("the set of keys is not JSON") from None
    members = given.get("keys") if isinstance(given, dict) else None
    if not isinstance(members, list) or not all(isinstance(each, dict) for each in members):
        raise MalformedKeys('it is not a set of keys: expected an object {"keys": [...]} (JWKS)')
    if len(members) > MAX_KEYS:
        raise MalformedKeys(f"the set holds {len(members)} keys, at most {MAX_KEYS} are accepted")
    found: dict[tuple[str, str | None], Key] = {}
    for each in members:
        if each.get("kty") != "oct" and any(name in each for name in _PRIVATE_MEMBERS):
            raise MalformedKeys("the set holds a private key: whoever reads it can make tokens; give the public keys")
        read = _public_key(each)
        if read is None:
            continue
        algorithm, key_id, key = read
        if found.setdefault((algorithm, key_id), key) != key:
            raise MalformedKeys("the set holds two different keys of one id (kid) for one algorithm")
    return KeySet(found, len(members) - len(found))


def _public_key(given: dict[str, Any]) -> tuple[str, str | None, Key] | None:
    """The algorithm, the id and the key. None: it is not a key for signatures that are accepted here."""
    algorithm = _algorithm(given)
    key_id = given.get("kid")
    operations = given.get("key_ops", ["verify"])
    if algorithm is None or given.get("alg", algorithm) != algorithm or given.get("use", "sig") != "sig":
        return None
    if not isinstance(operations, list) or "verify" not in operations or not isinstance(key_id, str | None):
        return None
    try:
        key = _TYPES[algorithm].import_key({name: given[name] for name in _MEMBERS[algorithm]})
    except (JoseError, ValueError, KeyError, TypeError, AttributeError):  # of the library, for values of other types
        return None
    return (algorithm, key_id, key) if not isinstance(key, RSAKey) or _is_sound(key) else None


def _algorithm(given: Mapping[str, Any]) -> str | None:
    """The one algorithm that a key of this type is used with."""
    return _ALGORITHMS.get((str(given.get("kty")), None if given.get("kty") == "RSA" else str(given.get("crv"))))


def _is_sound(key: RSAKey) -> bool:
    numbers = key.public_key.public_numbers()
    length = numbers.n.bit_length()
    return _MIN_RSA_BITS <= length <= _MAX_RSA_BITS and numbers.n % 2 == 1 and 3 <= numbers.e <= _MAX_RSA_EXPONENT


_ALGORITHMS: Final = {("OKP", "Ed25519"): "EdDSA", ("EC", "P-256"): "ES256", ("RSA", None): "RS256"}
_TYPES: Final[Mapping[str, type[OKPKey | ECKey | RSAKey]]] = {"EdDSA": OKPKey, "ES256": ECKey, "RS256": RSAKey}
_MEMBERS: Final = {"EdDSA": ("kty", "crv", "x"), "ES256": ("kty", "crv", "x", "y"), "RS256": ("kty", "n", "e")}
"""What makes the key. Nothing else of it is handed on."""
