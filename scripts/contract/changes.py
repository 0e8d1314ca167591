"""What has changed between two versions of the contract, and which of it breaks a program that was written for the old.

Pure. What an edge takes may become wider and not narrower; what it gives may become narrower and not wider. Readers
ignore fields, and types of messages, that they do not know (PROTOCOL.md), so that both may be added to what is given.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, Literal, NamedTuple

from contract.types import Schema

Side = Literal["given", "taken"]
"""Of a value: an edge gives it to its clients, or takes it from them."""
Documents = Mapping[str, Schema]
"""By the names of their files."""

_LEAST: Final = ("minimum", "exclusiveMinimum", "minLength", "minItems")
_MOST: Final = ("maximum", "exclusiveMaximum", "maxLength", "maxItems")
_SIDES: Final[Mapping[str, Side]] = {
    "event.schema.json": "taken",
    "viewer-event.schema.json": "given",
    "snapshot.schema.json": "given",
    "control.schema.json": "given",
    "client-message.schema.json": "taken",
    "job.schema.json": "given",
}
_MAX_DEPTH: Final = 12


class Change(NamedTuple):
    """One difference."""

    breaks: bool
    where: str
    """Names it: what the changelog has to say of one that breaks something."""
    what: str

    def __str__(self) -> str:
        return f"{'breaking' if self.breaks else 'compatible'}: {self.where}: {self.what}"


def compare(old: Documents, new: Documents) -> list[Change]:
    """Returns every change between two contracts, those that break something first."""
    found: list[Change] = []
    for name, side in _SIDES.items():
        if name in old and name in new:
            pair = _Pair(old[name], new[name], side)
            found += pair.schemas(old[name], new[name], name.removesuffix(".schema.json"))
        elif name in old:
            found.append(Change(True, name, "it is gone"))
    if "openapi.json" in old:
        found += _openapi(old["openapi.json"], new.get("openapi.json", {"paths": {}}))
    if "asyncapi.json" in old:
        found += _asyncapi(old["asyncapi.json"], new.get("asyncapi.json", {}))
    return sorted(dict.fromkeys(found), key=lambda each: (not each.breaks, each.where))


def unnamed(changes: list[Change], changelog: str) -> list[Change]:
    """Returns those that break something and that the changelog does not name, in backquotes."""
    return [each for each in changes if each.breaks and f"`{each.where}`" not in changelog]


class _Pair:
    """Two documents whose schemas are compared."""

    def __init__(self, old: Schema, new: Schema, side: Side) -> None:
        self._old, self._new, self._side = old, new, side

    def schemas(self, old: Any, new: Any, where: str, depth: int = 0) -> Iterator[Change]:
        """What has changed in a schema."""
        old, new = _resolved(self._old, old), _resolved(self._new, new)
        if depth > _MAX_DEPTH or (old == new and not _refers(old)):
            return
        yield from self._values(old, new, where)
        yield from self._fields(old, new, where, depth)
        yield from self._choices(old, new, where, depth)
        for part in ("items", "additionalProperties", "then", "propertyNames"):
            if isinstance(old.get(part), dict) and isinstance(new.get(part), dict):
                yield from self.schemas(old[part], new[part], f"{where}[]" if part == "items" else where, depth + 1)

    def _values(self, old: Schema, new: Schema, where: str) -> Iterator[Change]:
        """Which values there may be."""
        before, after = _kinds(old), _kinds(new)
        gone, come = before - after, after - before
        if before and after and (gone or come):
            breaks = bool(gone) if self._side == "taken" else bool(come)
            yield Change(breaks, where, f"from {_listed(before)} to {_listed(after)}")
        elif bool(before) != bool(after):
            breaks = bool(after) if self._side == "taken" else bool(before)
            yield Change(breaks, where, f"from {_listed(before) or 'anything'} to {_listed(after) or 'anything'}")
        for name in (*_LEAST, *_MOST, "pattern"):
            if old.get(name) != new.get(name):
                yield Change(self._side == "taken" and _is_tighter(name, old, new), where, f"another {name}")

    def _fields(self, old: Schema, new: Schema, where: str, depth: int) -> Iterator[Change]:
        before, after = old.get("properties", {}), new.get("properties", {})
        needed_before, needed_after = set(old.get("required", ())), set(new.get("required", ()))
        closed = new.get("additionalProperties") is False
        for name in before.keys() | after.keys():
            place = f"{where}.{name}"
            if name not in after:
                yield Change(self._side == "given" or closed, place, "the field is gone")
            elif name not in before:
                yield Change(self._side == "taken" and name in needed_after, place, "a new field")
            else:
                yield from self.schemas(before[name], after[name], place, depth + 1)
                if (name in needed_before) != (name in needed_after):
                    now = "always there" if name in needed_after else "not always there"
                    yield Change((name in needed_after) == (self._side == "taken"), place, f"it is {now}")
        if closed and old.get("additionalProperties") is not False and self._side == "taken":
            yield Change(True, where, "unknown fields are refused")

    def _choices(self, old: Schema, new: Schema, where: str, depth: int) -> Iterator[Change]:
        for key in ("oneOf", "anyOf"):
            before, after = _named(old.get(key, ())), _named(new.get(key, ()))
            for name in before.keys() | after.keys():
                place = f"{where}/{name}" if not name.startswith("=") else where
                if name not in after:
                    yield Change(self._side == "taken" or place != where, place, f"{name.lstrip('=')} is gone")
                elif name not in before:
                    told_apart = place != where or not before
                    yield Change(self._side == "given" and not told_apart, place, f"{name.lstrip('=')} is new")
                else:
                    yield from self.schemas(before[name], after[name], place, depth + 1)
        for before_part, after_part in zip(old.get("allOf", ()), new.get("allOf", ()), strict=False):
            yield from self.schemas(before_part, after_part, where, depth + 1)


def _resolved(document: Schema, schema: Any) -> Schema:
    found: Any = schema
    while "$ref" in found:
        target: Any = document
        for name in found["$ref"].removeprefix("#/").split("/"):
            target = target[name.replace("~1", "/")]
        found = target
    resolved: Schema = found
    return resolved


def _refers(schema: Any) -> bool:
    """Whether something below is named: then equal texts may mean different things."""
    if isinstance(schema, dict):
        return "$ref" in schema or any(map(_refers, schema.values()))
    return isinstance(schema, list) and any(map(_refers, schema))


def _kinds(schema: Schema) -> set[str]:
    """The types, or the values, that a schema names; empty: any."""
    if "const" in schema:
        return {repr(schema["const"])}
    if "enum" in schema:
        return {repr(each) for each in schema["enum"]}
    kind = schema.get("type")
    return set(kind) if isinstance(kind, list) else set() if kind is None else {kind}


def _listed(kinds: set[str]) -> str:
    return ", ".join(sorted(kinds))


def _named(choices: Any) -> dict[str, Schema]:
    """The choices by the names that they refer to; one without a name by its type, after an equals sign."""
    return {each["$ref"].rsplit("/", 1)[-1] if "$ref" in each else f"={_type(each)}": each for each in choices}


def _type(schema: Schema) -> str:
    values = schema.get("enum", [schema["const"]] if "const" in schema else [])
    return str(schema.get("type", type(values[0]).__name__ if values else "any"))


def _is_tighter(name: str, old: Schema, new: Schema) -> bool:
    before, after = old.get(name), new.get(name)
    if after is None:
        return False
    if before is None or name == "pattern":
        return True
    return bool(after > before) if name in _LEAST else bool(after < before)


# -- OpenAPI ----------------------------------------------------------------------------------------------------------


def _openapi(old: Schema, new: Schema) -> Iterator[Change]:
    for path in old["paths"].keys() | new["paths"].keys():
        before, after = old["paths"].get(path, {}), new["paths"].get(path, {})
        for verb in before.keys() | after.keys():
            where = f"{verb.upper()} {path}"
            if verb not in after:
                yield Change(True, where, "it is gone")
            elif verb not in before:
                yield Change(False, where, "it is new")
            else:
                yield from _operation(old, new, before[verb], after[verb], where)


def _operation(old: Schema, new: Schema, before: Schema, after: Schema, where: str) -> Iterator[Change]:
    if before.get("x-action") != after.get("x-action"):
        yield Change(after.get("x-action") is not None, where, f"it asks for {after.get('x-action')}")
    if before.get("x-max-body-bytes", 0) != after.get("x-max-body-bytes", 0):
        smaller = after.get("x-max-body-bytes", 0) < before.get("x-max-body-bytes", 0)
        yield Change(smaller, f"{where} body", "another limit")
    yield from _parameters(old, new, before, after, where)
    yield from _bodies(old, new, before.get("requestBody"), after.get("requestBody"), where)
    for status in before["responses"].keys() | after["responses"].keys():
        place = f"{where} {status}"
        if status not in after["responses"]:
            yield Change(status < "400", place, "the answer is gone")
        elif status not in before["responses"]:
            yield Change(False, place, "an answer that is new")
        elif status < "400":
            answers = _resolved(old, before["responses"][status]), _resolved(new, after["responses"][status])
            yield from _answers(old, new, *answers, place)


def _parameters(old: Schema, new: Schema, before: Schema, after: Schema, where: str) -> Iterator[Change]:
    was = {(each["in"], each["name"]): each for each in before.get("parameters", ())}
    now = {(each["in"], each["name"]): each for each in after.get("parameters", ())}
    for key in was.keys() | now.keys():
        place = f"{where} ?{key[1]}"
        if key not in now:
            yield Change(True, place, "the parameter is gone")
        elif key not in was:
            yield Change(now[key]["required"], place, "a new parameter")
        else:
            if now[key]["required"] != was[key]["required"]:
                yield Change(now[key]["required"], place, "another necessity")
            yield from _Pair(old, new, "taken").schemas(was[key]["schema"], now[key]["schema"], place)


def _bodies(old: Schema, new: Schema, before: Schema | None, after: Schema | None, where: str) -> Iterator[Change]:
    if before is None or after is None:
        if before != after:
            yield Change(after is None or after["required"], f"{where} body", "it is new" if after else "it is gone")
        return
    if after["required"] and not before["required"]:
        yield Change(True, f"{where} body", "it is needed")
    pair = _Pair(old, new, "taken")
    yield from _contents(pair, before["content"], after["content"], f"{where} body")


def _answers(old: Schema, new: Schema, before: Schema, after: Schema, where: str) -> Iterator[Change]:
    for name in before.get("headers", {}).keys() - after.get("headers", {}).keys():
        yield Change(True, f"{where} {name}", "the header is gone")
    yield from _contents(_Pair(old, new, "given"), before.get("content", {}), after.get("content", {}), where)


def _contents(pair: _Pair, before: Schema, after: Schema, where: str) -> Iterator[Change]:
    for kind in before.keys() | after.keys():
        if kind not in after:
            yield Change(True, f"{where} {kind}", "it is gone")
        elif kind in before:
            yield from pair.schemas(before[kind]["schema"], after[kind]["schema"], where)
            for extra in ("x-data",):
                if extra in before[kind] and extra in after[kind]:
                    yield from pair.schemas(before[kind][extra], after[kind][extra], where)


# -- AsyncAPI ---------------------------------------------------------------------------------------------------------


def _asyncapi(old: Schema, new: Schema) -> Iterator[Change]:
    channels = new.get("channels", {})
    for name, before in old["channels"].items():
        after = channels.get(name)
        if after is None:
            yield Change(True, f"channel {name}", "it is gone")
            continue
        for part in ("address", "x-stream", "x-republish"):
            if before.get(part) != after.get(part):
                yield Change(True, f"channel {name}", f"another {part}")
        for message in before["messages"].keys() - after["messages"].keys():
            yield Change(True, f"channel {name} {message}", "the message is gone")
        for message in after["messages"].keys() - before["messages"].keys():
            yield Change(False, f"channel {name} {message}", "a new message")
    for name in channels.keys() - old["channels"].keys():
        yield Change(False, f"channel {name}", "it is new")
    told, tells = old["x-jetstream"], new.get("x-jetstream", {})
    for kind, key in (("streams", "name"), ("buckets", "name"), ("consumers", "durable_name")):
        standing = {each[key]: each for each in tells.get(kind, ())}
        for config in told[kind]:
            yield from _config(config, standing.get(config[key]), f"{kind[:-1]} {config[key]}")
    for role, rights in old["x-roles"].items():
        for side in ("publish", "subscribe"):
            for subject in set(rights[side]) - set(new.get("x-roles", {}).get(role, {}).get(side, ())):
                yield Change(role in ("agent", "reader"), f"role {role} {side} {subject}", "it may not any more")


_BREAKS: Final = ("subjects", "retention", "republish", "allow_direct", "ack_policy", "headers_only", "stream")


def _config(before: Schema, after: Schema | None, where: str) -> Iterator[Change]:
    if after is None:
        yield Change(True, where, "it is gone")
        return
    for name in before.keys() | after.keys():
        old, new = before.get(name), after.get(name)
        if old != new:
            smaller = name in ("max_msg_size", "max_msgs_per_subject") and 0 < (new or 0) < (old or 0)
            yield Change(name in _BREAKS or smaller, f"{where} {name}", f"from {old} to {new}")
