"""The tables of broker/PROTOCOL.md that are made of the message types, each between two comments that name it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Final, get_args

import msgspec

from broker.contract import events, messages
from broker.contract.rpc import BAD_REQUEST, ERROR_NOTES, METHODS, STATUS, STATUS_HEADERS
from broker.contract.snapshot import Snapshot
from contract.types import Schema, fields_of, plain, schemas
from ws_edge.api.methods import METHODS as IN_CODE

_ADDED: Final = ("queuePlace", "noAgent", "pinned", "stalled")
"""Fields of a snapshot that edges add. They have a list of their own."""


def _of_event() -> str:
    """The fields of an event."""
    schema = schemas([events.Event])["Event"]
    known = ", ".join(f'`"{each}"`' for each in get_args(events.EventType))
    rows = [
        ("type", f"{known}, or another string of 1 to {events.MAX_TYPE_CHARS} characters", "required"),
        ("message", "string", "required; one line for a person"),
        ("timestamp", "integer", "required; ms since 1970 by the publisher's clock, below 2^53"),
    ]
    notes = {
        "phase": "1 load and validate, 2 discover controls, 3 explore gameplay, 4 evaluate and score",
        "status": "required for `type: status`",
        "data": "see below",
    }
    there = {name for name, *_ in rows}
    rows += [(name, _kind(each), notes[name]) for name, each in schema["properties"].items() if name not in there]
    return _table(("field", "type", ""), [(f"`{name}`", kind, text) for name, kind, text in rows])


def _of_snapshot() -> str:
    """The fields of a snapshot."""
    schema = schemas([Snapshot])["Snapshot"]
    rows = [
        (f"`{name}`" if needed else f"`{name}?`", _kind(schema["properties"][name]), _sentence(said))
        for name, said, needed in fields_of(Snapshot)
        if name not in _ADDED
    ]
    return _table(("field", "type", ""), rows)


def _kind(schema: Schema) -> str:
    if "anyOf" in schema:
        return " or ".join(_kind(each) for each in schema["anyOf"])
    if "enum" in schema:
        return ", ".join(f'`"{each}"`' for each in schema["enum"])
    if schema.get("type") == "object":
        return "object"
    if schema.get("type") == "number" and "maximum" in schema:
        return f"number, {schema['minimum']} to {schema['maximum']}"
    return str(schema.get("type", "any"))


def _sentence(docstring: str) -> str:
    return docstring.removesuffix(".")


def _controls() -> str:
    rows = []
    for kind in messages.CONTROLS:
        fields = ", ".join(f"`{name}`" if needed else f"`{name}?`" for name, _, needed in fields_of(kind)[1:])
        said = [f"`{name}`: {_lowered(_sentence(text))}" for name, text, _ in fields_of(kind) if text]
        about = plain(kind.__doc__ or "").removesuffix(".")
        rows.append(
            (f"`{kind.__struct_config__.tag}`", fields, ". ".join([_lowered(about), "; ".join(said)]).rstrip(". "))
        )
    return _table(("`type`", "fields", "when"), rows)


def _lowered(text: str) -> str:
    return text if text.startswith("I ") else text[:1].lower() + text[1:]


def _methods() -> str:
    rows = []
    for name, described in METHODS.items():
        method = IN_CODE[name]
        answer = "" if described.answer is None else f"`{{{_names(described.answer)}}}`"
        said = "; ".join(filter(None, ("" if method.reads else "POST only", described.says)))
        if answer and said:
            answer += ": " if said[0].islower() and not said.startswith("and") else "; "
        rows.append((f"`{name}`", _parameters(method.params), answer + said))
    return _table(("method", "parameters", "answer"), rows)


def _names(kind: type[msgspec.Struct]) -> str:
    return ", ".join(name if needed else f"{name}?" for name, _, needed in fields_of(kind))


def _parameters(kind: type[msgspec.Struct]) -> str:
    properties = schemas([kind])[kind.__name__]["properties"]
    shown = []
    for name, said, needed in fields_of(kind):
        schema = properties[name]
        choice = schema.get("anyOf", [schema])[0]
        low, high = choice.get("minimum"), choice.get("maximum")
        limits = f" {low}\N{EN DASH}{high}" if high is not None and high < 2**53 - 1 else ""
        default = f" ({schema['default']})" if limits and "default" in schema else ""
        note = f": {_lowered(_sentence(said))}" if said and not limits and name != "testId" else ""
        shown.append((f"`{name}`{limits}{default}" if needed or default else f"`{name}?`{limits}") + note)
    return ("; " if any(": " in each for each in shown) else ", ").join(shown)


def _errors() -> str:
    by_status: dict[int, list[str]] = {400: list(BAD_REQUEST)}
    for code, status in STATUS.items():
        by_status.setdefault(status, []).append(code)
    rows = []
    for status, codes in sorted(by_status.items()):
        header = f", with {STATUS_HEADERS[status]}" if status in STATUS_HEADERS else ""
        said = [f"`{code}`" + (f" ({ERROR_NOTES[code]})" if code in ERROR_NOTES else "") for code in codes]
        rows.append((f"{status}{header}", ", ".join(said)))
    return _table(("status", "codes"), rows)


def _closes() -> str:
    rows = [(", ".join(map(str, codes)), meaning, advice) for codes, meaning, advice in messages.CLOSE_CODES]
    return _table(("close code", "meaning", "what a client should do"), rows)


def _socket_errors() -> str:
    return f"Error codes on the socket: {', '.join(f'`{each}`' for each in messages.SOCKET_ERRORS)}."


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join(f"| {' | '.join(line)} |".replace("|  |", "| |") for line in lines)


TABLES: Final[Mapping[str, Callable[[], str]]] = {
    "event": _of_event,
    "snapshot": _of_snapshot,
    "control messages": _controls,
    "close codes": _closes,
    "socket errors": _socket_errors,
    "methods": _methods,
    "errors": _errors,
}


def with_tables(text: str) -> str:
    """The page with its tables made again.

    Raises:
        KeyError: a table has no place in it, or a place no table.
    """
    missing = TABLES.keys() - set(re.findall(r"<!-- generated: ([\w ]+) -->", text))
    if missing:
        raise KeyError(f"there is no place for {', '.join(sorted(missing))}")

    def made(found: re.Match[str]) -> str:
        return f"{found[1]}\n{TABLES[found[2]]()}\n{found[3]}"

    return re.sub(r"(<!-- generated: ([\w ]+) -->)\n.*?(<!-- end -->)", made, text, flags=re.DOTALL)
