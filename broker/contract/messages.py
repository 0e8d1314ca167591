"""The messages of a socket, and of the streams over plain HTTP: what an edge says, and what a client may say. Pure.

These shapes are the source of the schemas, of the client's types and of the tables in broker/PROTOCOL.md
(`scripts/schemas.py` writes them). Tests hold every message that an edge sends against them.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

import msgspec

from broker.contract.events import Phase, Status
from broker.contract.position import Outcome, Reason
from broker.contract.snapshot import Snapshot

TestId = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$")]
"""A UUID in canonical lower case."""
Whole = Annotated[int, msgspec.Meta(ge=0, le=2**53 - 1)]
"""A sequence, a number of things, or a time in ms since 1970."""
Epoch = Annotated[str, msgspec.Meta(max_length=64)]
MAX_PROOF_CHARS: Final = 8 * 1024

_UNSET: Final = msgspec.UNSET
_Unset = msgspec.UnsetType


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """How many runs are in each status."""

    queued: Whole
    running: Whole
    completed: Whole
    failed: Whole
    cancelled: Whole
    """Those that a person has ended: none of them is in `failed`."""


class Unreadables(msgspec.Struct, frozen=True, kw_only=True):
    """Malformed messages that were passed over."""

    seq: Whole
    """Of the newest of them."""
    count: Whole
    reasons: dict[str, Whole]
    """The number for each reason."""


class _Control(msgspec.Struct, frozen=True, kw_only=True, rename="camel", tag_field="type"):
    """What an edge says by itself."""


class Sync(_Control, frozen=True, kw_only=True, tag="sync"):
    """Before the events of a subscribe or a resume, and when a catch-up finds that the events it needs are gone."""

    test_id: TestId
    outcome: Outcome
    """How the client's position was taken: see the table of resumes."""
    reason: Reason | _Unset = _UNSET
    """Of a `reset`."""
    epoch: str
    """Names this life of the stream."""
    head: Whole
    """The newest position that is sent to viewers at this moment."""
    snapshot: Snapshot | _Unset = _UNSET
    """The run at its newest position; absent where no event of a known type is stored."""
    stale: Literal[True] | _Unset = _UNSET
    """What is shown may be old: the broker has not answered for 5 s, or the list is being filled again."""


class Heartbeat(_Control, frozen=True, kw_only=True, tag="heartbeat"):
    """At most every 15 s on an idle socket."""

    test_id: TestId | _Unset = _UNSET
    """The run that `head` is about; absent on a socket that follows none."""
    head: Whole | _Unset = _UNSET
    """Move your position there if that is larger."""
    stale: Literal[True] | _Unset = _UNSET
    """What is shown may be old."""


class Tests(_Control, frozen=True, kw_only=True, tag="tests"):
    """On the channel `tests`: first the newest 100 runs, then changes: newest state only, at most 4 messages a s."""

    __test__ = False

    upserts: list[Snapshot]
    """Runs that are new or have changed."""
    removed: list[TestId]
    """Runs that are gone, or that the viewer may not see any more."""
    counts: Counts
    """All runs by status."""
    full: Literal[True] | _Unset = _UNSET
    """`upserts` is the whole list: what else the client has is out of date."""
    stale: Literal[True] | _Unset = _UNSET
    """What is shown may be old."""
    age_ms: Whole | _Unset = _UNSET
    """For how long it has been `stale`, ms."""


class Frame(_Control, frozen=True, kw_only=True, tag="frame"):
    """On the channel `frames`: the run's newest picture, then newer ones, at most 4 messages a second for a run."""

    test_id: TestId
    number: Whole
    """Names the picture for ever; larger is newer."""
    event_seq: Whole
    """Of the event that it belongs to; 0: not known."""
    time_ms: Whole
    """When it was taken, ms since 1970 by its publisher's clock."""


class Unreadable(_Control, frozen=True, kw_only=True, tag="unreadable"):
    """After a batch in which malformed messages were passed over. The one control message with a `seq`."""

    test_id: TestId
    seq: Whole
    """Of the newest of them."""
    count: Whole
    """How many since the last such message to this viewer."""
    reasons: dict[str, Whole]
    """The number for each reason."""


class Authenticated(_Control, frozen=True, kw_only=True, tag="authenticated"):
    """The answer to an `authenticate` that was taken."""

    expires_at: Whole | _Unset = _UNSET
    """When the new proof expires, ms since 1970; absent: it does not."""


class Goodbye(_Control, frozen=True, kw_only=True, tag="goodbye"):
    """The connection is about to end; on a socket close code 1012 follows."""

    retry_after_ms: Whole
    """When to come back, with the position."""
    reason: str
    """One line for a person."""


class ErrorData(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What is wrong, for programs."""

    code: str
    """A word, see the error codes."""
    grace_ms: Whole | _Unset = _UNSET
    """Of a proof that has ended: for how long another one is awaited."""
    deleted: Literal[True] | _Unset = _UNSET
    """The run was deleted while it was watched."""


class Refusal(_Control, frozen=True, kw_only=True, tag="error"):
    """A message of the client was refused, or its proof has ended. It has no `seq`: an event of this type has one."""

    test_id: TestId | _Unset = _UNSET
    """The run that it is about, if it is about one."""
    message: str
    """One sentence for a person."""
    timestamp: Whole
    """By the edge's clock, ms since 1970."""
    data: ErrorData


Control = Sync | Heartbeat | Tests | Frame | Unreadable | Authenticated | Goodbye | Refusal
"""What an edge says by itself. A client ignores types that it does not know."""
CONTROLS: Final[tuple[type[msgspec.Struct], ...]] = (
    *(Sync, Heartbeat, Tests, Frame, Unreadable, Authenticated, Goodbye, Refusal),
)


class ViewerEvent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """An event as a viewer receives it: the publisher's object with `testId` and `seq` at its front."""

    test_id: TestId
    seq: Whole
    """Its stream sequence: the position after this event. It grows within a run, with gaps."""
    type: str
    """One of the known types, or a type of another version: skip it, and move the position past it."""
    message: str
    """One line for a person."""
    timestamp: Whole
    """Milliseconds since 1970, by the publisher's clock."""
    phase: Phase | None = None
    status: Status | None = None
    data: Any = None


# -- what a client may say ------------------------------------------------------------------------------------------


class _Request(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What a client asks for on a socket."""


class Subscribe(_Request, frozen=True, kw_only=True):
    """Follow a run, from its first event or after a position."""

    type: Literal["subscribe"]
    test_id: TestId
    channel: _Unset | None = _UNSET
    after: Whole | _Unset | None = _UNSET
    """The last sequence that was applied; absent or 0: from the first event."""
    epoch: Epoch | _Unset | None = _UNSET
    """The word that came with that position; absent: the current one."""


class SubscribeFrames(_Request, frozen=True, kw_only=True):
    """Be told of a run's pictures; of at most 200 runs on one socket."""

    type: Literal["subscribe"]
    channel: Literal["frames"]
    test_id: TestId


class SubscribeTests(_Request, frozen=True, kw_only=True):
    """Follow the list of runs."""

    type: Literal["subscribe"]
    channel: Literal["tests"]


class Unsubscribe(_Request, frozen=True, kw_only=True):
    """Let a run go."""

    type: Literal["unsubscribe"]
    test_id: TestId
    channel: _Unset | None = _UNSET


class UnsubscribeFrames(_Request, frozen=True, kw_only=True):
    """Let a run's pictures go."""

    type: Literal["unsubscribe"]
    channel: Literal["frames"]
    test_id: TestId


class UnsubscribeTests(_Request, frozen=True, kw_only=True):
    """Let the list go."""

    type: Literal["unsubscribe"]
    channel: Literal["tests"]


class Cancel(_Request, frozen=True, kw_only=True):
    """End a run as cancelled. One is carried out at a time, and one more may wait."""

    type: Literal["cancel"]
    test_id: TestId


_Proof = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_PROOF_CHARS, pattern="^[ -~]+$")]


class AuthenticateToken(_Request, frozen=True, kw_only=True):
    """Another proof in place of the one that the socket has, of the same subject."""

    type: Literal["authenticate"]
    token: _Proof
    ticket: _Unset | None = _UNSET


class AuthenticateTicket(_Request, frozen=True, kw_only=True):
    """The same with a ticket."""

    type: Literal["authenticate"]
    ticket: _Proof
    token: _Unset | None = _UNSET


REQUESTS: Final[tuple[type[msgspec.Struct], ...]] = (
    *(Subscribe, SubscribeFrames, SubscribeTests, Unsubscribe, UnsubscribeFrames, UnsubscribeTests),
    *(Cancel, AuthenticateToken, AuthenticateTicket),
)
"""Whatever a client may say is exactly one of these."""


# -- how a socket ends ----------------------------------------------------------------------------------------------

CLOSE_CODES: Final[tuple[tuple[tuple[int, ...], str, str], ...]] = (
    ((1003,), "a binary message", "send text messages only"),
    ((1002, 1007, 1009), "a violation of RFC 6455, invalid UTF-8, a message that is too long", "fix the client"),
    (
        (1008,),
        "a frame was begun and not finished for 10 s, or nothing was subscribed to for a minute",
        "fix the client",
    ),
    ((1012,), "the node restarts or shuts down", "reconnect after `retryAfterMs`; no event is missed"),
    ((1013,), "try again later", "back off"),
    ((4400,), "malformed message or test id; an `error` message says which", "stop"),
    (
        (4401,),
        "the proof of who this is has ended, and no other one came",
        "connect again with another proof",
    ),
    ((4403,), "not allowed; an `error` message says what", "stop"),
    ((4404,), "the test in the URL does not exist", "stop"),
    (
        (4429,),
        "it went on sending far more messages than it may; `error` messages with `too_many_requests` came before",
        "stop",
    ),
)
"""Close codes: (codes, what they mean, what a client should do)."""
SOCKET_ERRORS: Final = (
    *("invalid_test_id", "not_found", "malformed_message", "unknown_type", "too_many_subscriptions", "already_ended"),
    *("broker_unavailable", "forbidden", "unauthenticated", "too_many_requests", "token_expired", "token_revoked"),
)
"""Codes of an `error` message."""
