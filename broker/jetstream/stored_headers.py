"""The headers that the broker adds to a message that it has stored, on direct gets and on republished messages."""

from __future__ import annotations

from typing import Final

SEQUENCE_HEADER: Final = b"Nats-Sequence"
PREDECESSOR_HEADER: Final = b"Nats-Last-Sequence"
"""The sequence of the message before it on its subject. Only on republished messages."""
SIZE_HEADER: Final = b"Nats-Msg-Size"
"""The bytes of a message that is republished without them."""
STORED_HEADER: Final = b"Nats-Time-Stamp"
"""When it was stored, RFC 3339 with nanoseconds."""
