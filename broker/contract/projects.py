"""Projects: every run belongs to one, which the run's first event names. Pure."""

from __future__ import annotations

import re
from typing import Any, Final

from broker.contract.errors import BadInput

DEFAULT: Final = "default"
"""The project of a run whose first event names none."""
UNKNOWN: Final = ""
"""No project: the name is not valid, or the event that named it is gone. Who may see every project sees the run."""
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}", re.ASCII)


def is_project(given: object) -> bool:
    """Whether it is a project's name: 1 to 63 of `a-z`, `0-9`, `_` and `-`, beginning with a letter or digit."""
    return isinstance(given, str) and _NAME.fullmatch(given) is not None


def parse_project(given: str) -> str:
    """Returns the name.

    Raises:
        BadInput: it is not a project's name.
    """
    if not is_project(given):
        raise BadInput(f"project: {given[:80]!r} is not 1 to 63 of a-z, 0-9, _ and -", code="invalid_project")
    return given


def named_by(given: Any) -> str:
    """The project that the `data.project` of a run's first event names. None: the event has no such field."""
    if given is None or given == DEFAULT:
        return DEFAULT  # this very object: msgspec leaves a default out of JSON by identity
    return given if is_project(given) else UNKNOWN
