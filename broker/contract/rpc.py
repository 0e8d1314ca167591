"""The methods of the RPC as its callers see them: what each answers with, and which errors it has of its own. Pure.

The parameters are declared where they are checked (`ws_edge/api/methods.py`); a test holds that both name the same
methods. The OpenAPI document and the tables in broker/PROTOCOL.md are made of this.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

import msgspec

import broker.contract.answers as answers


class Described(NamedTuple):
    """One method."""

    answer: type[msgspec.Struct] | None
    """The JSON that it answers with; None: a JPEG, or nothing (204)."""
    own_errors: str
    """Error codes that come from the method itself, besides those of every call; separated by spaces."""
    says: str = ""
    """What a caller has to know besides the fields, for the table."""
    etag: bool = False
    """The answer has an `ETag`: a GET with `If-None-Match` may get 304."""

    @property
    def errors(self) -> tuple[str, ...]:
        """`own_errors`, each."""
        return tuple(self.own_errors.split())


STATUS: Final[Mapping[str, int]] = {
    "unauthenticated": 401,
    "forbidden": 403,
    "foreign_origin": 403,
    "not_found": 404,
    "unknown_method": 404,
    "method_not_allowed": 405,
    "already_ended": 409,
    "not_ended": 409,
    "pinned": 409,
    "too_many_pins": 409,
    "conflict": 409,
    "offset_gone": 410,
    "key_reused": 409,
    "too_large": 413,
    "unsupported_media_type": 415,
    "too_many_requests": 429,
    "internal": 500,
    "broker_refused": 502,
    "queue_full": 503,
    "busy": 503,
    "name_not_resolved": 503,
    "broker_unavailable": 503,
    "storage_full": 503,
}
"""The HTTP status of the error codes that are not 400."""
BAD_REQUEST: Final = (
    *("access_is_open", "no_session_key", "too_many_shares", "invalid_test_id", "invalid_params", "malformed_body"),
    *("invalid_cursor", "invalid_url", "url_refused", "invalid_project", "invalid_label", "malformed_frame"),
    *("project_needed", "malformed_event", "bad_input"),
)
"""The error codes that are 400."""
ERROR_NOTES: Final[Mapping[str, str]] = {
    "access_is_open": "there is nothing to sign in to",
    "no_session_key": "cookies, tickets and share links are not set up",
    "project_needed": "the message names the choice",
    "unauthenticated": "no proof of who asks, or one that is wrong or has expired (never without access control, see "
    "[docs/access.md](../docs/access.md))",
    "forbidden": "never without access control",
    "too_many_requests": "from this address, or by this principal",
    "name_not_resolved": "the game's host could not be looked up in time, so that it cannot be judged",
    "busy": "as many exports as an edge makes at once are under way, or the edge is going away",
    "storage_full": "the broker answers and stores nothing",
}
STATUS_HEADERS: Final[Mapping[int, str]] = {
    401: "`WWW-Authenticate: Bearer`",
    429: "`Retry-After`",
    503: "`Retry-After`",
}

EVERY_CALL: Final = (
    *("invalid_params", "unauthenticated", "forbidden", "not_found", "too_many_requests", "internal"),
    *("broker_refused", "broker_unavailable"),
)
"broker_refusedError codes that any method may answer with."
EVERY_POST: Final = ("malformed_body", "foreign_origin", "too_large", "unsupported_media_type")

METHODS: Final[Mapping[str, Described]] = {
    "listTests": Described(
        answers.TestList,
        "invalid_cursor invalid_label",
        "newest first; times are by the broker's clock; a GET repeats the parameter `labels`; `counts`: all runs by "
        "status whatever the filter, `cancelled` beside `failed`; `matching`: how many runs the filter lets through, "
        "with one of `gameUrl`, `labels`, `since`, `until`, `pinned`; answered from memory, also while the broker is "
        "away",
        etag=True,
    ),
    "getGames": Described(
        answers.Games,
        "invalid_cursor",
        "the addresses that runs test, the one with the newest run first, each `{gameUrl, title, runs, "
        "active, lastAt, lastTestId, lastStatus, lastScore?, scores}`; `scores`: of the newest 30 runs that "
        "have ended, the oldest first, null where one ended without a score; `total`: of all pages. A run "
        "without an address is in none",
        etag=True,
    ),
    "getTest": Described(answers.OneTest, "", etag=True),
    "getEvents": Described(
        answers.Events,
        "",
        "ask again from `head` while `more`; not throttled; `unreadable`: `{seq, count, reasons}` of the "
        "malformed messages that this page passed over",
    ),
    "connectToTest": Described(answers.WhereToConnect, ""),
    "submitTest": Described(
        answers.Submitted,
        "bad_input invalid_url url_refused invalid_project invalid_label project_needed queue_full name_not_resolved "
        "storage_full",
        "`project`: without it `default` if the caller has that, else its only one; `labels`: [`{name: "
        "value}`](#labels)",
    ),
    "cancelTest": Described(answers.Cancelled, "already_ended storage_full"),
    "createRun": Described(
        answers.Created,
        "bad_input invalid_url url_refused invalid_project invalid_label project_needed storage_full",
        "see [Writers](#writers)",
    ),
    "pinTest": Described(
        answers.PinAnswer,
        "too_many_pins storage_full",
        "`keptUntil`: an operator has given the stream of events an age, which removes the run's first event then, ms",
    ),
    "unpinTest": Described(answers.UnpinAnswer, "storage_full"),
    "deleteTest": Described(
        answers.Deleted,
        "not_ended pinned storage_full",
        "a run that has ended and is not pinned. After 503 it may be deleted all the same. See [What is "
        "kept](#what-is-kept)",
    ),
    "publishEvents": Described(
        answers.Published,
        "malformed_event bad_input already_ended conflict key_reused storage_full",
        "the sequence of the batch's last event, and how many it has; see [Writers](#writers)",
    ),
    "publishFrame": Described(
        answers.FramePublished,
        "malformed_frame already_ended storage_full",
        "see [Writers](#writers)",
    ),
    "getFrames": Described(
        answers.Frames,
        "",
        "each of `frames` is `[number, seq, timeMs, bytes]`: the pictures after the number `after`, in order of "
        "number; `newest`: number of the newest one, 0 for none; ask again from the last number while `more`; `gone`: "
        "the run may have had earlier pictures, which are not kept any more; `unreadable`: `{count, reasons}`, see "
        "[Pictures on an edge](#pictures-on-an-edge)",
        etag=True,
    ),
    "getShot": Described(
        None,
        "",
        "the newest picture, `image/jpeg`; 204 while there is none",
        etag=True,
    ),
    "getSession": Described(
        answers.Session,
        "",
        "public. `required`: a proof is needed to see anything; `ways` to sign in: `token`, `oidc`. Cookies "
        "that do not count are removed",
    ),
    "signIn": Described(
        answers.Session,
        "access_is_open no_session_key",
        "the same as `getSession`, and the session's cookie; public",
    ),
    "signOut": Described(
        answers.SignedOut,
        "access_is_open",
        "the session is over on every edge, also for copies of its cookie; public",
    ),
    "getTicket": Described(answers.Ticket, "access_is_open no_session_key"),
    "shareTest": Described(
        answers.Shared,
        "access_is_open no_session_key too_many_shares storage_full",
        "the only answer with the link's secret",
    ),
    "listShares": Described(
        answers.Shares, "access_is_open no_session_key", "each of `shares` is `{shareId, by, createdAt, expiresAt}`"
    ),
    "unshareTest": Described(answers.Unshared, "access_is_open no_session_key storage_full"),
    "openShare": Described(
        answers.Opened,
        "access_is_open no_session_key",
        "and the cookie that shows this run; public",
    ),
    "revokeToken": Described(
        answers.Revoked,
        "access_is_open storage_full",
        "for `admin` of all projects",
    ),
    "listAgents": Described(
        answers.Agents,
        "",
        "`agents`: those that have given a sign of life within 10 minutes, `{worker, busy, heardMs, silent?, "
        "runs?}`, at most 200 and `more` besides; `silent`: none for 25 s; `runs`: what it plays, the oldest "
        "first, each `{testId, title, sinceMs?}`, only of the caller's projects; `sinceMs`: when it began the "
        "run, unless that is a later attempt. `free`: requests for a run that wait at the queue, those of "
        "idle agents, whose names nobody knows; absent while the broker does not say. `queue`: `{length, "
        "oldestMs?, waitsMs?}` of the caller's projects; `waitsMs`: about how long the next ones wait by "
        "place, from the measured durations of ended runs, in steps of 5 s; absent where fewer than 3 were "
        "measured, no agent is busy, or the caller may not see every project",
        etag=True,
    ),
    "getConfig": Described(
        answers.Config,
        "",
        "`allowPrivate`: games at private and loopback addresses may be submitted; `now`: the broker's clock, "
        "ms, with which the times of snapshots can be compared; `degraded`: sentences for people, see "
        "[HTTP](#http)",
    ),
}
"""Every method, in the order of the table."""
