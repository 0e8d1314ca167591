"""The cookies of an edge, in requests and in answers. Pure.

Their names begin with `__Host-`: a browser takes them only over TLS (or from loopback), for this host alone, with the
path `/`. No other host of the domain can set them.
"""

from __future__ import annotations

from typing import Final

from broker.contract.ids import is_test_id
from ws_edge.access.access import Header
from ws_edge.access.principal import NotAuthenticated

SESSION: Final = "__Host-testcast"
_SHARE: Final = "__Host-testcast-share-"
MAX_BYTES: Final = 4096
"""Of name and value: browsers drop a longer cookie without a word (RFC 6265bis, 5.6)."""
_ATTRIBUTES: Final = "Path=/; Secure; HttpOnly; SameSite=Lax"


def share_cookie(test_id: str) -> str:
    """The name of the cookie that shows one run."""
    return _SHARE + test_id


def run_of(name: str) -> str | None:
    """The run that a cookie of this name shows; None for other cookies."""
    test_id = name.removeprefix(_SHARE)
    return test_id if name.startswith(_SHARE) and is_test_id(test_id) else None


def own_cookies(header: Header) -> dict[str, str]:
    """The cookies of a request that are an edge's own, by name.

    Raises:
        NotAuthenticated: one of them stands there twice, and only one can be ours.
    """
    found: dict[str, str] = {}
    for pair in (header("cookie") or "").split(";"):  # a comma may stand in anybody's value, and ends no cookie
        name, _, value = pair.strip(" \t").partition("=")
        if name != SESSION and run_of(name) is None:
            continue
        if name in found:
            raise NotAuthenticated("a cookie of this edge was sent twice")
        found[name] = value.strip('"')
    return found


def set_cookie(name: str, value: str, max_age_s: float) -> str:
    """The `Set-Cookie` that keeps a cookie for `max_age_s`."""
    return f"{name}={value}; Max-Age={max(0, int(max_age_s))}; {_ATTRIBUTES}"


def clear_cookie(name: str) -> str:
    """The `Set-Cookie` that removes a cookie."""
    return set_cookie(name, "", 0)
