"""JSON Schema of message types, with the docstrings of their fields as descriptions."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterable, Mapping
from functools import cache
from types import ModuleType
from typing import Any, Final

import msgspec

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
Schema = dict[str, Any]


@cache
def _field_docs(module: ModuleType) -> Mapping[str, Mapping[str, str]]:
    """The docstrings of the attributes of each class in a module."""
    found: dict[str, dict[str, str]] = {}
    for node in ast.walk(ast.parse(inspect.getsource(module))):
        if isinstance(node, ast.ClassDef):
            docs = found.setdefault(node.name, {})
            for field, text in zip(node.body, node.body[1:], strict=False):
                says = isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant)
                if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and says:
                    docs[field.target.id] = plain(str(text.value.value))  # type: ignore[attr-defined]
    return found


def plain(docstring: str) -> str:
    """A docstring as one paragraph."""
    return re.sub(r"\s+", " ", inspect.cleandoc(docstring)).strip()


def doc_of(kind: type, field: str) -> str:
    """The docstring of a field, wherever among the bases it is declared; empty: it has none."""
    for base in kind.__mro__:
        module = inspect.getmodule(base)
        if module is not None and issubclass(base, msgspec.Struct) and base is not msgspec.Struct:
            said = _field_docs(module).get(base.__name__, {}).get(field)
            if said:
                return said
    return ""


def fields_of(kind: type[msgspec.Struct]) -> list[tuple[str, str, bool]]:
    """The fields as (name on the wire, docstring, whether it must be there)."""
    found = [(each.encode_name, doc_of(kind, each.name), each.required) for each in msgspec.structs.fields(kind)]
    tag = kind.__struct_config__.tag
    return found if tag is None else [(str(kind.__struct_config__.tag_field), "", True), *found]


def schemas(kinds: Iterable[type[msgspec.Struct]], refs: str = "#/$defs/", *, nulls: bool = False) -> dict[str, Schema]:
    """The schemas of these types and of what they are made of, by name.

    Args:
        refs: where they refer to each other.
        nulls: readers take null for a field that is not there. Writers leave it out.
    """
    wanted = list(kinds)
    _, made = msgspec.json.schema_components(wanted, ref_template=refs + "{name}")
    known = {each.__name__: each for each in _reached(wanted)}
    for name, schema in made.items():
        _describe(known.get(name), schema, nulls=nulls)
    return dict(sorted(made.items()))


def _reached(kinds: list[type[msgspec.Struct]]) -> set[type[msgspec.Struct]]:
    """The types, and those of their fields."""
    found: set[type[msgspec.Struct]] = set()

    def visit(node: Any) -> None:
        if isinstance(node, msgspec.inspect.StructType):
            if node.cls in found:
                return
            found.add(node.cls)
            for field in node.fields:
                visit(field.type)
        for name in ("types", "item_types"):
            for each in getattr(node, name, ()):
                visit(each)
        for name in ("item_type", "value_type", "type"):
            inner = getattr(node, name, None)
            if isinstance(inner, msgspec.inspect.Type):
                visit(inner)

    for each in msgspec.inspect.multi_type_info(kinds):
        visit(each)
    return found


def _describe(kind: type[msgspec.Struct] | None, schema: Schema, *, nulls: bool) -> None:
    if "description" in schema:
        schema["description"] = plain(schema["description"])
    required = set(schema.get("required", ()))
    names = {} if kind is None else {each.encode_name: each.name for each in msgspec.structs.fields(kind)}
    for name, each in schema.get("properties", {}).items():
        if each.get("default", ...) is None:
            del each["default"]
            if not nulls and name not in required:
                _without_null(each)
        _tidy(each)
        said = doc_of(kind, names[name]) if kind is not None and name in names else ""
        if said and "$ref" not in each:
            each["description"] = said
        elif said:
            schema["properties"][name] = {"$ref": each["$ref"], "description": said}


def _without_null(schema: Schema) -> None:
    choices = schema.get("anyOf")
    if choices is not None and {"type": "null"} in choices:
        choices.remove({"type": "null"})
        if len(choices) == 1:
            del schema["anyOf"]
            schema.update(choices[0])


def _tidy(schema: Schema) -> None:
    """`enum` of one is `const`. Generators stumble over booleans for schemas, and over lists that name no items."""
    if schema.get("items") is False:
        del schema["items"]  # `minItems` and `maxItems` say how long it is
    elif schema.get("type") == "array" and "prefixItems" not in schema:
        schema.setdefault("items", {})
    if isinstance(schema.get("items"), dict):
        _tidy(schema["items"])
    if len(schema.get("enum", ())) == 1:
        schema["const"] = schema.pop("enum")[0]
