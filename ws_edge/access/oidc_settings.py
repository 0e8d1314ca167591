"""The settings of signing in with OpenID Connect: what they mean and which go together. Pure."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from broker.contract.access import PROJECT
from broker.contract.errors import InvalidSetting
from ws_edge.access.settings import Secret
from ws_edge.origins import PublicUrl

ISSUER: Final = "TESTCAST_OIDC_ISSUER"
CLIENT_ID: Final = "TESTCAST_OIDC_CLIENT_ID"
CLIENT_SECRET_FILE: Final = "TESTCAST_OIDC_CLIENT_SECRET_FILE"
NAME: Final = "TESTCAST_OIDC_NAME"
SCOPES: Final = "TESTCAST_OIDC_SCOPES"
PROJECTS_CLAIM: Final = "TESTCAST_OIDC_PROJECTS_CLAIM"
ACTIONS_CLAIM: Final = "TESTCAST_OIDC_ACTIONS_CLAIM"
SUBJECT_CLAIM: Final = "TESTCAST_OIDC_SUBJECT_CLAIM"
ALGORITHMS: Final = "TESTCAST_OIDC_ALGORITHMS"
SESSION_S: Final = "TESTCAST_OIDC_SESSION_S"

CALLBACK: Final = "/oidc/callback"
_KNOWN_ALGORITHMS: Final = frozenset(("RS256", "PS256", "ES256", "EdDSA"))
"""Of id_tokens: public keys only, so that nothing that the client knows can sign one."""
_PUBLIC_URL: Final = "TESTCAST_EDGE_PUBLIC_URL"
_NAME_CHARS: Final = 80


class OidcConfig(NamedTuple):
    """How people sign in at a provider of OpenID Connect."""

    issuer: str
    client_id: str
    redirect_uri: str
    """Where the provider sends people back to; registered there exactly like this."""
    prefix: str = ""
    """The path below which the edge is served, without a slash at its end."""
    client_secret: Secret | None = None
    """None: the client is public, and PKCE alone protects the code."""
    name: str = ""
    """What the button says: "Sign in with …"."""
    scopes: str = "openid"
    projects_claim: str = "testcast_projects"
    """The claim with the projects: "*", a list of names, or names separated by blanks or commas. Without it: none."""
    actions_claim: str = "testcast_can"
    """The claim with the actions. Without it: list and watch."""
    subject_claim: str = "sub"
    algorithms: tuple[str, ...] = ("RS256", "ES256", "EdDSA")
    session_s: float = 8 * 3600.0
    """How long a session lasts, seconds."""


def is_loopback(url: str) -> bool:
    """Whether an address leads to this machine."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def oidc_config(
    environ: Mapping[str, str], client_secret: Secret | None, public_url: PublicUrl | None, host: str, port: int
) -> OidcConfig | None:
    """Reads the settings of OpenID Connect. None: it is not used.

    Args:
        environ: the environment variables.
        client_secret: the contents of the file of that setting.
        public_url: the edge's address from outside.
        host, port: where the edge listens.

    Raises:
        InvalidSetting: a value makes no sense; the message names the variable.
    """
    given = {name: environ.get(name, "").strip() for name in _ALL}
    if not given[ISSUER]:
        alone = next((name for name in _ALL if given[name]), None)
        if alone is not None:
            raise InvalidSetting(f"{alone}: it has no effect without {ISSUER}")
        return None
    issuer = given[ISSUER]
    if not given[CLIENT_ID]:
        raise InvalidSetting(f"{CLIENT_ID}: {ISSUER} is set, and the provider needs the name of its client")
    _check_issuer(issuer)
    default = OidcConfig("", "", "")
    return OidcConfig(
        issuer=issuer,
        client_id=given[CLIENT_ID],
        redirect_uri=_origin(public_url, host, port) + CALLBACK,
        prefix="" if public_url is None else public_url.prefix,
        client_secret=client_secret,
        name=_shown(given[NAME]) or urlsplit(issuer).hostname or issuer,
        scopes=_scopes(given[SCOPES] or default.scopes),
        projects_claim=given[PROJECTS_CLAIM] or default.projects_claim,
        actions_claim=given[ACTIONS_CLAIM] or default.actions_claim,
        subject_claim=given[SUBJECT_CLAIM] or default.subject_claim,
        algorithms=_algorithms(given[ALGORITHMS]) or default.algorithms,
        session_s=_seconds(given[SESSION_S], default.session_s),
    )


_ALL: Final = (
    *(ISSUER, CLIENT_ID, CLIENT_SECRET_FILE, NAME, SCOPES),
    *(PROJECTS_CLAIM, ACTIONS_CLAIM, SUBJECT_CLAIM, ALGORITHMS, SESSION_S),
)


def _check_issuer(issuer: str) -> None:
    try:
        parts = urlsplit(issuer)
        known = parts.scheme == "https" or (parts.scheme == "http" and is_loopback(issuer))
    except ValueError:
        known = False
    if not known:
        raise InvalidSetting(f"{ISSUER}: expected an address that begins with https:// (http:// on this machine only)")
    if parts.username is not None or parts.query or parts.fragment or not parts.hostname:
        raise InvalidSetting(f"{ISSUER}: an address without user, password, ? and #")


def _origin(public_url: PublicUrl | None, host: str, port: int) -> str:
    """The edge's address for the provider. It is never made from what a request says."""
    if public_url is not None:
        if public_url.scheme != "https" and not is_loopback(public_url.origin):
            raise InvalidSetting(f"{_PUBLIC_URL}: signing in needs https, since browsers keep its cookie only then")
        return public_url.origin + public_url.prefix
    address = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    if not is_loopback(address) or not port:
        raise InvalidSetting(f"{ISSUER}: set {_PUBLIC_URL} as well, the address that the provider sends people back to")
    return address


def _scopes(given: str) -> str:
    scopes = list(dict.fromkeys(["openid", *re.split(r"[ ,]+", given)]))
    if not all(re.fullmatch(r"[\x21\x23-\x5b\x5d-\x7e]+", each) for each in scopes):  # RFC 6749, 3.3
        raise InvalidSetting(f"{SCOPES}: expected names of scopes, separated by blanks")
    return " ".join(scopes)


def _algorithms(given: str) -> tuple[str, ...]:
    algorithms = tuple(dict.fromkeys(each.strip() for each in given.split(",") if each.strip()))
    for each in algorithms:
        if each not in _KNOWN_ALGORITHMS:
            raise InvalidSetting(f"{ALGORITHMS}: {each[:40]!r} is none of {', '.join(sorted(_KNOWN_ALGORITHMS))}")
    return algorithms


def _seconds(given: str, default: float) -> float:
    if not given:
        return default
    try:
        seconds = float(given)
    except ValueError:
        seconds = 0.0
    if not 60 <= seconds <= 30 * 86400:
        raise InvalidSetting(f"{SESSION_S}: {given[:40]!r} is not a number of seconds from 60 to 2592000")
    return seconds


def _shown(given: str) -> str:
    if len(given) > _NAME_CHARS or not given.isprintable():
        raise InvalidSetting(f"{NAME}: at most {_NAME_CHARS} characters, all of them printable")
    return given


def members_of(value: object) -> list[str]:
    """The names in a claim: a list of texts, or one text with names separated by blanks or commas."""
    if isinstance(value, str):
        return [each for each in re.split(r"[ ,]+", value) if each]
    return [each for each in value if isinstance(each, str)] if isinstance(value, list) else []


def projects_of(value: object) -> frozenset[str] | None:
    """The projects in a claim; None: all. What is not the name of a project is left out."""
    if value == "*" or value == ["*"]:
        return None
    return frozenset(each for each in members_of(value) if PROJECT.fullmatch(each))


def claim_of(claims: Mapping[str, object], name: str) -> object:
    """A claim by its name, or by a path with dots, like `realm_access.roles`; None: there is none."""
    if name in claims:
        return claims[name]
    found: object = claims
    for part in name.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found
