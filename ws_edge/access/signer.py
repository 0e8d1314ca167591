"""Signs what an edge gives out itself and reads again: session cookies, share cookies and tickets. Pure.

They are JWTs (HS256), each kind with a `typ` and a key of its own, derived from the session key. One kind is therefore
never taken for another, and none for a token.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from typing import Any, Final, NamedTuple

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import OctKey

_ALGORITHM: Final = "HS256"
_MAX_CHARS: Final = 8 * 1024
_SIGNED: Final = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")


class NotSigned(Exception):
    """A text that this signer has not written, or that has expired; `str()` says which."""


class _Kind(NamedTuple):
    key: OctKey
    header: dict[str, Any]
    start: str
    """What every text of this kind begins with: its header, which is always the same."""


class Signer:
    """Signs and reads texts of one kind.

    Args:
        session_key: the secret that all edges of an installation share.
        typ: the kind, such as `testcast-session+jwt`.
    """

    def __init__(self, session_key: bytes, typ: str) -> None:
        derived = hmac.digest(session_key, typ.encode(), hashlib.sha256)
        header = {"alg": _ALGORITHM, "typ": typ}
        key = OctKey.import_key(derived)
        start = jwt.encode(dict(header), {}, key).partition(".")[0]
        self._kind = _Kind(key, header, f"{start}.")

    def __repr__(self) -> str:
        return f"<Signer {self._kind.header['typ']}>"

    def sign(self, claims: dict[str, Any]) -> str:
        """The signed text: characters of base64url and two dots.

        Args:
            claims: with `exp`, seconds since 1970.
        """
        return jwt.encode(dict(self._kind.header), claims, self._kind.key)

    def read(self, text: str, now: float) -> dict[str, Any]:
        """The claims of a text of this kind.

        Args:
            now: seconds since 1970.

        Raises:
            NotSigned: it is not one, or has expired.
        """
        if len(text) > _MAX_CHARS or not text.startswith(self._kind.start) or _SIGNED.fullmatch(text) is None:
            raise NotSigned("it was not signed here")
        try:
            claims = jwt.decode(text, self._kind.key, algorithms=[_ALGORITHM]).claims
        except (JoseError, ValueError):
            raise NotSigned("it was not signed here") from None
        expires = claims.get("exp")
        if not isinstance(expires, int | float) or isinstance(expires, bool) or now >= expires:
            raise NotSigned("it has expired")
        return claims
