"""Keys and tokens for tests, good ones and others."""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from functools import cache
from typing import Any, Final

from joserfc.jwk import ECKey, Key, OctKey, OKPKey, RSAKey
from joserfc.jws import JWSRegistry

NOW: Final = 1_800_000_000.0
SECRET: Final = bytes(range(40, 80))
ALGORITHMS: Final = ("EdDSA", "ES256", "RS256", "HS256")


@cache
def a_key(algorithm: str, number: int = 0) -> Key:
    """A private key, the same one for the same arguments."""
    del number
    if algorithm == "EdDSA":
        return OKPKey.generate_key("Ed25519")
    if algorithm == "ES256":
        return ECKey.generate_key("P-256")
    return OctKey.import_key(SECRET) if algorithm == "HS256" else RSAKey.generate_key(2048)


def public(key: Key, key_id: str | None, **members: object) -> dict[str, Any]:
    """A key as a member of a JWKS."""
    found = {**key.as_dict(private=False), "kid": key_id, **members}
    return {name: value for name, value in found.items() if value is not None}


def jwks(*members: dict[str, Any]) -> bytes:
    """A set of keys; without arguments one of each algorithm, named after it."""
    found = members or tuple(public(a_key(each), each) for each in ALGORITHMS[:3])
    return json.dumps({"keys": found}).encode()


def claims(**changes: object) -> dict[str, Any]:
    """Good claims, with changes; None takes one away."""
    good: dict[str, Any] = {
        "sub": "ann",
        "iss": "testcast",
        "aud": "testcast",
        "exp": int(NOW) + 3600,
        "jti": "token-1",
    }
    good |= {"projects": ["red", "blue"], "can": ["list", "watch"]}
    return {name: value for name, value in {**good, **changes}.items() if value is not None}


def a_token(
    algorithm: str = "EdDSA",
    body: Mapping[str, Any] | bytes | None = None,
    *,
    key: Key | None = None,
    header: Mapping[str, Any] | bytes | None = None,
) -> str:
    """A token, signed as `algorithm` has it, whatever its header says.

    Args:
        header: changes to the header, None takes a member away; bytes: the whole of it.
    """
    usual = {"alg": algorithm, "kid": algorithm, "typ": "JWT"}
    if not isinstance(header, bytes):
        changed = {**usual, **(header or {})}
        header = json.dumps({name: value for name, value in changed.items() if value is not None}).encode()
    if not isinstance(body, bytes):
        body = json.dumps(claims() if body is None else body).encode()
    signed = f"{base64url(header)}.{base64url(body)}"
    signature = JWSRegistry.algorithms[algorithm].sign(signed.encode(), key or a_key(algorithm))
    return f"{signed}.{base64url(signature)}"


def base64url(data: bytes) -> str:
    """Without padding, as tokens have it."""
    return urlsafe_b64encode(data).rstrip(b"=").decode()
