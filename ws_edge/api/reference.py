"""`/openapi.json`, and `/api`: the same document as a page, made here, with nothing from outside and no script.

The document is generated (`scripts/schemas.py`) and lies in broker/schemas/, so that an edge serves what was tested.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from html import escape
from pathlib import Path
from typing import Any, Final

import orjson

import broker

DOCUMENT: Final = Path(broker.__file__).parent / "schemas" / "openapi.json"
_CODE: Final = re.compile(r"`([^`]+)`")
_LINK: Final = re.compile(r"\[([^\]]+)\]\([^)]*\)")
_HEAD: Final = """<!doctype html>
<html lang="en">
  <head>
    <meta charset="utf-8" />
    <meta name="viewport" content="width=device-width, initial-scale=1" />
    <meta name="color-scheme" content="light dark" />
    <title>API of testcast</title>
    <link rel="icon" href="/favicon.svg" type="image/svg+xml" />
    <link rel="stylesheet" href="/style.css" />
    <link rel="stylesheet" href="/view/api.css" />
  </head>
  <body>
    <header class="bar">
      <a class="brand" href="/"><img src="/favicon.svg" alt="" width="20" height="20" />testcast</a>
    </header>
    <main class="api">
"""
_FOOT: Final = """    </main>
  </body>
</html>
"""

Node = Mapping[str, Any]


@cache
def document() -> bytes:
    """The OpenAPI document as it is served: without what makes its file readable."""
    return orjson.dumps(orjson.loads(DOCUMENT.read_bytes()))


@cache
def page() -> bytes:
    """The page. Its addresses begin with a slash, which stands for the edge's root."""
    return rendered(orjson.loads(DOCUMENT.read_bytes())).encode()


def rendered(openapi: Node) -> str:
    """An OpenAPI document as a page. Pure."""
    pieces = [_HEAD, '<div class="api-text">', *_top(openapi), "</div>", *_contents(openapi), '<div class="api-text">']
    for tag in openapi["tags"]:
        operations = list(_operations(openapi, tag["name"]))
        if operations:
            pieces += [f'<h2 id="{_slug(tag["name"])}">{escape(tag["name"])}</h2><p>{_text(tag["description"])}</p>']
            pieces += [piece for verb, path, each in operations for piece in _operation(openapi, verb, path, each)]
    pieces.append('<h2 id="shapes">Shapes</h2>')
    for name, schema in openapi["components"]["schemas"].items():
        pieces += _shape(name, schema)
    return "\n".join([*pieces, "</div>", _FOOT])


def _top(openapi: Node) -> list[str]:
    info = openapi["info"]
    schemes = openapi["components"]["securitySchemes"].values()
    ways = "".join(f"<li>{_text(_way(each))}</li>" for each in schemes)
    return [
        f"<h1>API of testcast {escape(info['version'])}</h1>",
        f"<p>{_text(info['description'])}</p>",
        '<p>For programs: <a class="link" href="/openapi.json">openapi.json</a> (OpenAPI 3.1).</p>',
        f'<p>Who asks says so with one of these:</p><ul class="api-list">{ways}</ul>',
    ]


def _way(scheme: Node) -> str:
    how = "`Authorization: Bearer <token>`" if scheme["type"] == "http" else f"the cookie `{scheme['name']}`"
    return f"{how}. {scheme['description']}"


def _contents(openapi: Node) -> Iterator[str]:
    yield '<nav class="api-contents" aria-label="Contents">'
    for tag in openapi["tags"]:
        entries = [(verb, path, each) for verb, path, each in _operations(openapi, tag["name"]) if not _twin(each)]
        if entries:
            links = "".join(
                f'<li><a href="#{_slug(each["operationId"])}">{escape(_short(path))}</a></li>'
                for _verb, path, each in entries
            )
            yield f'<a href="#{_slug(tag["name"])}"><b>{escape(tag["name"])}</b></a><ul>{links}</ul>'
    yield '<a href="#shapes"><b>Shapes</b></a></nav>'


def _short(path: str) -> str:
    return path.removeprefix("/rpc/")


def _twin(operation: Node) -> bool:
    """It is what a POST does too, and stands with it."""
    return str(operation["operationId"]).endswith("ByGet")


def _operations(openapi: Node, tag: str) -> Iterator[tuple[str, str, Node]]:
    for path, verbs in openapi["paths"].items():
        for verb, operation in verbs.items():
            if tag in operation["tags"]:
                yield verb.upper(), path, operation


def _operation(openapi: Node, verb: str, path: str, operation: Node) -> list[str]:
    if _twin(operation):
        return []
    twin = openapi["paths"][path].get("get")
    verbs = "GET, POST" if twin is not None and _twin(twin) else verb
    body = operation.get("requestBody")
    pieces = [
        f'<section id="{_slug(operation["operationId"])}">',
        f'<h3><span class="api-verb">{verbs}</span> <code>{escape(path)}</code></h3>',
        f"<p>{_text(operation['summary'])}</p>",
    ]
    if "description" in operation:
        pieces.append(f'<p class="api-more">{_text(_sentence(operation["description"]))}</p>')
    asks = operation.get("x-action")
    pieces.append(f"<p>Needs the right <code>{escape(asks)}</code>.</p>" if asks else "<p>Anybody may ask.</p>")
    if body is not None:
        schema = _resolved(openapi, body["content"]["application/json"]["schema"])
        pieces += _fields(schema, "Parameters")
    else:
        pieces += _parameters(operation.get("parameters", ()))
    return [*pieces, *_answers(openapi, operation, twin if "," in verbs else None), "</section>"]


def _parameters(parameters: Iterable[Node]) -> list[str]:
    rows = [
        (
            _code(each["name"]) + ("" if each["required"] else "?"),
            _kind(each["schema"]),
            _text(each.get("description", "")),
        )
        for each in parameters
    ]
    return _table("Parameters", rows)


def _answers(openapi: Node, operation: Node, twin: Node | None) -> list[str]:
    every = dict(operation["responses"]) | ({} if twin is None else {"304": twin["responses"].get("304")})
    rows: list[tuple[str, str, str]] = []
    for status, response in sorted(every.items()):
        if response is not None:
            found = _resolved(openapi, response)
            shapes = {_kind(each["schema"]) for each in found.get("content", {}).values()} if status < "400" else set()
            rows.append((_code(status), " or ".join(sorted(shapes)), _text(found["description"])))
    return _table("Answers", rows)


def _shape(name: str, schema: Node) -> list[str]:
    pieces = [f'<section id="shape-{_slug(name)}"><h3><code>{escape(name)}</code></h3>']
    if "description" in schema:
        pieces.append(f"<p>{_text(schema['description'])}</p>")
    properties = {**schema.get("properties", {}), **schema.get("then", {}).get("properties", {})}
    return [*pieces, *_fields({**schema, "properties": properties}, ""), "</section>"]


def _fields(schema: Node, heading: str) -> list[str]:
    required = set(schema.get("required", ())) | set(schema.get("then", {}).get("required", ()))
    rows = [
        (_code(name) + ("" if name in required else "?"), _kind(each), _text(each.get("description", "")))
        for name, each in schema.get("properties", {}).items()
    ]
    return _table(heading, rows)


def _table(heading: str, rows: list[tuple[str, str, str]]) -> list[str]:
    if not rows:
        return []
    body = "".join(f"<tr><td>{name}</td><td>{kind}</td><td>{text}</td></tr>" for name, kind, text in rows)
    title = f"<h4>{heading}</h4>" if heading else ""
    return [f'{title}<div class="api-wide"><table class="api-table"><tbody>{body}</tbody></table></div>']


def _kind(schema: Node) -> str:
    """What a value is, in few words."""
    if "$ref" in schema:
        name = schema["$ref"].rsplit("/", 1)[-1]
        return f'<a class="link" href="#shape-{_slug(name)}">{escape(name)}</a>'
    for several in ("anyOf", "oneOf", "allOf"):
        if several in schema:
            return (" and " if several == "allOf" else " or ").join(map(_kind, schema[several]))
    if "const" in schema:
        return _code(orjson.dumps(schema["const"]).decode())
    if "enum" in schema:
        return ", ".join(_code(orjson.dumps(each).decode()) for each in schema["enum"])
    kind = schema.get("type", "any")
    if kind == "array":
        inner = schema.get("prefixItems")
        return "list of " + (", ".join(map(_kind, inner)) if inner else _kind(schema.get("items") or {}))
    if kind == "object" and isinstance(schema.get("additionalProperties"), dict):
        return f"object of {_kind(schema['additionalProperties'])}"
    return escape(f"{kind}{_range(schema)}")


def _range(schema: Node) -> str:
    low, high = schema.get("minimum"), schema.get("maximum", schema.get("exclusiveMaximum"))
    most = schema.get("maxLength")
    if most is not None:
        return f", at most {most} characters"
    if high is None or high >= 2**53 - 1:
        return ""
    return f" {low or 0}\N{EN DASH}{high}" + (f" ({schema['default']})" if "default" in schema else "")


def _resolved(openapi: Node, node: Node) -> Node:
    if "$ref" not in node:
        return node
    found: Any = openapi
    for name in node["$ref"].removeprefix("#/").split("/"):
        found = found[name]
    resolved: Node = found
    return resolved


def _slug(name: str) -> str:
    return escape(name.replace(" ", "-"))


def _code(text: str) -> str:
    return f"<code>{escape(text)}</code>"


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}".removesuffix(".") + "."


def _text(text: str) -> str:
    """Plain text with `code`; links of the pages in docs/ lead nowhere here, and are their words."""
    return _CODE.sub(r"<code>\1</code>", escape(_LINK.sub(r"\1", text), quote=False))
