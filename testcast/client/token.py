"""The token that a client sends to an edge, to say who it is.

It is sent to the edge's own address only, and over plain http only within this machine. A file is read again when the
edge refuses its token, and shortly before the token expires; so is a function asked again.
"""

from __future__ import annotations

import ipaddress
import logging
import re
import time
from base64 import urlsafe_b64decode
from collections.abc import Callable
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import orjson

from broker.config import given as variables
from broker.config import switch
from broker.contract.errors import BadInput

Token = str | Callable[[], str]
"""A token, or a function that returns one. The function is asked again when the edge refuses what it returned, and
before it expires. It must not block for long."""

VARIABLE: Final = "TESTCAST_TOKEN_FILE"
INSECURE: Final = "TESTCAST_INSECURE"
NO_TOKEN: Final = ""
"""Send none, whatever the environment says."""
QUIET: Final = logging.getLogger("testcast.client.socket")
"""For the library of WebSockets, which writes headers and messages to the log at level DEBUG: tokens are among them."""
QUIET.setLevel(logging.INFO)
_RENEW_S: Final = 60.0
"""How long before a token expires another one is looked for."""
_LOOK_S: Final = 10.0
"""Between two looks for another one, when the last look found the same."""
_MAX_BYTES: Final = 8 * 1024
_SENDABLE: Final = re.compile(r"[A-Za-z0-9._~+/=-]+")
"""RFC 6750, 2.1. Anything else could end the header."""


class Credentials:
    """The token for one edge.

    Args:
        edge: the edge's address.
        token: None: from the file that `TESTCAST_TOKEN_FILE` names, if it names one.
        clock: seconds since 1970.

    Raises:
        BadInput: there is a token, and the address is plain http beyond this machine; or the file cannot be read.
    """

    def __init__(self, edge: str, token: Token | None = None, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._origin = ""
        self._source: Callable[[], str] | None = None
        if callable(token):
            self._origin, self._source = "the function `token`", token
        elif token:
            given = token
            self._origin, self._source = "`token`", lambda: given
        elif token is None and (path := variables((VARIABLE,)).get(VARIABLE, "").strip()):
            self._origin, self._source = f"{VARIABLE} ({path})", lambda: _read(Path(path).expanduser())
        self._token = ""
        self._expires_at: float | None = None
        self._next_look = 0.0
        if self._source is not None:
            _check_transport(edge, self._origin)
            if not callable(token):
                self.renew()

    def __repr__(self) -> str:
        return f"<Credentials of {self._origin or 'nobody'}>"

    @property
    def given(self) -> bool:
        """Whether there is a token to send."""
        return self._source is not None

    def current(self) -> str:
        """The token to send now; empty for none.

        Raises:
            BadInput: what the file or the function gives is no token.
        """
        if self._source is not None and not self._token:
            self.renew()
        elif self.ends_soon:
            self.renewed_early()
        return self._token

    @property
    def ends_soon(self) -> bool:
        """Whether it is time to look for another token."""
        now = self._clock()
        return self._expires_at is not None and now >= self._expires_at - _RENEW_S and now >= self._next_look

    def renewed_early(self) -> bool:
        """Like `renew`, while the old token is still good: a file that cannot be read just now is no harm yet."""
        try:
            return self.renew()
        except BadInput:
            return False

    def renew(self) -> bool:
        """Reads the file, or asks the function, again. Returns whether the token is another one now.

        Raises:
            BadInput: it gives no token.
        """
        if self._source is None:
            return False
        before, self._next_look = self._token, self._clock() + _LOOK_S
        token = self._source().strip()
        if len(token) > _MAX_BYTES or _SENDABLE.fullmatch(token) is None:
            raise BadInput(f"{self._origin} gives no token: expected letters, digits and . _ ~ + / = - only")
        self._token, self._expires_at = token, _expiry(token)
        return token != before

    def headers(self) -> dict[str, str]:
        """The HTTP headers that say who sends a request; none without a token.

        Raises:
            BadInput: as `current` does.
        """
        token = self.current()
        return {"Authorization": f"Bearer {token}"} if token else {}

    def advice(self) -> str:
        """What to do when the edge wants another proof."""
        if self._source is None:
            return f"give a token: --token-file or {VARIABLE} names its file, `token=` in Python"
        return f"the token comes from {self._origin}: `testcast token inspect` explains it"


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(_MAX_BYTES + 2).decode("latin-1")
    except OSError as error:
        raise BadInput(f"{VARIABLE}: {path} cannot be read: {error.strerror}") from None


def _check_transport(edge: str, origin: str) -> None:
    address = urlsplit(edge)
    if (
        address.scheme == "https"
        or _is_loopback(address.hostname or "")
        or switch(INSECURE, False, variables((INSECURE,)))
    ):
        return
    raise BadInput(
        f"the token of {origin} is not sent to {edge}: over plain http everyone on the way could read and use it. "
        f"Use an https address; {INSECURE}=1 sends it all the same"
    )


def _is_loopback(host: str) -> bool:
    """Names below `localhost` are not among them: a resolver may answer for those."""
    if host == "localhost":
        return True
    try:
        ip = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = ip.ipv4_mapped if ip.version == 6 else None
    return (mapped or ip).is_loopback


def _expiry(token: str) -> float | None:
    """When a token says that it expires, seconds since 1970. None: it does not say. Nothing of it is checked here."""
    try:
        body = token.split(".")[1]
        expires_at = orjson.loads(urlsafe_b64decode(body + "=" * (-len(body) % 4)))["exp"]
    except (IndexError, ValueError, KeyError, TypeError):
        return None
    return float(expires_at) if isinstance(expires_at, int | float) else None
