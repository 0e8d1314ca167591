"""The audit log: one line for each refusal and for each act that changes something. No line has a secret in it.

Lines go to a logger of their own: as `key=value` pairs with values as JSON strings, or as the fields of a JSON line.
They are rate-limited by outcome and action: a flood of refusals does not fill a disk and does not hide the acts.
"""

from __future__ import annotations

import logging
from types import MappingProxyType
from typing import Final

import orjson

from broker.log import INSTEAD, Fields, RateLimited, about
from ws_edge.access.principal import Action

_REFUSALS_PER_S: Final = 1.0
"""The shortest time between two lines on refusals of one kind, seconds."""
_MAX_CHARS: Final = 200
_log = logging.getLogger("testcast.audit")
_refusals: Final[dict[tuple[str, str], RateLimited]] = {}


def refused(
    action: Action | str,
    code: str,
    *,
    subject: str,
    address: str,
    test_id: str | None = None,
    fields: Fields = MappingProxyType({}),
) -> None:
    """Writes down that a request was refused.

    Args:
        action: what was asked for.
        code: the error's code.
        subject: who asked, as far as it is known.
        address: where the request came from.
        test_id: the run it was about, if any.
        fields: further fields of the line: the viewer's and the request's ids.
    """
    name = action.value if isinstance(action, Action) else action
    line = _refusals.get((name, code))
    if line is None:
        line = _refusals[name, code] = RateLimited(_log, _REFUSALS_PER_S)  # both are words of ours: there are few
    said = _fields("refused", name, subject, address, test_id, code)
    line.warning("%s", _line(said), fields={**said, "code": code, **_json(said), **fields})


def acted(
    action: Action | str,
    *,
    subject: str,
    address: str,
    test_id: str | None = None,
    detail: str = "",
    fields: Fields = MappingProxyType({}),
) -> None:
    """Writes down that something was changed."""
    name = action.value if isinstance(action, Action) else action
    said = _fields("done", name, subject, address, test_id, detail)
    _log.info("%s", _line(said), extra=about(**{**said, **_json(said), **fields}))


def _fields(outcome: str, action: str, subject: str, address: str, test_id: str | None, detail: str) -> dict[str, str]:
    fields = {"outcome": outcome, "action": action, "subject": subject, "run": test_id, "address": address}
    return {key: value for key, value in [*fields.items(), ("detail", detail)] if value}


def _line(said: Fields) -> str:
    return " ".join(f"{key}={_value(str(value))}" for key, value in said.items())


def _json(said: Fields) -> Fields:
    """What a JSON line says, whose fields have the rest."""
    return {INSTEAD: f"{said['outcome']}: {said['action']}"}


def _value(value: str) -> str:
    """A JSON string: control characters are escaped, so that a value cannot begin a line of its own."""
    return orjson.dumps(value[:_MAX_CHARS].encode("ascii", "backslashreplace").decode()).decode()
