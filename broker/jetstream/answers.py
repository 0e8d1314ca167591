"""What an answer of JetStream means: its JSON, or the error that it stands for. Pure."""

from __future__ import annotations

import re
from typing import Any, Final

import orjson

from broker.contract.errors import BrokerRefused, BrokerUnavailable, NotThere, StorageFull, WrongLastSequence

STREAM_FULL: Final = 10077
"""A stream's limit was reached, of all messages or of one subject's; only the description tells which. Its code is 503,
as for errors that pass."""

BATCHES_DISABLED: Final = 10174
"""The stream takes no atomic batches: `allow_atomic` is not set."""

_WRONG_LAST: Final = {10071, 10164}
"""10164 occurs in clusters only."""
_NOT_LEADER_YET: Final = {10008, 10158}
"""System unavailable, a publish during an election."""
_NOT_ENABLED: Final = {10039, 10076}
"""JetStream is off for the account, or on the server. The code is 503: an operator may switch it on."""
_STORAGE: Final = {10002, 10023, 10047}
"""A limit of the account, of the server's memory or disk, or of what is reserved on its disk."""
_FULL_OF_BYTES: Final = ("no space left", "maximum bytes", "resource limits exceeded", "disk quota")
"""In descriptions. A disk that is full has no number of its own: its error is passed on by what met it."""
_NOT_THERE: Final = {10059, 10014}
"""No such stream, no such consumer."""
_LAST_IN_TEXT = re.compile(r"wrong last sequence: (\d+)")


def read_answer(data: bytes, subject: str) -> dict[str, Any]:
    """Returns what the broker answered to a request on `subject`.

    Raises:
        BrokerRefused, BrokerUnavailable: it answered with an error; each kind that matters has a class of its own.
    """
    answer: dict[str, Any] = orjson.loads(data)
    error = answer.get("error")
    if error is None:
        return answer
    code, text = int(error.get("err_code", 0)), str(error.get("description", "refused"))
    if code in _WRONG_LAST:
        found = _LAST_IN_TEXT.search(text)
        raise WrongLastSequence(text, code, int(found[1]) if found else None)
    if code in _STORAGE or any(words in text.lower() for words in _FULL_OF_BYTES):
        raise StorageFull(f"the broker has no room to store this: {text} (JetStream error {code})")
    if code in _NOT_THERE:
        raise NotThere(f"{text} ({subject})", certain=True)
    if code in _NOT_ENABLED:
        where = "TESTCAST_NATS_JS_DOMAIN or TESTCAST_NATS_JS_API_PREFIX"
        raise BrokerUnavailable(f"{text}: enable it for this user's account, or name where the streams are in {where}")
    if code != STREAM_FULL and (code in _NOT_LEADER_YET or error.get("code") == 503):
        raise BrokerUnavailable(f"the broker has no leader at the moment: {text}")
    raise BrokerRefused(text, code)
