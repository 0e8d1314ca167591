"""The types of the page's client that are made of the message types: a part of dashboard_ui/client/types.d.ts."""

from __future__ import annotations

import json
import re
import textwrap
from typing import Final, get_args

import msgspec

from broker.contract import events, messages
from broker.contract.snapshot import Snapshot
from contract.types import Schema, fields_of, plain, schemas

BEGIN: Final = "// generated: messages (make schemas)"
_MAX_LINE: Final = 120
END: Final = "// end"
_KNOWN_EARLY: Final = {"testId", "status", "seq", "createdAt"}
"""What a client knows of a run before its snapshot comes: it makes one of that."""
_NAMES: Final = {"ViewerEvent": "RunEvent", "Counts": "Counts", "Snapshot": "Snapshot"}


def declarations() -> str:
    """The interfaces."""
    kinds: list[type[msgspec.Struct]] = [
        messages.ViewerEvent,
        Snapshot,
        messages.Counts,
        *messages.CONTROLS,
        messages.ErrorData,
    ]
    made = schemas(kinds, nulls=False)
    parts = [_interface(kind.__name__, plain(kind.__doc__ or ""), made[kind.__name__], kind) for kind in kinds]
    names = " | ".join(_name(each.__name__) for each in messages.CONTROLS)
    about = "/** What an edge says by itself. A client ignores types that it does not know. */"
    parts.append(f"{about}\ntype ControlMessage =\n  {names};")
    return "\n\n".join(parts)


def _name(kind: str) -> str:
    return _NAMES.get(kind, f"{kind}Message" if kind != "ErrorData" else kind)


def _interface(kind: str, about: str, schema: Schema, struct: type[msgspec.Struct]) -> str:
    said = {name: text for name, text, _ in fields_of(struct)}
    lines = [*_comment(about), f"interface {_name(kind)} {{"]
    required = _KNOWN_EARLY if kind == "Snapshot" else set(schema["required"])
    if kind == "ViewerEvent":
        schema["properties"]["type"] = {"enum": list(get_args(events.EventType))}
    for name, each in schema["properties"].items():
        mark = "" if name in required else "?"
        comment = f" // {said[name].removesuffix('.')}" if said.get(name) else ""
        line = f"  {name}{mark}: {_type(each)};{comment}"
        above = [f"  {each}" for each in _comment(said[name])] if len(line) > _MAX_LINE else []
        lines += [*above, line.removesuffix(comment) if above else line]
    return "\n".join([*lines, "}"])


def _comment(text: str) -> list[str]:
    lines = textwrap.wrap(text, 114)
    return [f"/** {text} */"] if len(lines) == 1 else ["/**", *(f" * {line}" for line in lines), " */"]


def _type(schema: Schema) -> str:
    if "$ref" in schema:
        return _name(schema["$ref"].rsplit("/", 1)[-1])
    if "anyOf" in schema:
        return " | ".join(dict.fromkeys(_type(each) for each in schema["anyOf"]))
    if "const" in schema:
        return json.dumps(schema["const"])
    if "enum" in schema:
        return " | ".join(json.dumps(each) for each in schema["enum"])
    kind = schema.get("type", "any")
    if kind == "array":
        return f"{_type(schema.get('items', {}))}[]"
    if kind == "object":
        return f"Record<string, {_type(schema.get('additionalProperties') or {})}>"
    return "number" if kind == "integer" else str(kind)


def with_declarations(text: str) -> str:
    """The file with its part made again.

    Raises:
        ValueError: it has no place for it.
    """
    if BEGIN not in text or END not in text:
        raise ValueError(f"there is no place between {BEGIN!r} and {END!r}")
    return re.sub(
        f"{re.escape(BEGIN)}\n.*?{re.escape(END)}\n",
        lambda _found: f"{BEGIN}\n\n{declarations()}\n\n{END}\n",
        text,
        flags=re.DOTALL,
    )
