"""The audit log: one line for each refusal and for each act that changes something. No line has a secret in it.

Lines go to a logger of their own as `key=value` pairs, values as JSON strings. They are rate-limited by outcome
and action, so that a flood of refusals does not fill a disk and does not hide the acts.
"""

from __future__ import annotations

import logging
from typing import Final

import orjson

from broker.log import RateLimited
from ws_edge.access.principal import Action

_REFUSALS_PER_S: Final = 1.0
"""The shortest time between two lines on refusals of one kind, seconds."""
_MAX_CHARS: Final = 200
_log = logging.getLogger("testcast.audit")
_refusals: Final[dict[tuple[str, str], RateLimited]] = {}


def refused(action: Action | str, code: str, *, subject: str, address: str, test_id: str | None = None) -> None:
    """Writes down that a request was refused.

    Args:
        action: what was asked for.
        code: the error's code.
        subject: who asked, as far as it is known.
        address: where the request came from.
        test_id: the run it was about, if any.
    """
    name = action.value if isinstance(action, Action) else action
    line = _refusals.get((name, code))
    if line is None:
        line = _refusals[name, code] = RateLimited(_log, _REFUSALS_PER_S)  # both are words of ours: there are few
    line.warning("%s", _line("refused", name, subject, address, test_id, code))


def acted(action: Action | str, *, subject: str, address: str, test_id: str | None = None, detail: str = "") -> None:
    """Writes down that something was changed."""
    name = action.value if isinstance(action, Action) else action
    _log.info("%s", _line("done", name, subject, address, test_id, detail))


def _line(outcome: str, action: str, subject: str, address: str, test_id: str | None, detail: str) -> str:
    fields = {"outcome": outcome, "action": action, "subject": subject, "run": test_id, "address": address}
    pairs = [f"{key}={_value(value)}" for key, value in [*fields.items(), ("detail", detail)] if value]
    return " ".join(pairs)


def _value(value: str) -> str:
    """A JSON string: control characters are escaped, so that a value cannot begin a line of its own."""
    return orjson.dumps(value[:_MAX_CHARS].encode("ascii", "backslashreplace").decode()).decode()
