"""The files of broker/schemas/, as tests read them."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any, Final

import jsonschema

SCHEMAS: Final = Path(__file__).resolve().parents[1] / "broker" / "schemas"


@cache
def document(name: str) -> Any:
    """A file, parsed."""
    return json.loads((SCHEMAS / name).read_text("utf-8"))


@cache
def validator(name: str) -> Any:
    """What validates a value against a JSON Schema."""
    return jsonschema.Draft202012Validator(document(name))
