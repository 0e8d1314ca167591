"""What a client may say on a socket and in its address, and the action that each verb asks for."""

from __future__ import annotations

from typing import Any, get_args

import orjson
import pytest

from broker.contract.errors import BadInput
from broker.contract.position import Position
from tests.harness import NO_SUCH_TEST as ID
from ws_edge.access import Action
from ws_edge.transport.requests import VERBS, ClientRequest, Verb, parse_message, parse_query


def test_every_verb_names_its_action() -> None:
    assert set(VERBS) == set(get_args(Verb))
    assert VERBS == {
        "subscribe": Action.WATCH,
        "unsubscribe": Action.WATCH,
        "cancel": Action.CANCEL,
        "subscribe tests": Action.LIST,
        "unsubscribe tests": Action.LIST,
        "subscribe frames": Action.WATCH,
        "unsubscribe frames": Action.WATCH,
        "authenticate": None,
    }


@pytest.mark.parametrize(
    ("message", "request_"),
    [
        ({"type": "subscribe", "testId": ID}, ClientRequest("subscribe", ID, None)),
        ({"type": "subscribe", "testId": ID, "after": 0}, ClientRequest("subscribe", ID, Position(None, 0))),
        (
            {"type": "subscribe", "testId": ID, "after": 7, "epoch": "e"},
            ClientRequest("subscribe", ID, Position("e", 7)),
        ),
        ({"type": "unsubscribe", "testId": ID, "after": "x"}, ClientRequest("unsubscribe", ID, None)),
        ({"type": "cancel", "testId": ID}, ClientRequest("cancel", ID, None)),
        ({"type": "subscribe", "channel": "tests"}, ClientRequest("subscribe tests", None, None)),
        ({"type": "unsubscribe", "channel": "tests"}, ClientRequest("unsubscribe tests", None, None)),
        ({"type": "subscribe", "channel": "frames", "testId": ID}, ClientRequest("subscribe frames", ID, None)),
        ({"type": "unsubscribe", "channel": "frames", "testId": ID}, ClientRequest("unsubscribe frames", ID, None)),
        ({"type": "cancel", "channel": "frames", "testId": ID}, ClientRequest("cancel", ID, None)),
    ],
)
def test_a_message(message: dict[str, Any], request_: ClientRequest) -> None:
    assert parse_message(orjson.dumps(message)) == request_


@pytest.mark.parametrize(
    ("message", "code", "says"),
    [
        (b"{", "malformed_message", "not JSON"),
        (b"[]", "malformed_message", "JSON object"),
        (b"{}", "unknown_type", "NoneType"),
        (b'{"type":["subscribe"]}', "unknown_type", "list"),
        (b'{"type":"publish"}', "unknown_type", "'publish'"),
        (b'{"type":"subscribe","channel":"runs"}', "malformed_message", "'runs'"),
        (b'{"type":"subscribe"}', "invalid_test_id", "NoneType"),
        (b'{"type":"subscribe","channel":"frames"}', "invalid_test_id", "NoneType"),
        (b'{"type":"subscribe","testId":"X"}', "invalid_test_id", "'X'"),
        (b'{"type":"cancel","channel":"tests"}', "invalid_test_id", "NoneType"),
        (b'{"type":"subscribe","testId":"%b","after":-1}' % ID.encode(), "malformed_message", "after"),
        (b'{"type":"subscribe","testId":"%b","after":true}' % ID.encode(), "malformed_message", "after"),
        (b'{"type":"subscribe","testId":"%b","after":9007199254740992}' % ID.encode(), "malformed_message", "after"),
        (b'{"type":"subscribe","testId":"%b","after":1.5}' % ID.encode(), "malformed_message", "after"),
        (b'{"type":"subscribe","testId":"%b","after":1,"epoch":1}' % ID.encode(), "malformed_message", "epoch"),
    ],
)
def test_a_wrong_message(message: bytes, code: str, says: str) -> None:
    with pytest.raises(BadInput) as refused:
        parse_message(message)
    assert refused.value.code == code and says in refused.value.message


def test_an_address() -> None:
    other = ID.replace("4", "5", 1)
    query = [("testId", ID), ("after", "7"), ("x", "y"), ("testId", other), ("epoch", "e")]
    assert parse_query(query) == ([ID, other], Position("e", 7))
    assert parse_query([]) == ([], None)
    assert parse_query([("testId", ID), ("epoch", "e")]) == ([ID], None)


@pytest.mark.parametrize(
    "query",
    [
        [("testId", "nonsense")],
        [("testId", ID), ("testId", "")],
        [("after", "7"), ("after", "8")],
        [("after", "²")],
        [("after", "-1")],
        [("after", "9" * 17)],
        [("after", str(2**53))],
        [("after", "7"), ("epoch", "e" * 65)],
    ],
)
def test_a_wrong_address(query: list[tuple[str, str]]) -> None:
    with pytest.raises(BadInput):
        parse_query(query)
