"""Access tokens: JSON Web Tokens (RFC 7519) that say who sends a request and what they may do. Pure.

`parse` reads a token without trusting it, `problems` judges its claims, `is_signed_by` its signature. A token counts
only where all three are content. No message holds a piece of a token.
"""

from __future__ import annotations

import json
import math
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

from joserfc.errors import JoseError
from joserfc.jwk import Key
from joserfc.jws import JWSRegistry

from broker.contract.access import ACTIONS, EVERYTHING, PROJECT
from broker.contract.durations import duration
from broker.contract.errors import BadInput

MAX_TOKEN_BYTES: Final = 8 * 1024
"""Longer ones are not read: a token with a hundred projects has 4 KiB."""
SKEW_S: Final = 30.0
"""How far the clocks of an issuer and an edge may differ."""
TYPES: Final = ("JWT", "at+jwt", "testcast+jwt")
"""What the header may name as `typ`. Other tokens of the same issuer, such as ID tokens of a sign-in, differ in it or
in their audience."""

_COMPACT: Final = re.compile(r"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)")
_NAME: Final = re.compile(r"[!-~](?:[ -~]{0,253}[!-~])?")
"""A subject or an id: ASCII, so that a log shows what it is (OpenID Connect Core, 2: at most 255 ASCII characters)."""
_MAX_MEMBERS: Final = 256
_ACTION: Final = re.compile(r".{1,64}")
"""The name of an action, also of one that another version knows."""
_LAST_MOMENT_S: Final = 2.0**53


class MalformedToken(BadInput):
    """It is not a signed token of a form that is accepted. The message says why, and shows nothing of it."""


class Token(NamedTuple):
    """What a token says. Nothing of it counts before its signature is checked."""

    algorithm: str
    key_id: str | None
    """The id of the key that signed it. None: it names none."""
    header: Mapping[str, Any]
    claims: Mapping[str, Any]
    signed: bytes
    """What the signature is about."""
    signature: bytes

    def __repr__(self) -> str:
        return "<Token>"


class Grant(NamedTuple):
    """What the claims of a token allow."""

    subject: str
    projects: frozenset[str] | None
    """None: all."""
    actions: frozenset[str]
    """Of `ACTIONS`. Others that the token names are for other versions, and left out."""
    expires_at: float
    """Seconds since 1970."""
    token_id: str | None
    """By which it can be revoked. None: it can't be."""


def parse(text: str) -> Token:
    """Reads a token in its compact form.

    Raises:
        MalformedToken: it is none, or of a form that is not accepted.
    """
    if len(text) > MAX_TOKEN_BYTES:
        raise MalformedToken(f"the token is longer than {MAX_TOKEN_BYTES} bytes")
    parts = _COMPACT.fullmatch(text)
    if parts is None:
        raise MalformedToken(_why_not_compact(text))
    header = _object(_decoded(parts[1], "header"), "header")
    _check_header(header)
    claims = _object(_decoded(parts[2], "body"), "body")
    signed = f"{parts[1]}.{parts[2]}".encode("ascii")
    return Token(header["alg"], header.get("kid"), header, claims, signed, _decoded(parts[3], "signature"))


def _why_not_compact(text: str) -> str:
    dots = text.count(".")
    if dots == 4:
        return "the token is encrypted (JWE): only signed tokens are accepted"
    if dots == 2 and text.endswith("."):
        return "the token has no signature"
    return "it is not a token: a token has three parts of letters, digits, - and _, separated by dots"


def _decoded(part: str, name: str) -> bytes:
    """The bytes of one part. There is one way only to write them: otherwise one token would have several texts."""
    try:
        data = urlsafe_b64decode(part + "=" * (-len(part) % 4))
    except ValueError:
        data = b""
    if urlsafe_b64encode(data).rstrip(b"=") != part.encode("ascii"):
        raise MalformedToken(f"the token's {name} is not base64url")
    return data


def _object(data: bytes, name: str) -> dict[str, Any]:
    try:
        value = _DECODER.decode(data.decode("utf-8"))
    except (ValueError, RecursionError):  # RecursionError: a nest of a thousand arrays
        value = None
    if not isinstance(value, dict):
        raise MalformedToken(f"the token's {name} is not a JSON object whose names are all different")
    return value


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Who checks a token and who uses it may read different ones of two values with one name (RFC 8725, 2.4)."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError
    return found


def _no_constant(_name: str) -> None:
    raise ValueError  # NaN and Infinity are not JSON


_DECODER: Final = json.JSONDecoder(object_pairs_hook=_without_repetition, parse_constant=_no_constant)


def _check_header(header: Mapping[str, Any]) -> None:
    """Keys that a header brings along or links to (`jwk`, `x5c`, `jku`, `x5u`) are never used, and may stand there."""
    algorithm = header.get("alg")
    if not isinstance(algorithm, str):
        raise MalformedToken("the token names no algorithm")
    if algorithm.lower() == "none":
        raise MalformedToken("the token is not signed (alg none)")
    if "enc" in header or "zip" in header:
        raise MalformedToken("the token is encrypted or compressed: only signed tokens are accepted")
    if "crit" in header or "b64" in header:
        raise MalformedToken("the token demands extensions (crit): none is supported")
    if "cty" in header:
        raise MalformedToken("the token holds another token (cty): only plain ones are accepted")
    kind = header.get("typ")
    if not isinstance(kind, str) or kind.lower().removeprefix("application/") not in _LOWER_TYPES:
        raise MalformedToken(f"the token is of another type (typ): expected one of {', '.join(TYPES)}")
    key_id = header.get("kid")
    if key_id is not None and not (isinstance(key_id, str) and _NAME.fullmatch(key_id)):
        raise MalformedToken("the token's key id (kid) is not a text of 1 to 255 ASCII characters")


_LOWER_TYPES: Final = frozenset(each.lower() for each in TYPES)
"""Media types are compared without case, and may lack their beginning (RFC 7515, 4.1.9)."""


def is_signed_by(token: Token, key: Key) -> bool:
    """Whether the key made the token's signature, with the algorithm that the token names.

    The caller has chosen the key, and made sure that it is one for this algorithm.
    """
    try:
        return JWSRegistry.algorithms[token.algorithm].verify(token.signed, token.signature, key)
    except (JoseError, ValueError):
        return False


def sign(claims: Mapping[str, Any], algorithm: str, key: Key, key_id: str | None, kind: str = "testcast+jwt") -> str:
    """Makes a token in its compact form.

    Args:
        key: a private key for the algorithm.
        kind: the header's `typ`.
    """
    header = {"alg": algorithm, "typ": kind} | ({} if key_id is None else {"kid": key_id})
    signed = f"{_encoded(header)}.{_encoded(claims)}"
    return f"{signed}.{_base64url(JWSRegistry.algorithms[algorithm].sign(signed.encode('ascii'), key))}"


def _encoded(value: Mapping[str, Any]) -> str:
    return _base64url(json.dumps(value, separators=(",", ":")).encode("ascii"))


def _base64url(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def problems(claims: Mapping[str, Any], issuer: str, audience: str, now: float) -> list[str]:
    """A sentence for each thing that is wrong with the claims of a token. Its signature is checked elsewhere.

    Args:
        now: seconds since 1970.
    """
    found = [
        *_times(claims, now),
        _unless(claims.get("iss") == issuer, f"the token is of another issuer (iss): expected {issuer}"),
        _unless(_is_for(claims.get("aud"), audience), f"the token is for somebody else (aud): expected {audience}"),
        _unless("cnf" not in claims, "the token is bound to a key of its holder (cnf), which is not supported"),
        _unless(_is_name(claims.get("sub")), "the token's subject (sub) is not a text of 1 to 255 ASCII characters"),
        _unless(claims.get("sub") != "anonymous", "the token's subject (sub) is the word for requests without a token"),
        _unless(_is_name(claims.get("jti", "none")), "the token's id (jti) is not a text of 1 to 255 ASCII characters"),
        _members_problem(claims, "projects", PROJECT),
        _members_problem(claims, "can", _ACTION),
    ]
    return [each for each in found if each]


def _unless(good: bool, problem: str) -> str:
    return "" if good else problem


def _is_name(value: object) -> bool:
    return isinstance(value, str) and _NAME.fullmatch(value) is not None


def _is_for(value: object, audience: str) -> bool:
    named = [value] if isinstance(value, str) else value
    return isinstance(named, list) and all(isinstance(each, str) for each in named) and audience in named


def _times(claims: Mapping[str, Any], now: float) -> Iterable[str]:
    for name in ("exp", "nbf", "iat"):
        if name in claims and not _is_moment(claims[name]):
            yield f"the token's time {name} is not a number of seconds since 1970"
            return
    if "exp" not in claims:
        yield "the token never expires (exp): one without an end is not accepted"
    elif claims["exp"] <= now - SKEW_S:
        yield f"the token expired {duration(now - claims['exp'])} ago"
    if claims.get("nbf", now) > now + SKEW_S:
        yield f"the token is not valid yet (nbf): it will be in {duration(claims['nbf'] - now)}"
    if claims.get("iat", now) > now + SKEW_S:
        yield f"the token was issued in the future (iat), in {duration(claims['iat'] - now)}: a clock is wrong"


def _is_moment(value: object) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and -_LAST_MOMENT_S < value < _LAST_MOMENT_S and math.isfinite(value)  # type: ignore[operator, arg-type]


def _members_problem(claims: Mapping[str, Any], name: str, form: re.Pattern[str]) -> str:
    given = claims.get(name)
    if given == EVERYTHING:
        return ""
    if given is None:
        return f"the token does not say which {'projects' if name == 'projects' else 'actions'} it is for ({name})"
    if not isinstance(given, list) or len(given) > _MAX_MEMBERS:
        return f'the token\'s {name} is neither "*" nor a list of at most {_MAX_MEMBERS} names'
    if not all(isinstance(each, str) and form.fullmatch(each) for each in given):
        return f"the token's {name} holds something that is not a name"
    return ""


def grant(claims: Mapping[str, Any]) -> Grant:
    """What claims allow in which `problems` finds none."""
    projects, can = claims["projects"], claims["can"]
    return Grant(
        subject=claims["sub"],
        projects=None if projects == EVERYTHING else frozenset(projects),
        actions=frozenset(ACTIONS if can == EVERYTHING else (each for each in ACTIONS if each in can)),
        expires_at=float(claims["exp"]),
        token_id=claims.get("jti"),
    )
