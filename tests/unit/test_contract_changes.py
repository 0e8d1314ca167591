"""What breaks the contract is found, on examples that do; and this version breaks nothing of the last released."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from contract.changes import Change, compare, unnamed
from schemas import documents_in, last_release

ROOT: Final = Path(__file__).resolve().parents[2]
Documents = dict[str, Any]


def test_nothing_of_the_last_released_contract_breaks_unsaid() -> None:
    changes = compare(documents_in(last_release()), documents_in(ROOT / "broker" / "schemas"))
    unsaid = unnamed(changes, (ROOT / "CHANGELOG.md").read_text("utf-8"))
    told = "\n".join(map(str, unsaid))
    assert not unsaid, f"name these in CHANGELOG.md, with their places in backquotes, or do not break them:\n{told}"


def test_a_contract_is_the_same_as_itself() -> None:
    assert compare(documents_in(last_release()), documents_in(last_release())) == []


def _event(new: Documents) -> Any:
    return new["event.schema.json"]["$defs"]["KnownEvent"]


def _shape(new: Documents, name: str) -> Any:
    return new["openapi.json"]["components"]["schemas"][name]


def _get(new: Documents, path: str) -> Any:
    return new["openapi.json"]["paths"][path]["get"]


def _params(new: Documents, method: str) -> Any:
    return {each["name"]: each for each in _get(new, f"/rpc/{method}")["parameters"]}


def _streams(new: Documents) -> Any:
    return {each["name"]: each for each in new["asyncapi.json"]["x-jetstream"]["streams"]}


Act = Callable[[Documents], object]
BREAKING: Final[tuple[tuple[str, str, Act], ...]] = (
    ("a field of an answer is gone", "test.title", lambda new: _shape(new, "Snapshot")["properties"].pop("title")),
    ("a field may be absent", "test.title", lambda new: _shape(new, "Snapshot")["required"].remove("title")),
    (
        "a field has another type",
        "counts.queued",
        lambda new: _shape(new, "Counts")["properties"]["queued"].update(type="string"),
    ),
    (
        "an answer has another value",
        "test.status",
        lambda new: _shape(new, "Snapshot")["properties"]["status"]["enum"].append("lost"),
    ),
    ("a method is gone", "POST /rpc/pinTest", lambda new: new["openapi.json"]["paths"].pop("/rpc/pinTest")),
    ("GET is gone", "GET /rpc/getTest", lambda new: new["openapi.json"]["paths"]["/rpc/getTest"].pop("get")),
    ("an answer is gone", "GET /rpc/getShot 204", lambda new: _get(new, "/rpc/getShot")["responses"].pop("204")),
    (
        "the ETag is gone",
        "GET /rpc/getTest 200 ETag",
        lambda new: _get(new, "/rpc/getTest")["responses"]["200"]["headers"].pop("ETag"),
    ),
    (
        "a parameter is gone",
        "GET /rpc/listTests ?query",
        lambda new: _get(new, "/rpc/listTests")["parameters"].remove(_params(new, "listTests")["query"]),
    ),
    (
        "a parameter is needed",
        "GET /rpc/listTests ?query",
        lambda new: _params(new, "listTests")["query"].update(required=True),
    ),
    (
        "fewer are given",
        "GET /rpc/listTests ?limit",
        lambda new: _params(new, "listTests")["limit"]["schema"].update(maximum=100),
    ),
    (
        "a new field is needed",
        "POST /rpc/submitTest body.who",
        lambda new: (
            _shape(new, "SubmitTestParams")["properties"].update(who={"type": "string"}),
            _shape(new, "SubmitTestParams")["required"].append("who"),
        ),
    ),
    (
        "a field that was taken is refused",
        "POST /rpc/submitTest body.seed",
        lambda new: _shape(new, "SubmitTestParams")["properties"].pop("seed"),
    ),
    (
        "another right is needed",
        "GET /rpc/getTest",
        lambda new: _get(new, "/rpc/getTest").update({"x-action": "admin"}),
    ),
    ("a field of an event is needed", "event.phase", lambda new: _event(new)["required"].append("phase")),
    (
        "fewer events are taken",
        "event.status",
        lambda new: _event(new)["properties"]["status"]["anyOf"][0]["enum"].remove("failed"),
    ),
    (
        "a control message is gone",
        "control/Goodbye",
        lambda new: new["control.schema.json"]["oneOf"].remove({"$ref": "#/$defs/Goodbye"}),
    ),
    (
        "a verb is gone",
        "client-message/Cancel",
        lambda new: new["client-message.schema.json"]["oneOf"].remove({"$ref": "#/$defs/Cancel"}),
    ),
    (
        "a field of a control message is gone",
        "control/Sync.head",
        lambda new: new["control.schema.json"]["$defs"]["Sync"]["properties"].pop("head"),
    ),
    ("a subject is gone", "channel live", lambda new: new["asyncapi.json"]["channels"].pop("live")),
    (
        "another subject",
        "channel alive",
        lambda new: new["asyncapi.json"]["channels"]["alive"].update(address="test.{testId}.pulse"),
    ),
    (
        "a stream is stored elsewhere",
        "stream EVENTS subjects",
        lambda new: _streams(new)["EVENTS"].update(subjects=["x"]),
    ),
    ("less is stored", "stream EVENTS max_msg_size", lambda new: _streams(new)["EVENTS"].update(max_msg_size=1024)),
    (
        "a consumer is gone",
        "consumer workers",
        lambda new: new["asyncapi.json"]["x-jetstream"]["consumers"].pop(),
    ),
    (
        "agents may not any more",
        "role agent publish test.*.events",
        lambda new: new["asyncapi.json"]["x-roles"]["agent"]["publish"].remove("test.*.events"),
    ),
)


@pytest.mark.parametrize(("place", "act"), [each[1:] for each in BREAKING], ids=[each[0] for each in BREAKING])
def test_what_breaks_programs_is_found(place: str, act: Act) -> None:
    old = documents_in(last_release())
    new = copy.deepcopy(old)
    act(new)
    broken = [each for each in compare(old, new) if each.breaks]
    assert any(each.where.endswith(place) for each in broken), broken
    assert unnamed(broken, "") == broken


COMPATIBLE: Final[tuple[tuple[str, str, Act], ...]] = (
    (
        "a field is new",
        "test.shiny",
        lambda new: _shape(new, "Snapshot")["properties"].update(shiny={"type": "string"}),
    ),
    (
        "a parameter is new",
        "GET /rpc/listTests ?shiny",
        lambda new: _get(new, "/rpc/listTests")["parameters"].append(
            {"name": "shiny", "in": "query", "required": False, "schema": {"type": "string"}}
        ),
    ),
    (
        "a method is new",
        "POST /rpc/shine",
        lambda new: new["openapi.json"]["paths"].update({"/rpc/shine": new["openapi.json"]["paths"]["/rpc/pinTest"]}),
    ),
    (
        "more are given",
        "GET /rpc/listTests ?limit",
        lambda new: _params(new, "listTests")["limit"]["schema"].update(maximum=500),
    ),
    (
        "a control message is new",
        "control/Shiny",
        lambda new: (
            new["control.schema.json"]["oneOf"].append({"$ref": "#/$defs/Shiny"}),
            new["control.schema.json"]["$defs"].update(Shiny={"type": "object"}),
        ),
    ),
    (
        "more is stored",
        "stream EVENTS max_msgs_per_subject",
        lambda new: _streams(new)["EVENTS"].update(max_msgs_per_subject=30_000),
    ),
    (
        "events may have another status",
        "event.status",
        lambda new: _event(new)["properties"]["status"]["anyOf"][0]["enum"].append("lost"),
    ),
)


@pytest.mark.parametrize(("place", "act"), [each[1:] for each in COMPATIBLE], ids=[each[0] for each in COMPATIBLE])
def test_what_breaks_nothing_is_told_and_passes(place: str, act: Act) -> None:
    old = documents_in(last_release())
    new = copy.deepcopy(old)
    act(new)
    found = compare(old, new)
    assert [each for each in found if each.breaks] == []
    assert any(each.where.endswith(place) for each in found), found


def test_a_break_that_the_changelog_names_passes() -> None:
    change = Change(True, "GET /rpc/getTest", "it is gone")
    assert unnamed([change], "* `GET /rpc/getTest` is gone: use POST") == []
    assert unnamed([change], "GET /rpc/getTest is gone") == [change]
    assert str(change) == "breaking: GET /rpc/getTest: it is gone"
