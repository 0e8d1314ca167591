"""The settings of what one client may cost, with their defaults. Pure.

The defaults are meant for a node that anybody can reach. They are far above what pages need, also where thousands of
viewers share one address: the table in the README has the arithmetic.
"""

from __future__ import annotations

from typing import Final, NamedTuple

BURST_S: Final = 60.0
"""A quiet client may do at once what its rate allows in this time, seconds: a page that cancels a hundred runs does."""


class Limits(NamedTuple):
    """Limits of one edge process. Rates are averages a second; 0 for none."""

    max_head_bytes: int = 32 * 1024
    """Of an HTTP request's head."""
    max_tests_in_address: int = 64
    """Test ids in the address of a socket."""
    max_connections: int = 5_000
    """That are no sockets."""
    max_connections_per_address: int = 2_000
    answer_s: float = 20.0
    """How long a client may take nothing of an answer."""
    max_unread_bytes: int = 32 << 20
    """Of answers that clients have not taken, all together."""
    max_reads_at_once: int = 8
    """Calls that read pages of events, on this node; half of them from one address."""
    messages_per_s: float = 50.0
    """On one socket, pings and pieces of messages among them."""
    submits_per_s: float = 2.0
    cancels_per_s: float = 5.0
    publishes_per_s: float = 100.0
    lists_per_s: float = 50.0
    """Lists that are not answered from the response cache."""
    reads_per_s: float = 500.0
    """Other calls that read; those for pictures count apart."""
    sign_ins_per_s: float = 1.0
    """Sign-ins, and proofs that were refused."""
