"""The answers of the RPC: the source of their schemas (`scripts/schemas.py`). Pure.

What an edge may leave out is `UNSET` by default. Later versions may add fields: readers ignore those that they do not
know.
"""

from __future__ import annotations

from typing import Any, Final, Literal

import msgspec

from broker.contract.messages import Counts, TestId, Unreadables, ViewerEvent, Whole
from broker.contract.position import Outcome, Reason
from broker.contract.snapshot import ListStatus, Snapshot

_UNSET: Final = msgspec.UNSET
_Unset = msgspec.UnsetType


class Answer(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Base of all answers."""


class _OfList(Answer, frozen=True, kw_only=True):
    next_cursor: str | _Unset = _UNSET
    """The `cursor` of the next page; absent on the last one."""
    stale: Literal[True] | _Unset = _UNSET
    """The broker has not answered for 5 s, or the list is being filled again: what is shown may be old."""
    age_ms: Whole | _Unset = _UNSET
    """For how long it has been `stale`, ms."""
    degraded: list[str] | _Unset = _UNSET
    """What cannot be done at the moment, in sentences for people."""


class TestList(_OfList, frozen=True, kw_only=True):
    """Runs, newest first."""

    __test__ = False

    tests: list[Snapshot]
    counts: Counts
    """All runs by status, whatever the filter."""
    epoch: str
    """Names this life of the stream; empty before the edge knows it."""
    matching: Whole | _Unset = _UNSET
    """How many runs the filter lets through, with one of `gameUrl`, `labels`, `since`, `until`, `pinned`."""


class Game(Answer, frozen=True, kw_only=True):
    """A game, by its address, as its runs tell of it."""

    game_url: str
    title: str
    """Of its newest run."""
    runs: Whole
    active: Whole
    """Runs that have not ended."""
    last_at: Whole
    """When its newest run began, ms since 1970 by the broker's clock."""
    last_test_id: TestId
    last_status: ListStatus
    last_score: float | _Unset = _UNSET
    """The newest score; absent: no run has one."""
    scores: list[float | None]
    """Of the newest 30 runs that have ended, the oldest of them first; null: it ended without a score."""


class Games(_OfList, frozen=True, kw_only=True):
    """The addresses that runs test, the one with the newest run first. A run without an address is in none."""

    games: list[Game]
    total: Whole
    """Of all pages."""


class OneTest(Answer, frozen=True, kw_only=True):
    """One run's snapshot."""

    test: Snapshot
    epoch: str
    """Names this life of the stream; empty before the edge knows it."""


class Events(Answer, frozen=True, kw_only=True):
    """A run's events after a position."""

    outcome: Outcome
    reason: Reason | _Unset = _UNSET
    """Of a `reset`."""
    epoch: str
    head: Whole
    """The position after these events: ask again from here."""
    events: list[ViewerEvent]
    more: bool
    """There are further events already."""
    snapshot: Snapshot | _Unset = _UNSET
    """Absent when the position was `recovered`."""
    unreadable: Unreadables | _Unset = _UNSET
    """What this page passed over."""


class EventPage(Answer, frozen=True, kw_only=True):
    """A run's events after a position, as viewers are sent them: at once, or when the next ones come."""

    test_id: TestId
    outcome: Outcome
    reason: Reason | _Unset = _UNSET
    """Of a `reset`."""
    epoch: str
    head: Whole
    """The newest position that is sent to viewers at this moment."""
    events: list[ViewerEvent]
    after: Whole
    """The position behind these events: ask on from here."""
    more: bool
    """There is more already."""
    ended: bool
    """The run has ended, and nothing follows."""
    snapshot: Snapshot | _Unset | None = _UNSET
    """Absent when the position was `recovered`; null where no event of a known type is stored."""
    unreadable: Unreadables | _Unset = _UNSET
    """What was passed over."""
    stale: Literal[True] | _Unset = _UNSET
    """What is shown may be old."""


class WhereToConnect(Answer, frozen=True, kw_only=True):
    """Where to open a socket for a run, and what to show until it delivers."""

    url: str
    snapshot: Snapshot
    epoch: str
    head: Whole


class Submitted(Answer, frozen=True, kw_only=True):
    """A run that was queued."""

    test_id: TestId


class Cancelled(Answer, frozen=True, kw_only=True):
    """A run that was ended."""

    test_id: TestId
    status: Literal["completed", "failed"]


class Created(Answer, frozen=True, kw_only=True):
    """A run whose events come from the caller."""

    test_id: TestId
    seq: Whole
    """Of its first event."""
    epoch: str


class PinAnswer(Answer, frozen=True, kw_only=True):
    """A run that is kept for good."""

    test_id: TestId
    pinned: Literal[True]
    kept_until: Whole | _Unset = _UNSET
    """An operator has given the stream of events an age, which removes the run's first event then, ms since 1970."""


class UnpinAnswer(Answer, frozen=True, kw_only=True):
    """A run that is not kept for good any more."""

    test_id: TestId
    pinned: Literal[False]


class Deleted(Answer, frozen=True, kw_only=True):
    """A run that is gone."""

    test_id: TestId
    deleted: Literal[True]


class Published(Answer, frozen=True, kw_only=True):
    """A batch of events that is stored."""

    seq: Whole
    """Of the batch's last event; of the run's newest where the batch was empty."""
    stored: Whole
    """How many the batch has."""


class FramePublished(Answer, frozen=True, kw_only=True):
    """A picture that is stored."""

    number: Whole
    """Names the picture for ever; larger is newer."""


class UnreadableFrames(Answer, frozen=True, kw_only=True):
    """Pictures that are kept and not shown."""

    count: Whole
    reasons: dict[str, Whole]
    """The number for each reason."""


class Frames(Answer, frozen=True, kw_only=True):
    """Which pictures a run has."""

    frames: list[tuple[Whole, Whole, Whole, Whole]]
    """In order of number, each `[number, seq, timeMs, bytes]`."""
    newest: Whole
    """Number of the newest one, 0 for none."""
    more: bool
    """Ask again from the last number."""
    gone: bool
    """The run may have had earlier pictures, which are not kept any more."""
    unreadable: UnreadableFrames | _Unset = _UNSET


class Session(Answer, frozen=True, kw_only=True):
    """Who asks, as far as it can be told, and how to sign in."""

    required: bool
    """A proof is needed to see anything."""
    ways: list[Literal["token", "oidc"]]
    """To sign in."""
    subject: str | _Unset = _UNSET
    projects: Literal["*"] | list[str] | _Unset = _UNSET
    actions: list[str] | _Unset = _UNSET
    expires_at: Whole | _Unset = _UNSET
    """Ms since 1970."""


class SignedOut(Answer, frozen=True, kw_only=True):
    """The browser has no session any more."""

    ended: bool
    """The session is over on every edge, also for copies of its cookie."""


class Ticket(Answer, frozen=True, kw_only=True):
    """What opens one socket."""

    ticket: str
    expires_in_ms: Whole


class Shared(Answer, frozen=True, kw_only=True):
    """A link that shows one run; the only answer with its secret."""

    share_id: str
    path: str
    """Below the edge's address; the secret is in its fragment."""
    expires_at: Whole


class ShareLink(Answer, frozen=True, kw_only=True):
    """A link that counts at the moment."""

    share_id: str
    by: str
    """Who has made it."""
    created_at: Whole
    expires_at: Whole


class Shares(Answer, frozen=True, kw_only=True):
    """The links of a run."""

    shares: list[ShareLink]


class Unshared(Answer, frozen=True, kw_only=True):
    """A link that has ended."""

    share_id: str


class Opened(Answer, frozen=True, kw_only=True):
    """A link that was opened: the cookie shows its run."""

    test_id: TestId
    expires_at: Whole


class Revoked(Answer, frozen=True, kw_only=True):
    """A token that counts no longer."""

    jti: str
    until: int | None
    """When it is forgotten, ms since 1970; null: it was not said when the token expires."""


class Playing(Answer, frozen=True, kw_only=True):
    """A run that an agent plays."""

    test_id: TestId
    title: str
    since_ms: Whole | _Unset = _UNSET
    """When it began the run; absent where that is a later attempt."""


class Agent(Answer, frozen=True, kw_only=True):
    """An agent that has given a sign of life within 10 minutes."""

    worker: str
    busy: bool
    """It plays a run."""
    heard_ms: Whole
    """When it was heard of, ms since 1970 by the broker's clock."""
    silent: Literal[True] | _Unset = _UNSET
    """No sign of life for 25 s."""
    runs: list[Playing] | _Unset = _UNSET
    """What it plays, the oldest first, of the caller's projects."""


class Queue(Answer, frozen=True, kw_only=True):
    """The queue, of the caller's projects."""

    length: Whole
    oldest_ms: Whole | _Unset = _UNSET
    """When its first run was submitted, ms since 1970 by the broker's clock; for who may see every project."""
    waits_ms: list[Whole] | _Unset = _UNSET
    """About how long the next ones wait by place."""


class Agents(Answer, frozen=True, kw_only=True):
    """The agents that are known, and the queue."""

    agents: list[Agent]
    queue: Queue
    free: Whole | _Unset = _UNSET
    """Requests for a run that wait at the queue; absent while the broker does not say."""
    more: Whole | _Unset = _UNSET
    """How many agents are known besides."""
    stale: Literal[True] | _Unset = _UNSET


class Config(Answer, frozen=True, kw_only=True):
    """What the page needs to know of this installation."""

    now: Whole
    """The broker's clock, ms since 1970."""
    version: str
    allow_private: bool
    """Games at private and loopback addresses may be submitted."""
    degraded: list[str] | _Unset = _UNSET
    """What cannot be done at the moment, in sentences for people."""
    demo_game_url: str | _Unset = _UNSET


class Failure(Answer, frozen=True, kw_only=True):
    """What is wrong with a request."""

    code: str
    """A word for programs."""
    message: str
    """One sentence for a person: what is wrong and, where it helps, what to do."""
    details: dict[str, Any] | _Unset = _UNSET
    """Figures to act on."""


class Problem(Answer, frozen=True, kw_only=True):
    """The one shape of an error."""

    error: Failure


class Alive(Answer, frozen=True, kw_only=True):
    """The process runs."""

    ok: Literal[True]
    version: str


class Readiness(Answer, frozen=True, kw_only=True):
    """Whether viewers may be sent to this edge, and what they would miss."""

    ready: bool
    degraded: list[str]
    """What cannot be done at the moment, in sentences for people."""
    failed: list[str]
    """Parts of the edge that have failed and are started again."""
    broker: bool
    """It is reached."""
    catalogue: bool
    """The list was filled once."""
    draining: bool
    version: str
