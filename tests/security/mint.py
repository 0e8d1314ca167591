"""Tokens, good and forged. Signed by hand, so that every part of one can be wrong."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import time
from pathlib import Path
from typing import Any, Final, NamedTuple

import orjson
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

Private = ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | bytes
ISSUER: Final = "testcast"
AUDIENCE: Final = "testcast"
_COORDINATE_BYTES: Final = 32


def b64(data: bytes) -> str:
    """Base64url without padding (RFC 7515, 2)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def sign(key: Private, data: bytes) -> bytes:
    """The signature by the algorithm that belongs to the key: EdDSA, ES256, RS256, or HS256 for bytes."""
    if isinstance(key, bytes):
        return hmac.digest(key, data, hashlib.sha256)
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return key.sign(data)
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(data, padding.PKCS1v15(), hashes.SHA256())
    r, s = decode_dss_signature(key.sign(data, ec.ECDSA(hashes.SHA256())))
    return r.to_bytes(_COORDINATE_BYTES, "big") + s.to_bytes(_COORDINATE_BYTES, "big")


def token(header: dict[str, Any] | bytes, claims: dict[str, Any] | bytes, key: Private | None) -> str:
    """A compact JWS (RFC 7515, 7.1).

    Args:
        key: None for an empty signature.
    """
    parts = [each if isinstance(each, bytes) else orjson.dumps(each) for each in (header, claims)]
    signed = ".".join(b64(part) for part in parts)
    return f"{signed}.{b64(sign(key, signed.encode())) if key is not None else ''}"


def split(compact: str) -> tuple[dict[str, Any], dict[str, Any], bytes]:
    """Header, claims and signature of a token."""
    header, claims, signature = (base64.urlsafe_b64decode(part + "==") for part in compact.split("."))
    return orjson.loads(header), orjson.loads(claims), signature


def claims(subject: str = "ann", **changes: Any) -> dict[str, Any]:
    """Claims of a good token of project `alpha`, with changes. None takes a claim out."""
    now = int(time.time())
    good: dict[str, Any] = {"sub": subject, "iss": ISSUER, "aud": AUDIENCE, "exp": now + 3600, "iat": now}
    good |= {"jti": os.urandom(8).hex(), "projects": ["alpha"], "can": "*"}
    return {name: value for name, value in (good | changes).items() if value is not None}


class Keys(NamedTuple):
    """The private keys of one issuer: one of each kind, and a secret."""

    ed: ed25519.Ed25519PrivateKey
    es: ec.EllipticCurvePrivateKey
    rs: rsa.RSAPrivateKey
    secret: bytes

    @classmethod
    def make(cls) -> Keys:
        """New ones."""
        return cls(
            ed25519.Ed25519PrivateKey.generate(),
            ec.generate_private_key(ec.SECP256R1()),
            rsa.generate_private_key(65537, 2048),
            os.urandom(32).hex().encode(),
        )

    def jwks(self) -> bytes:
        """The public keys as a JWKS (RFC 7517, 5), with the key ids `ed`, `es` and `rs`."""
        return orjson.dumps({"keys": [jwk(self.ed, "ed"), jwk(self.es, "es"), jwk(self.rs, "rs")]})

    def write(self, directory: Path) -> dict[str, str]:
        """Writes the JWKS and the secret. Returns the settings of an edge that takes tokens of these keys."""
        (directory / "keys.json").write_bytes(self.jwks())
        return {"TESTCAST_ACCESS_KEYS": str(directory / "keys.json")}

    def good(self, subject: str = "ann", **changes: Any) -> str:
        """A token that is in order, of project `alpha`, with changed claims."""
        return token({"alg": "EdDSA", "typ": "JWT", "kid": "ed"}, claims(subject, **changes), self.ed)

    def pem(self) -> bytes:
        """The public RSA key as everybody may have it."""
        return self.rs.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )

    def der(self) -> bytes:
        """The public RSA key, in binary."""
        return self.rs.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )


def _number(value: int) -> str:
    return b64(value.to_bytes((value.bit_length() + 7) // 8, "big"))


def jwk(key: Private, kid: str) -> dict[str, str]:
    """The public half of a key as a JWK (RFC 7517, RFC 8037)."""
    if isinstance(key, ed25519.Ed25519PrivateKey):
        raw = key.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
        return {"kty": "OKP", "crv": "Ed25519", "x": b64(raw), "kid": kid, "alg": "EdDSA", "use": "sig"}
    if isinstance(key, ec.EllipticCurvePrivateKey):
        point = key.public_key().public_numbers()
        x, y = (b64(each.to_bytes(_COORDINATE_BYTES, "big")) for each in (point.x, point.y))
        return {"kty": "EC", "crv": "P-256", "x": x, "y": y, "kid": kid, "alg": "ES256", "use": "sig"}
    assert isinstance(key, rsa.RSAPrivateKey)
    public = key.public_key().public_numbers()
    return {"kty": "RSA", "n": _number(public.n), "e": _number(public.e), "kid": kid, "alg": "RS256", "use": "sig"}
