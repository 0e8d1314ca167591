"""The headers by which browsers hold an answer apart from other pages. Every HTTP answer of an edge has them. Pure.

`DEFAULTS` suits everything that is no page: a browser that shows such an answer runs and loads nothing. A page of the
dashboard has `page_policy` instead, and the files of the client may be loaded by the pages of other origins.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from ws_edge.origins import PublicUrl

Headers = list[tuple[bytes, bytes]]
"""As ASGI has them: names in lower case."""

POLICY: Final = "content-security-policy"
RESOURCE_POLICY: Final = "cross-origin-resource-policy"
NOT_A_PAGE: Final = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
_PAGE: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src {}; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
DEFAULTS: Final[tuple[tuple[bytes, bytes], ...]] = (
    (POLICY.encode(), NOT_A_PAGE.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (RESOURCE_POLICY.encode(), b"same-origin"),
)
LINES: Final = tuple(f"{name.decode()}: {value.decode()}" for name, value in DEFAULTS)
"""The same as lines, for answers that are written without the HTTP application."""


def page_policy(public_url: PublicUrl | None) -> str:
    """The Content-Security-Policy of a page of the dashboard.

    `'self'` covers the socket too (CSP level 3, 6.7.2.8; Chrome since 70, Firefox, Safari since 15.4). Where the public
    address is known, the socket's origin is named in addition, for older browsers.
    """
    if public_url is None:
        return _PAGE.format("'self'")
    scheme = "wss" if public_url.scheme == "https" else "ws"
    return _PAGE.format(f"'self' {scheme}://{public_url.host}")


def completed(headers: Iterable[tuple[bytes, bytes]]) -> Headers:
    """The headers of an answer, with those of `DEFAULTS` that it does not set itself."""
    given = list(headers)
    names = {name.lower() for name, _ in given}
    return given + [(name, value) for name, value in DEFAULTS if name not in names]
