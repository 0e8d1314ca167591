"""The files of a protected installation: keys and tokens that `testcast token` makes, and what it says of a token."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import orjson
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, Key, OKPKey, RSAKey

from broker.contract.access import ACTIONS, AUDIENCE, EVERYTHING, ISSUER, PROJECT, PUBLIC_KEY_ALGORITHMS
from broker.contract.errors import BadInput
from broker.contract.token_keys import KeySet, MalformedKeys, parse_keys
from broker.contract.tokens import MAX_TOKEN_BYTES, MalformedToken, Token, is_signed_by, parse, problems, sign

FOLDER: Final = "access"
"""Below the state directory."""
KEYS: Final = "keys.json"
SIGNING_KEY: Final = "signing-key.json"
SESSION_KEY: Final = "session.key"
TOKEN: Final = "token"
DEFAULT_ALGORITHM: Final = "EdDSA"
ADMIN: Final = "admin"
"""The subject of the token that `make` writes."""
ADMIN_LIFETIME_S: Final = 90 * 86400
MAX_LIFETIME_S: Final = 366 * 86400
_SESSION_KEY_BYTES: Final = 32
_RSA_BITS: Final = 3072
_SECRET_MODE: Final = 0o600
_PUBLIC_MODE: Final = 0o644
_MAX_KEY_BYTES: Final = 64 * 1024
_KEY_TYPES: Final[Mapping[str, tuple[str, str]]] = {"OKP": ("Ed25519", "EdDSA"), "EC": ("P-256", "ES256")}


class Grant(NamedTuple):
    """What a token is to allow."""

    subject: str
    projects: Sequence[str] | str
    """Names, or "*" for all."""
    can: Sequence[str] | str
    """Actions, or "*" for all."""
    lifetime_s: int
    issuer: str = ISSUER
    audience: str = AUDIENCE


def access_settings(directory: Path) -> dict[str, str]:
    """The settings of an edge that uses the files in `directory`, as environment variables."""
    return {
        "TESTCAST_ACCESS_KEYS": str(directory / KEYS),
        "TESTCAST_ACCESS_SESSION_KEY_FILE": str(directory / SESSION_KEY),
    }


def make(directory: Path, now: float, algorithm: str = DEFAULT_ALGORITHM, grant: Grant | None = None) -> None:
    """Makes all files of a protected installation: all of them or none.

    Args:
        directory: it is made where it is missing.
        now: seconds since 1970.
        algorithm: of the signing key.
        grant: of the token; None: everything in all projects, for 90 days.

    Raises:
        BadInput: one of the files is there already, or cannot be written.
    """
    key = _new_key(algorithm)
    files = {
        KEYS: (_jwks(key), _PUBLIC_MODE),
        SIGNING_KEY: (_private(key), _SECRET_MODE),
        SESSION_KEY: (secrets.token_hex(_SESSION_KEY_BYTES).encode() + b"\n", _SECRET_MODE),
        TOKEN: (issue(key, grant or administrator(), now).encode() + b"\n", _SECRET_MODE),
    }
    if there := [name for name in files if os.path.lexists(directory / name)]:  # a dangling link too
        raise BadInput(
            f"{directory} has {', '.join(there)} already: nothing was changed; --dir names another directory"
        )
    made: list[Path] = []
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        for name, (content, mode) in files.items():
            write_new(directory / name, content, mode)
            made.append(directory / name)
    except OSError as error:
        for path in made:
            path.unlink(missing_ok=True)
        raise BadInput(f"cannot write to {directory}: {error.strerror}") from None


def administrator(lifetime_s: int = ADMIN_LIFETIME_S, issuer: str = ISSUER, audience: str = AUDIENCE) -> Grant:
    """Everything in all projects."""
    return Grant(ADMIN, EVERYTHING, EVERYTHING, lifetime_s, issuer, audience)


def write_new(path: Path, content: bytes, mode: int = _SECRET_MODE) -> None:
    """Writes a file that must not be there yet. It has its mode from the start, whatever the umask allows.

    Raises:
        OSError: it is there, or cannot be written.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    with open(descriptor, "wb") as file:  # noqa: PTH123
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _new_key(algorithm: str) -> Key:
    parameters = {"use": "sig", "alg": algorithm}
    key: Key
    if algorithm == "EdDSA":
        key = OKPKey.generate_key("Ed25519", parameters)  # type: ignore[arg-type]
    elif algorithm == "ES256":
        key = ECKey.generate_key("P-256", parameters)  # type: ignore[arg-type]
    elif algorithm == "RS256":
        key = RSAKey.generate_key(_RSA_BITS, parameters)  # type: ignore[arg-type]
    else:
        raise BadInput(f"{algorithm[:40]!r} is none of {', '.join(PUBLIC_KEY_ALGORITHMS)}")
    key.ensure_kid()
    return key


def _jwks(key: Key) -> bytes:
    return orjson.dumps({"keys": [_as_dict(key, private=False)]}, option=orjson.OPT_INDENT_2) + b"\n"


def _private(key: Key) -> bytes:
    return orjson.dumps(_as_dict(key, private=True), option=orjson.OPT_INDENT_2) + b"\n"


def _as_dict(key: Key, *, private: bool) -> dict[str, Any]:
    known = {"use": "sig", "alg": algorithm_of(key), "kid": key.kid}
    return {**key.as_dict(private=private), **{name: value for name, value in known.items() if value is not None}}


def read_signing_key(path: Path) -> Key:
    """Reads a private key.

    Raises:
        BadInput: it cannot be read, or is none.
    """
    content = _read(path, _MAX_KEY_BYTES)
    try:
        given = orjson.loads(content)
        kind = {"OKP": OKPKey, "EC": ECKey, "RSA": RSAKey}[given["kty"]]
        key: Key = kind.import_key(given)  # type: ignore[attr-defined]
    except (JoseError, ValueError, KeyError, TypeError, AttributeError):
        raise BadInput(f"{path} is not a private key as `testcast token init` makes them") from None
    if not key.is_private:
        raise BadInput(f"{path} is a public key: a token is signed with the private one, {SIGNING_KEY}")
    key.ensure_kid()
    return key


def _read(path: Path, at_most: int) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(at_most)
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}") from None


def algorithm_of(key: Key) -> str:
    """The algorithm that a key signs with.

    Raises:
        BadInput: none that an edge accepts.
    """
    if isinstance(key, RSAKey):
        return "RS256"
    curve, algorithm = _KEY_TYPES.get(key.key_type, ("", ""))
    if not isinstance(key, OKPKey | ECKey) or key.curve_name != curve:
        raise BadInput("the key is of a kind that no edge accepts: expected Ed25519, P-256 or RSA")
    return algorithm


def issue(key: Key, grant: Grant, now: float) -> str:
    """Makes a token.

    Args:
        key: a private key.
        now: seconds since 1970.

    Raises:
        BadInput: the grant is not one that an edge accepts.
    """
    _check_names("a project", grant.projects, lambda each: PROJECT.fullmatch(each) is not None)
    _check_names("an action", grant.can, lambda each: each in ACTIONS)
    if not 1 <= grant.lifetime_s <= MAX_LIFETIME_S:
        raise BadInput("a token is good for at least 1s and at most 366d")
    claims = {
        "iss": grant.issuer,
        "aud": grant.audience,
        "sub": grant.subject,
        "iat": int(now),
        "exp": int(now) + grant.lifetime_s,
        "jti": secrets.token_urlsafe(16),
        "projects": _listed(grant.projects),
        "can": _listed(grant.can),
    }
    if wrong := problems(claims, grant.issuer, grant.audience, now):
        raise BadInput(wrong[0])
    return sign(claims, algorithm_of(key), key, key.kid)


def _listed(names: Sequence[str] | str) -> list[str] | str:
    return names if isinstance(names, str) else list(names)


def _check_names(what: str, given: Sequence[str] | str, good: Any) -> None:
    for each in [] if given == EVERYTHING else given:
        if not good(each):
            known = f": there are {', '.join(ACTIONS)}" if what == "an action" else ""
            raise BadInput(f"{each[:80]!r} is not the name of {what}{known}")


class Inspection(NamedTuple):
    """What can be said of a token."""

    token: Token | None
    """None: it could not be read."""
    signature: str
    """What is known of its signature, a sentence."""
    problems: tuple[str, ...]
    """Why an edge refuses it, one sentence each."""
    remarks: tuple[str, ...]
    """What its holder should know besides."""


def inspect(text: str, keys: KeySet | None, now: float, issuer: str = ISSUER, audience: str = AUDIENCE) -> Inspection:
    """Looks at a token as an edge does, and says everything that is wrong with it.

    Args:
        keys: public keys; None: the signature is not checked.
        now: seconds since 1970.
    """
    try:
        token = parse(text)
    except MalformedToken as error:
        return Inspection(None, "not checked: the token cannot be read", (error.message,), ())
    signature, wrong = _signature(token, keys)
    found = [*wrong, *problems(token.claims, issuer, audience, now)]
    return Inspection(token, signature, tuple(found), tuple(_remarks(token)))


def _signature(token: Token, keys: KeySet | None) -> tuple[str, list[str]]:
    if token.algorithm not in PUBLIC_KEY_ALGORITHMS:
        if token.algorithm == "HS256":
            return "not checked: HS256 needs the secret of the edges", []
        reason = f"edges accept {', '.join(PUBLIC_KEY_ALGORITHMS)}, and HS256 where they have its secret"
        return "not checked", [f"the token is signed with an algorithm that no edge accepts: {reason}"]
    if keys is None:
        return "not checked: --keys names a file with the public keys", []
    key = keys.find(token.algorithm, token.key_id)
    if key is None:
        return "not checked: its key is not among the keys", ["the token's key (kid) is not among the keys"]
    if not is_signed_by(token, key):
        return "wrong", ["the token's signature is wrong"]
    return "right", []


def _remarks(token: Token) -> Iterable[str]:
    can = token.claims.get("can")
    unknown = [each for each in can if each not in ACTIONS] if isinstance(can, list) else []
    if unknown:
        yield f"actions that edges of this version do not know and ignore: {', '.join(map(str, unknown))}"
    if "jti" not in token.claims:
        yield "it has no id (jti), so it cannot be revoked"
    if brought := [name for name in ("jku", "jwk", "x5u", "x5c") if name in token.header]:
        yield f"its header brings keys along ({', '.join(brought)}), which edges ignore"


def read_token(path: Path) -> str:
    """Reads a token from a file.

    Raises:
        BadInput: it cannot be read.
    """
    return _read(path, MAX_TOKEN_BYTES + 2).decode("latin-1").strip()


def read_keys(path: Path) -> KeySet:
    """Reads public keys from a file.

    Raises:
        BadInput: it cannot be read, or holds none.
    """
    try:
        return parse_keys(_read(path, _MAX_KEY_BYTES + 1))
    except MalformedKeys as error:
        raise BadInput(f"{path}: {error.message}") from None
