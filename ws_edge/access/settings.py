"""The settings of authentication: what they mean and which go together. Pure: `ws_edge.config` reads them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from broker.contract.access import PROJECT, PUBLIC_KEY_ALGORITHMS, SECRET_ALGORITHM
from broker.contract.errors import InvalidSetting

KEYS: Final = "TESTCAST_ACCESS_KEYS"
SECRET_FILE: Final = "TESTCAST_ACCESS_SECRET_FILE"
ALGORITHMS: Final = "TESTCAST_ACCESS_ALGORITHMS"
ISSUER: Final = "TESTCAST_ACCESS_ISSUER"
AUDIENCE: Final = "TESTCAST_ACCESS_AUDIENCE"
ANONYMOUS_PROJECTS: Final = "TESTCAST_ACCESS_ANONYMOUS"
SESSION_KEY_FILE: Final = "TESTCAST_ACCESS_SESSION_KEY_FILE"

MIN_SECRET_BYTES: Final = 32
"""As long as HS256's hash: a shorter secret is weaker than the signature (RFC 7518, 3.2)."""
MAX_SECRET_BYTES: Final = 4096
_NEEDED: Final = f"{KEYS} or {SECRET_FILE}"
_MAX_NAME_CHARS: Final = 255


class Secret(bytes):
    """Secret bytes that show nothing of themselves in logs and errors."""

    def __repr__(self) -> str:
        return "<Secret>"

    def __str__(self) -> str:
        return "<Secret>"

    def __format__(self, _spec: str) -> str:
        return "<Secret>"


class AccessConfig(NamedTuple):
    """How an edge knows who sends a request. Without keys and secret everyone may do everything."""

    keys: str | None = None
    """The path of a JWKS file, or an https address of one."""
    secret: Secret | None = None
    """The key of HS256 tokens."""
    algorithms: tuple[str, ...] = PUBLIC_KEY_ALGORITHMS
    """Algorithms that a token may be signed with."""
    issuer: str = "testcast"
    audience: str = "testcast"
    anonymous: frozenset[str] = frozenset()
    """Projects that anyone may list and watch, without a token."""
    session_key: Secret | None = None
    """Signs session cookies and tickets. The same on all edges. None: there are none."""

    @property
    def enabled(self) -> bool:
        """Whether requests need a proof of who sends them."""
        return self.keys is not None or self.secret is not None


def access_config(environ: Mapping[str, str], secrets: Mapping[str, Secret]) -> AccessConfig:
    """Reads the settings of authentication.

    Args:
        environ: the environment variables.
        secrets: the contents of the secret files, by the name of the variable that names the file.

    Raises:
        InvalidSetting: a value makes no sense; the message names the variable.
    """
    default = AccessConfig()
    keys, secret = environ.get(KEYS, "").strip() or None, secrets.get(SECRET_FILE)
    if keys is not None:
        _check_keys(keys)
    if keys is None and secret is None:
        alone = (ALGORITHMS, ISSUER, AUDIENCE, ANONYMOUS_PROJECTS, SESSION_KEY_FILE)
        for name in alone:  # whoever sets one of them expects to be protected
            if environ.get(name, "").strip():
                raise InvalidSetting(f"{name}: it has no effect, because authentication is off: set {_NEEDED} as well")
        return default
    for name, each in secrets.items():
        _check_secret(name, each)
    if secret is not None and secret == secrets.get(SESSION_KEY_FILE):
        raise InvalidSetting(f"{SESSION_KEY_FILE}: it holds the same secret as {SECRET_FILE}: whoever issues tokens "
                             "could make sessions; `openssl rand -hex 32` makes another one")  # fmt: skip
    return AccessConfig(
        keys=keys,
        secret=secret,
        algorithms=_algorithms(environ.get(ALGORITHMS, ""), keys, secret),
        issuer=_name(ISSUER, environ) or default.issuer,
        audience=_name(AUDIENCE, environ) or default.audience,
        anonymous=_projects(environ.get(ANONYMOUS_PROJECTS, "")),
        session_key=secrets.get(SESSION_KEY_FILE),
    )


def is_address(keys: str) -> bool:
    """Whether the keys are fetched from an https address; otherwise they are in a file."""
    return keys[:8].lower() == "https://"


def _check_keys(given: str) -> None:
    scheme, separator, _ = given.partition("://")
    if not separator:
        return
    if scheme.lower() != "https":
        reason = "only https proves whose keys these are; the path of a file is the other way"
        raise InvalidSetting(f"{KEYS}: an address of keys begins with https://: {reason}")
    try:
        address = urlsplit(given)
        complete = bool(address.hostname) and address.port != 0
    except ValueError:
        complete = False
    if not complete:
        raise InvalidSetting(f"{KEYS}: it is not an address like https://login.example.org/keys.json")
    if address.username is not None or address.fragment:
        raise InvalidSetting(f"{KEYS}: an address without user, password and #")


def _check_secret(name: str, secret: bytes) -> None:
    if not MIN_SECRET_BYTES <= len(secret) <= MAX_SECRET_BYTES:
        size = f"it holds {len(secret)} bytes" if len(secret) <= MAX_SECRET_BYTES else "it holds more"
        raise InvalidSetting(
            f"{name}: the file has to hold {MIN_SECRET_BYTES} to {MAX_SECRET_BYTES} random bytes, and {size}: "
            "`openssl rand -hex 32` makes some"
        )
    if b"-----BEGIN" in secret:
        raise InvalidSetting(f"{name}: the file holds a key or a certificate in PEM, and no secret of random bytes")
    if len(set(secret)) < MIN_SECRET_BYTES // 4:  # 32 random bytes or 64 hex digits have more
        raise InvalidSetting(f"{name}: the file holds few different bytes, and is no random secret")


def _algorithms(given: str, keys: str | None, secret: Secret | None) -> tuple[str, ...]:
    """The algorithms, in the order of the setting. Each source of keys has one at least that uses it."""
    public = PUBLIC_KEY_ALGORITHMS if keys is not None else ()
    usual = public if secret is None else (*public, SECRET_ALGORITHM)
    algorithms = tuple(dict.fromkeys(_members(given))) or usual
    for each in algorithms:
        if each == SECRET_ALGORITHM and secret is None:
            raise InvalidSetting(f"{ALGORITHMS}: {each} needs a secret: set {SECRET_FILE}")
        if each not in (*PUBLIC_KEY_ALGORITHMS, SECRET_ALGORITHM):
            known = ", ".join((*PUBLIC_KEY_ALGORITHMS, SECRET_ALGORITHM))
            raise InvalidSetting(f"{ALGORITHMS}: {each[:40]!r} is none of {known}")
    if secret is not None and SECRET_ALGORITHM not in algorithms:
        raise InvalidSetting(f"{ALGORITHMS}: {SECRET_FILE} is set, and no algorithm uses it: add {SECRET_ALGORITHM}")
    if keys is not None and algorithms == (SECRET_ALGORITHM,):
        raise InvalidSetting(f"{ALGORITHMS}: {KEYS} is set, and {SECRET_ALGORITHM} does not use it: add another")
    return algorithms


def _name(setting: str, environ: Mapping[str, str]) -> str:
    given = environ.get(setting, "").strip()
    if len(given) > _MAX_NAME_CHARS or not given.isprintable():
        raise InvalidSetting(f"{setting}: at most {_MAX_NAME_CHARS} characters, all of them printable")
    return given


def _projects(given: str) -> frozenset[str]:
    projects = _members(given)
    for each in projects:
        if PROJECT.fullmatch(each) is None:
            hint = ": name each project, since those to come would be public too" if each == "*" else ""
            raise InvalidSetting(f"{ANONYMOUS_PROJECTS}: {each[:80]!r} is not the name of a project{hint}")
    return frozenset(projects)


def _members(given: str) -> Sequence[str]:
    return [each.strip() for each in given.split(",") if each.strip()]
