"""How a client logs in to the broker: files and addresses from the settings become options of the connection.

Files are read once at the start, so that a missing or unreadable one is named there, with the variable that names it.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar
from urllib.parse import unquote, urlsplit

from broker.contract.errors import InvalidSetting

T = TypeVar("T")


class NatsSettings(NamedTuple):
    """How a client logs in to the broker, and where its JetStream is. All of it is optional."""

    ca: Path | None = None
    """Certificates of the CAs that are trusted, PEM."""
    certificate: Path | None = None
    """The client's own certificate, PEM."""
    key: Path | None = None
    """Its key, PEM; None: it is in the certificate's file."""
    credentials: Path | None = None
    """A user's JWT and seed, as `nsc generate creds` writes them."""
    nkey: Path | None = None
    """A user's nkey seed."""
    domain: str = ""
    """The JetStream domain, behind a leaf node; empty: the one that the server is in."""
    api_prefix: str = ""
    """Of requests to JetStream, instead of the domain's; empty: the usual one."""
    inbox_prefix: str = "_INBOX"
    """What the subjects begin with on which answers are received."""


REFUSALS: Final = (
    "authorization violation",
    "authentication expired",
    "authentication revoked",
    "authentication timeout",
    "nkeys not supported",
    "maximum account active connections",
)
"""What a server says, in lower case, when it does not let a client in."""
_DENIED: Final = re.compile(r'permissions violation for publish to "([^"]*)"', re.IGNORECASE)


def check(settings: NatsSettings) -> None:
    """Checks that the files can be read and used.

    Raises:
        InvalidSetting: one cannot, or two settings exclude each other; the message names the variable.
    """
    if settings.key is not None and settings.certificate is None:
        raise InvalidSetting("TESTCAST_NATS_KEY: it needs TESTCAST_NATS_CERT, the certificate that belongs to the key")
    if settings.credentials is not None and settings.nkey is not None:
        raise InvalidSetting("TESTCAST_NATS_NKEY: a credentials file is set as well (TESTCAST_NATS_CREDS); set one")
    options(settings, ())


def options(settings: NatsSettings, servers: Sequence[str]) -> dict[str, Any]:
    """Returns the options of `NatsClient.connect` that log in.

    Raises:
        InvalidSetting: a file cannot be read or used; the message names the variable.
    """
    found: dict[str, Any] = {}
    context = _tls(settings, servers)
    if context is not None:
        found["tls"] = context
    if settings.credentials is not None:
        _read("TESTCAST_NATS_CREDS", settings.credentials, _check_credentials)
        found["user_credentials"] = str(settings.credentials)
    elif settings.nkey is not None:
        _read("TESTCAST_NATS_NKEY", settings.nkey, _check_seed)
        found["nkeys_seed"] = str(settings.nkey)
    else:
        found |= _shared_login(servers)
    return found


def _shared_login(servers: Sequence[str]) -> dict[str, Any]:
    """The login of the addresses where they have only one: servers that the cluster names later get it as well."""
    logins = {(each.username, each.password) for each in map(urlsplit, servers) if each.username is not None}
    if len(logins) != 1:
        return {}
    [(user, password)] = logins
    if password is None:
        return {"token": unquote(user)}
    return {"user": unquote(user), "password": unquote(password)}


def _tls(settings: NatsSettings, servers: Sequence[str]) -> ssl.SSLContext | None:
    """None: only if a server asks for it, with the certificates that this machine trusts."""
    given = (settings.ca, settings.certificate, settings.key)
    if not any(given) and not any(each.startswith("tls://") for each in servers):
        return None
    context = ssl.create_default_context()
    ca, certificate, key = given
    if ca is not None:
        _read("TESTCAST_NATS_CA", ca, lambda text: context.load_verify_locations(cadata=text))
    if certificate is not None:
        path, key_path = certificate, key
        if key_path is not None:
            _read("TESTCAST_NATS_KEY", key_path, lambda _text: None)
        _read(
            "TESTCAST_NATS_CERT",
            path,
            # Without a password: a key that needs one is refused, and nobody is asked for it on a terminal.
            lambda _text: context.load_cert_chain(path, key_path, password=lambda: b""),
        )
    return context


def _check_credentials(text: str) -> None:
    _nkeys("TESTCAST_NATS_CREDS")
    if "begin nats user jwt" not in text.lower() or "begin user nkey seed" not in text.lower():
        raise ValueError("expected a user's JWT and nkey seed, as `nsc generate creds` writes them")


def _check_seed(text: str) -> None:
    nkeys = _nkeys("TESTCAST_NATS_NKEY")
    try:
        nkeys.from_seed(bytearray(text.strip().encode()))
    except Exception:  # its own text may quote the seed
        raise ValueError("expected a user's nkey seed, which begins with SU") from None


def _nkeys(variable: str) -> Any:
    try:
        import nkeys
    except ImportError:
        raise InvalidSetting(f"{variable}: the package `nkeys` is not installed (pip install nkeys)") from None
    return nkeys


def _read(variable: str, path: Path, use: Callable[[str], T]) -> T:
    """Reads a file of the settings and checks it by using it.

    Raises:
        InvalidSetting: it cannot be read, or is not what it should be.
    """
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise InvalidSetting(f"{variable}: cannot read {str(path)!r}: {reason}") from None
    try:
        return use(text)
    except (ssl.SSLError, OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or str(error)
        raise InvalidSetting(f"{variable}: {str(path)!r} cannot be used: {reason}") from None


def refusal(error: Exception) -> str | None:
    """Returns why a server does not let this client in; None when `error` says something else."""
    text = str(error).lower()
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {error.verify_message} (TESTCAST_NATS_CA names the CA's file)"
    if any(each in text for each in REFUSALS):
        return (
            "it refuses this user, password, token, key or certificate (" + text.removeprefix("nats: ").strip("'") + ")"
        )
    if isinstance(error, ssl.SSLError):
        return f"the TLS handshake failed: {error.reason or 'no reason given'}; does it want a client certificate?"
    if "offers no tls" in text:
        return "it offers no TLS, which tls:// or a certificate in the settings asks for"
    return None


def denied(error: Exception) -> str | None:
    """Returns the subject, in lower case, that this user may not publish on; None when `error` says something else."""
    text = str(error).lower()
    found = _DENIED.search(text)
    if found is not None:
        return found[1]
    return "" if "permissions violation" in text else None
