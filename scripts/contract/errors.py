"""The answers that errors are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from broker.contract.rpc import STATUS
from contract.types import Schema

REFS: Final = "#/components/schemas/"
EARLY: Final[Mapping[int, tuple[str, ...]]] = {
    400: ("malformed_request",),
    413: ("too_large",),
    414: ("address_too_long",),
    415: ("unsupported_encoding",),
    421: ("wrong_host",),
    431: ("head_too_large",),
}
"""What comes before anything else, at every address: status -> codes."""
_OF_STREAMS: Final[Mapping[str, int]] = {
    "not_acceptable": 406,
    **dict.fromkeys(("node_full", "address_full", "too_fast", "restarting"), 503),
}
"""Statuses of what streams are refused with, as upgrades are."""
_TITLES: Final = {
    400: "The request is wrong, and would be the next time",
    401: "No proof of who asks, or a wrong one",
    403: "Not allowed",
    404: "There is nothing of that name, or who asks may not see it",
    405: "It changes something: use POST",
    406: "It is there as a stream only",
    409: "The state of the run does not allow it",
    410: "Nothing can be read on from this offset",
    413: "The body is too large",
    414: "The address is too long",
    415: "A body that is no JSON, or is compressed",
    421: "The edge has another name",
    422: "A picture that is kept and not shown",
    429: "Too often: from this address, or by this principal",
    431: "The head is too large",
    500: "The edge made a mistake",
    502: "The broker has refused it",
    503: "Not at the moment: try again",
}


def problem(status: int, codes: Iterable[str]) -> Schema:
    """The answer that an error is, with the codes that come with this status."""
    listed = sorted(set(codes))
    error = {"properties": {"error": {"properties": {"code": {"enum": listed}}}}}
    content = {"schema": {"allOf": [{"$ref": f"{REFS}Problem"}, error]}}
    made: Schema = {
        "description": f"{_TITLES[status]}: {', '.join(f'`{each}`' for each in listed)}",
        "content": {"application/json": content},
    }
    if status == 401:
        made["headers"] = {"WWW-Authenticate": {"schema": {"const": "Bearer"}}}
    elif status == 405:
        made["headers"] = {"Allow": {"schema": {"type": "string"}}}
    elif status in (429, 503):
        made["headers"] = {"Retry-After": {"schema": {"type": "string"}, "description": "Seconds."}}
    return made


def problems(codes: Iterable[str]) -> dict[str, Schema]:
    """The answers for these codes, and those that come at every address, by status."""
    by_status: dict[int, set[str]] = {status: set(each) for status, each in EARLY.items()}
    for code in codes:
        by_status.setdefault({**_OF_STREAMS, **STATUS}.get(code, 400), set()).add(code)
    return {str(status): problem(status, found) for status, found in sorted(by_status.items())}
