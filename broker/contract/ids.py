"""Test ids: UUIDs of any version in canonical lower case. Every entry point applies the same rule.

A probe is the run that an edge follows to measure itself. Its id is no UUID, so it is no test id: every reader of runs,
of any version, passes it over, and no entry point takes it.

`tests/ids.json` has examples of both kinds, which every implementation of the rule is tried with.
"""

from __future__ import annotations

import re

from broker.contract.errors import InvalidTestId

_CANONICAL_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.ASCII)


def is_test_id(text: str) -> bool:
    """Returns whether `text` is a UUID in canonical lower case."""
    return _CANONICAL_UUID.fullmatch(text) is not None


_PROBE = re.compile(r"probe-[0-9a-f]{16}", re.ASCII)


def probe_id(word: int) -> str:
    """Returns the id of an edge process's probe.

    Args:
        word: 64 random bits of that process.
    """
    return f"probe-{word:016x}"


def is_probe_id(text: str) -> bool:
    """Returns whether `text` is the id of a probe."""
    return _PROBE.fullmatch(text) is not None


def parse_test_id(given: object) -> str:
    """Returns `given` when it is a UUID in canonical lower case.

    Raises:
        InvalidTestId: it is anything else, of any type.
    """
    if isinstance(given, str) and is_test_id(given):
        return given
    raise InvalidTestId(given)


def read_test_id(given: object) -> str:
    """Like `parse_test_id`, for what a person typed: in any case, with white space around it.

    Raises:
        InvalidTestId: it is no UUID in its canonical form.
    """
    if isinstance(given, str) and is_test_id(typed := given.strip().lower()):
        return typed
    raise InvalidTestId(given)
