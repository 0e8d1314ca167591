"""New test ids. Their form is checked in `broker.contract.ids`, which is pure."""

from __future__ import annotations

import uuid


def new_test_id() -> str:
    """Returns a new random test id."""
    return str(uuid.uuid4())
