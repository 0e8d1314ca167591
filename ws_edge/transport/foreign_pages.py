"""Whether a page may connect and change something: those of this edge, and those of the origins that are allowed."""

from __future__ import annotations

import logging
from typing import Final

from broker.log import RateLimited
from ws_edge.config import EdgeConfig
from ws_edge.transport.forwarded import Header, seen_from_outside
from ws_edge.transport.handshake import origin_allowed

_log = RateLimited(logging.getLogger("testcast.edge"), per_s=10.0)
_MAX_SHOWN_CHARS: Final = 100


def why_refused(config: EdgeConfig, header: Header, peer: str) -> str | None:
    """None for a page that may connect, and for a client that is no browser. Else the reason, which is also logged.

    Args:
        header: looks a header of the request up.
        peer: the address at the other end of the connection.
    """
    origin, host = header("origin"), header("host")
    if origin_allowed(origin, host, config.allowed_origins):
        return None
    outside = seen_from_outside(config, header, peer)
    if origin_allowed(origin, outside.host, ()):
        return None
    reason = (
        f"pages of {_shown(origin)} may not connect here: this edge was addressed as {_shown(host)}. "
        "If a proxy has changed the name, let it pass the header Host on, or set TESTCAST_EDGE_PUBLIC_URL to the "
        "address that viewers open. For a page of another site, add its origin to TESTCAST_EDGE_ALLOWED_ORIGINS"
    )
    _log.warning("refused a page: %s", reason)
    return reason


def _shown(value: str | None) -> str:
    return repr((value or "")[:_MAX_SHOWN_CHARS])
