"""The OpenAPI 3.1 document of an edge: the RPC, the streams over HTTP, pictures, exports, health."""

from __future__ import annotations

import hashlib
import inspect
import re
from typing import Any, Final

import msgspec

from broker.contract import answers, messages
from broker.contract.rpc import EVERY_CALL, EVERY_POST, METHODS, Described
from broker.contract.snapshot import Snapshot
from broker.version import VERSION
from contract.documents import viewer_event
from contract.errors import REFS, problems
from contract.places import places
from contract.streams import stream_paths
from contract.types import Schema, doc_of, plain, schemas
from ws_edge.api.app import Door, routes
from ws_edge.api.calls import Method, Params, RunParams
from ws_edge.api.methods import METHODS as IN_CODE
from ws_edge.api.static import Static
from ws_edge.config import EdgeConfig

_ABOUT: Final = (
    "What an edge of testcast serves over HTTP. The messages on its WebSocket and what crosses the broker are in the "
    "AsyncAPI document. Times are in ms since 1970. Readers ignore fields that they do not know."
)


def _answer(name: str, described: Described) -> dict[str, Schema]:
    headers: dict[str, Schema] = {"Cache-Control": {"schema": {"type": "string"}}}
    if described.etag:
        headers["ETag"] = {"schema": {"type": "string"}, "description": "Absent while the answer may be out of date."}
    if described.answer is None:
        picture = {"image/jpeg": {"schema": {"type": "string", "format": "binary"}}}
        return {
            "200": {"description": "The newest picture.", "headers": headers, "content": picture},
            "204": {"description": "There is none."},
        }
    ref = {"$ref": f"{REFS}{described.answer.__name__}"}
    says = plain(inspect.getdoc(described.answer) or name)
    return {"200": {"description": says, "headers": headers, "content": {"application/json": {"schema": ref}}}}


def _errors(method: Method, described: Described, *, post: bool) -> list[str]:
    codes = [*EVERY_CALL, *described.errors]
    if post:
        codes += EVERY_POST
    if issubclass(method.params, RunParams):
        codes.append("invalid_test_id")
    if method.action is None and not issubclass(method.params, RunParams):
        codes = [each for each in codes if each not in ("not_found",)]
    return codes


def _operation(name: str, method: Method, described: Described, *, post: bool) -> Schema:
    operation: Schema = {
        "operationId": f"{name}" if post else f"{name}ByGet",
        "tags": ["Runs" if issubclass(method.params, RunParams) else "RPC"],
        "summary": plain(inspect.getdoc(method.call) or name),
    }
    if described.says:
        operation["description"] = described.says
    if method.action is None:
        operation["security"] = [{}]
    else:
        operation["x-action"] = method.action.value
    if post:
        ref = {"$ref": f"{REFS}{_params_name(method.params)}"}
        needed = any(each.required for each in msgspec.structs.fields(method.params))
        operation["requestBody"] = {"required": needed, "content": {"application/json": {"schema": ref}}}
        operation["x-max-body-bytes"] = method.max_body_bytes
    else:
        operation["parameters"] = _query(method.params)
        if described.etag:
            operation["parameters"].append(_IF_NONE_MATCH)
    operation["responses"] = _answer(name, described) | problems(_errors(method, described, post=post))
    if described.etag and not post:
        operation["responses"]["304"] = {"description": "The same as the answer that `If-None-Match` names."}
    operation["responses"] = dict(sorted(operation["responses"].items()))
    return operation


_IF_NONE_MATCH: Final[Schema] = {
    "name": "If-None-Match",
    "in": "header",
    "required": False,
    "schema": {"type": "string"},
    "description": "`ETag` of an earlier answer.",
}


def _params_name(kind: type[Params]) -> str:
    return kind.__name__ if kind.__name__.endswith("Params") else f"{kind.__name__}Params"


def _query(kind: type[Params]) -> list[Schema]:
    made = schemas([kind], REFS, nulls=True)[kind.__name__]["properties"]
    found: list[Schema] = []
    for each in msgspec.structs.fields(kind):
        schema = dict(made[each.encode_name])
        said = schema.pop("description", doc_of(kind, each.name))
        listed = {"style": "form", "explode": True} if each.encode_name in kind.lists else {}
        parameter: Schema = {"name": each.encode_name, "in": "query", "required": each.required, "schema": schema}
        found.append(parameter | listed | ({"description": said} if said else {}))
    return found


def _components() -> dict[str, Schema]:
    kinds = [each.answer for each in METHODS.values() if each.answer is not None]
    kinds += [Snapshot, answers.EventPage, answers.Problem, answers.Alive, answers.Readiness, *messages.CONTROLS]
    made = schemas(kinds, REFS) | viewer_event(REFS)
    for method in IN_CODE.values():
        given = schemas([method.params], REFS, nulls=True)
        schema = given.pop(method.params.__name__)
        schema["title"] = _params_name(method.params)
        made |= given | {_params_name(method.params): schema}
    return dict(sorted(made.items()))


def openapi() -> Schema:
    """The document."""
    paths: dict[str, Any] = {}
    for name, described in METHODS.items():
        method = IN_CODE[name]
        path = paths[f"/rpc/{name}"] = {"post": _operation(name, method, described, post=True)}
        if method.reads:
            path["get"] = _operation(name, method, described, post=False)
    served = {re.sub(r"\{(\w+)(?::path)?\}", "{}", door.path) for door in routes_of_an_edge()}
    others = stream_paths() | places()
    paths |= {path: each for path, each in others.items() if as_route(path) in served}
    document = {
        "openapi": "3.1.1",
        "info": {
            "title": "testcast edge",
            "version": VERSION,
            "description": _ABOUT,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "./", "description": "The edge that serves this document."}],
        "security": [{}, {"token": []}, {"session": []}],
        "tags": [
            {"name": "RPC", "description": "Methods about the whole installation."},
            {"name": "Runs", "description": "Methods about one run."},
            {"name": "Streams", "description": "Events over plain HTTP."},
            {"name": "Files", "description": "Pictures, exports and badges."},
            {"name": "Health", "description": "For load balancers and supervisors."},
        ],
        "paths": paths,
        "components": {"schemas": _components(), "responses": {}, "securitySchemes": _SCHEMES},
    }
    _share_responses(document)
    return document


def as_route(path: str) -> str:
    """A path of the document as the application has it, without the names of its parts."""
    return re.sub(r"\{\w+\}", "{}", path).removesuffix(".svg")


def routes_of_an_edge() -> list[Door]:
    """The routes of an edge with default settings."""
    config = EdgeConfig()
    return routes(config, Static(config))


def _share_responses(document: Schema) -> None:
    """Errors that several operations answer with stand once, under the components."""
    shared = document["components"]["responses"]
    for path in document["paths"].values():
        for operation in path.values():
            for status, response in operation["responses"].items():
                if int(status) >= 400:
                    name = f"Status{status}_{hashlib.blake2b(repr(response).encode(), digest_size=3).hexdigest()}"
                    shared[name] = response
                    operation["responses"][status] = {"$ref": f"#/components/responses/{name}"}
    document["components"]["responses"] = dict(sorted(shared.items()))


_SCHEMES: Final[Schema] = {
    "token": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "JWT",
        "description": "Where the edge has access control. Without it everybody may do everything.",
    },
    "session": {
        "type": "apiKey",
        "in": "cookie",
        "name": "__Host-testcast",
        "description": "The cookie of `signIn`; it counts on pages of this edge only.",
    },
}
