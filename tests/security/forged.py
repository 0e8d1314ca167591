"""Forged tokens: a sentence for each, and how it is made. Every one must be refused at every door."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

import orjson
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from tests.security.mint import Keys, b64, claims, jwk, split, token

Forge = Callable[[Keys], str]
HEADER: Final[dict[str, Any]] = {"alg": "EdDSA", "typ": "JWT", "kid": "ed"}
_ATTACKER: Final = Keys.make()
_ENCRYPTED: Final = b'{"alg":"dir","enc":"A128GCM","zip":"DEF"}'
_LONG_AGO_S: Final = 120
"""More than the skew of 30 s."""


def _signed(header: dict[str, Any] | None = None, **changes: Any) -> Forge:
    """A token that is signed well, with another header or other claims."""
    given = {name: value for name, value in (HEADER | (header or {})).items() if value is not None}
    return lambda keys: token(given, claims(**changes), keys.ed)


def _by_attacker(**header: Any) -> Forge:
    """A token that the attacker has signed with a key of its own."""
    return lambda _keys: token(HEADER | header, claims(projects="*"), _ATTACKER.ed)


def _raw_claims(text: Callable[[str], str]) -> Forge:
    """A well signed token whose claims are this text, made of those of a good one."""
    return lambda keys: token(HEADER, text(orjson.dumps(claims()).decode()).encode(), keys.ed)


def _tampered(change: Callable[[list[str]], list[str]]) -> Forge:
    """A good token whose three parts were changed after it was signed."""
    return lambda keys: ".".join(change(keys.good().split(".")))


def _with_claims(**changes: Any) -> Callable[[list[str]], list[str]]:
    return lambda parts: [parts[0], b64(orjson.dumps(split(".".join(parts))[1] | changes)), parts[2]]


def _with_header(**changes: Any) -> Callable[[list[str]], list[str]]:
    return lambda parts: [b64(orjson.dumps(split(".".join(parts))[0] | changes)), parts[1], parts[2]]


def _hmac_with(public: Callable[[Keys], bytes], kid: str = "rs") -> Forge:
    return lambda keys: token({"alg": "HS256", "typ": "JWT", "kid": kid}, claims(projects="*"), public(keys))


def _psychic(keys: Keys) -> str:
    signed = token({"alg": "ES256", "typ": "JWT", "kid": "es"}, claims(projects="*"), None)
    return signed + b64(bytes(64))


def _der(keys: Keys) -> str:
    signed = token({"alg": "ES256", "typ": "JWT", "kid": "es"}, claims(), None)
    return signed + b64(keys.es.sign(signed[:-1].encode(), ec.ECDSA(hashes.SHA256())))


def _wrong_key(alg: str, kid: str, key: str) -> Forge:
    return lambda keys: token({"alg": alg, "typ": "JWT", "kid": kid}, claims(projects="*"), getattr(keys, key))


def _json_serialization(keys: Keys) -> str:
    protected, payload, signature = keys.good().split(".")
    return orjson.dumps({"payload": payload, "protected": protected, "signature": signature}).decode()


def _last_bits(parts: list[str]) -> list[str]:
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    flipped = alphabet[alphabet.index(parts[2][0]) ^ 1]
    return [parts[0], parts[1], flipped + parts[2][1:]]


FORGED: Final[dict[str, Forge]] = {
    # -- time
    "an expired token": _signed(exp=int(time.time()) - _LONG_AGO_S),
    "a token that is not valid yet": _signed(nbf=int(time.time()) + 3600),
    "a token without an end": _signed(exp=None),
    "a token whose end is text": _signed(exp="9999999999"),
    "a token whose end is true": _signed(exp=True),
    "a token whose end is a list": _signed(exp=[9999999999]),
    "a token whose end is negative": _signed(exp=-1),
    "a token whose end is NaN": _raw_claims(lambda text: text.replace('"exp":', '"exp":NaN,"was":')),
    "a token whose end is 1e999": _raw_claims(lambda text: text.replace('"exp":', '"exp":1e999,"was":')),
    "a token whose start is text": _signed(nbf="now"),
    # -- algorithms
    "a token without signature, alg none": lambda _keys: token({"alg": "none", "typ": "JWT"}, claims(), None),
    "a token without signature, alg nOnE": lambda _keys: token({"alg": "nOnE", "typ": "JWT"}, claims(), None),
    "a token without signature, alg empty": lambda _keys: token({"alg": "", "typ": "JWT"}, claims(), None),
    "a token without alg": _signed({"alg": None}),
    "a token whose alg is a list": _signed({"alg": ["EdDSA"]}),
    "a good token whose alg was changed to none": _tampered(_with_header(alg="none")),
    "a good token whose signature was removed": _tampered(lambda parts: [parts[0], parts[1], ""]),
    "a good token with two parts": _tampered(lambda parts: parts[:2]),
    "the RSA public key (PEM) as an HMAC secret": _hmac_with(Keys.pem),
    "the RSA public key (PEM without its last line end) as an HMAC secret": _hmac_with(lambda keys: keys.pem().strip()),
    "the RSA public key (DER) as an HMAC secret": _hmac_with(Keys.der),
    "the published JWKS as an HMAC secret": _hmac_with(Keys.jwks),
    "an HMAC with an empty secret": _hmac_with(lambda _keys: b"", "ed"),
    "an HMAC with the issuer's own secret, where HS256 is off": _hmac_with(lambda keys: keys.secret, "ed"),
    "a signature by the ES256 key under EdDSA": _wrong_key("EdDSA", "ed", "es"),
    "a signature by the ES256 key under EdDSA, with its kid": _wrong_key("EdDSA", "es", "es"),
    "a signature by the EdDSA key under ES256": _wrong_key("ES256", "ed", "ed"),
    "a signature by the RSA key under ES256": _wrong_key("ES256", "rs", "rs"),
    "RS512, which the edge was not told to take": _wrong_key("RS512", "rs", "rs"),
    "an ES256 signature of zeros": _psychic,
    "an ES256 signature in DER": _der,
    # -- signatures
    "a good token with a changed bit in its signature": _tampered(_last_bits),
    "a good token whose projects were changed": _tampered(_with_claims(projects="*")),
    "a good token whose end was changed": _tampered(_with_claims(exp=9999999999)),
    "a good token whose kid was changed": _tampered(_with_header(kid="es")),
    "the attacker's key under the known kid": _by_attacker(),
    "the attacker's key embedded as jwk": _by_attacker(jwk=jwk(_ATTACKER.ed, "ed")),
    "the attacker's key embedded as jwk, under its own kid": _by_attacker(jwk=jwk(_ATTACKER.ed, "mine"), kid="mine"),
    "a certificate chain of the attacker (x5c)": _by_attacker(x5c=[b64(b"certificate")]),
    "an unknown kid": _by_attacker(kid="unknown"),
    # -- kid
    "a kid that climbs folders": _by_attacker(kid="../../../../../../dev/null"),
    "a kid that is SQL": _by_attacker(kid="' UNION SELECT 'AA' -- "),
    "a kid that is a command": _by_attacker(kid="x; id > /tmp/owned"),
    "a kid with line ends": _by_attacker(kid="a\r\nSet-Cookie: b"),
    "a kid of 8,000 characters": _by_attacker(kid="k" * 8000),
    "a kid that is a number": _by_attacker(kid=7),
    "a kid that is an object": _by_attacker(kid={"ed": "ed"}),
    "a kid that is null": _by_attacker(kid=None),
    # -- header
    "a critical extension that nobody knows": _signed({"crit": ["x"], "x": 1}),
    "a critical extension that is exp": _signed({"crit": ["exp"], "exp": 1}),
    "an empty list of critical extensions": _signed({"crit": []}),
    "an unencoded payload (b64 false)": _signed({"b64": False, "crit": ["b64"]}),
    "a typ of another kind of token": _signed({"typ": "dpop+jwt"}),
    "a typ of sessions": _signed({"typ": "testcast-session"}),
    "a typ of sessions, as MIME type": _signed({"typ": "testcast-session+jwt"}),
    "a typ of tickets": _signed({"typ": "testcast-ticket+jwt"}),
    "a typ that is a number": _signed({"typ": 1}),
    "a header that is a list": lambda keys: token(b'["EdDSA"]', claims(), keys.ed),
    "a header with two algs, the first none": lambda keys: token(
        b'{"alg":"none","alg":"HS256","typ":"JWT","kid":"ed"}', claims(), keys.pem()
    ),
    # -- who issued it, for whom
    "another issuer": _signed(iss="other-issuer"),
    "no issuer": _signed(iss=None),
    "an issuer in other case": _signed(iss="Testcast"),
    "an issuer that only begins like ours": _signed(iss="testcast.evil.example"),
    "a list of issuers": _signed(iss=["testcast", "other-issuer"]),
    "another audience": _signed(aud="other-service"),
    "no audience": _signed(aud=None),
    "a list of other audiences": _signed(aud=["a", "b"]),
    "an audience that is an object": _signed(aud={"testcast": True}),
    # -- shape
    "claims that are a list": lambda keys: token(HEADER, b"[1,2]", keys.ed),
    "claims that are no JSON": lambda keys: token(HEADER, b"{nonsense", keys.ed),
    "claims that are no UTF-8": lambda keys: token(HEADER, b'{"sub":"\xff\xfe"}', keys.ed),
    "claims nested 5,000 deep": _raw_claims(lambda text: '{"a":' + "[" * 5000 + "]" * 5000 + "," + text[1:]),
    "a token of 28 KB": _signed(jti="j" * 20_000, iss="x"),
    "a token in JSON form": _json_serialization,
    "a token with a fourth part": _tampered(lambda parts: [*parts, "e30"]),
    "an encrypted token (five parts)": lambda _keys: ".".join([b64(_ENCRYPTED), "", "", "A" * 30, ""]),
    "a token with line ends in it": _tampered(lambda parts: [parts[0], parts[1] + "%0d%0a", parts[2]]),
    "a token with padding": _tampered(lambda parts: [parts[0] + "==", parts[1], parts[2]]),
    "a token of nothing but dots": lambda _keys: "..",
    "an empty token": lambda _keys: "",
    "a token without a subject": _signed(sub=None),
    "a subject that is a number": _signed(sub=7),
    "a subject that is an object": _signed(sub={"name": "ann"}),
    "a token for the issuer's other service": _signed({"typ": "at+jwt"}, aud="billing"),
}
"""What is tried -> how it is made."""


def by_attacker(**header: Any) -> str:
    """A token signed with the attacker's key, whose header has these parameters."""
    return _by_attacker(**header)(_ATTACKER)
