"""Labels: what a submitter may say of a run, what a reader keeps, and what a filter asks for."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from agent_worker.publish.run import TestRun
from broker.contract.errors import BadInput
from broker.contract.events import Event
from broker.contract.labels import (
    MAX_LABELS,
    as_texts,
    check_labels,
    has_labels,
    labels_of,
    parse_label,
    parse_labels,
    parse_wanted,
)
from broker.contract.snapshot import fold
from broker.jetstream.runs import make_job

TEST_ID = "4f9c2d3e-8a51-4c0b-9d57-2f1f6f0a7b11"
REFUSED: dict[str, dict[str, str]] = {
    "a capital": {"Commit": "x"},
    "no name": {"": "x"},
    "a long name": {"a" * 64: "x"},
    "an equals sign": {"a=b": "x"},
    "no value": {"a": ""},
    "a long value": {"a": "x" * 101},
    "ten thousand bytes": {"a": "x" * 10_000},
    "a line break": {"a": "x\ny"},
    "an escape sequence": {"a": "\x1b[31mred"},
    "text that turns around": {"a": "\u202egnp.exe"},
    "spaces around it": {"a": " x"},
    "too many": {f"a{n}": "x" for n in range(MAX_LABELS + 1)},
}


@pytest.mark.parametrize("labels", REFUSED.values(), ids=REFUSED)
def test_what_no_door_lets_in(labels: dict[str, str]) -> None:
    with pytest.raises(BadInput) as refused:
        check_labels(labels)
    assert refused.value.code == "invalid_label"
    assert len(refused.value.message) < 300
    assert "\x1b" not in refused.value.message and "\u202e" not in refused.value.message
    with pytest.raises(BadInput):
        make_job("http://game.example/", None, None, None, labels=labels)
    with pytest.raises(BadInput):
        TestRun.create("nats://127.0.0.1:4222", title="mine", labels=labels)


def test_they_are_kept_in_the_order_of_their_names() -> None:
    given = {"commit": "abc", "branch": "feature/ünï 1", "a.b/c_d-e": "="}
    assert list(check_labels(given)) == ["a.b/c_d-e", "branch", "commit"]
    assert parse_labels(as_texts(given)) == given
    assert parse_label(" commit = a=b ") == ("commit", "a=b")
    with pytest.raises(BadInput):
        parse_label("commit")


def test_a_run_has_what_its_first_event_says() -> None:
    def event(labels: Any) -> Event:
        data = {"title": "x", "labels": labels}
        return Event(type="status", status="queued", message="Queued", timestamp=1, data=data)

    first = fold(None, TEST_ID, 1, event({"b": "2", "A": "no", "a": "1", "c": 3}), 5)
    assert first is not None and first.labels == {"a": "1", "b": "2"}
    later = fold(first, TEST_ID, 2, event({"a": "another"}), 6)
    assert later is not None and later.labels == first.labels
    nothings: list[Any] = [None, [], "a=b", {}, {"A": "b"}]
    for nothing in nothings:
        bare = fold(None, TEST_ID, 1, event(nothing), 5)
        assert bare is not None and "labels" not in msgspec.to_builtins(bare)
    many = labels_of({f"n{n:02}": "x" for n in range(40)})
    assert many is not None and len(many) == MAX_LABELS


def test_a_filter_asks_for_all_of_them() -> None:
    wanted = parse_wanted(["commit=abc", "branch=main", "commit=abc"])
    assert wanted == (("branch", "main"), ("commit", "abc"))
    assert has_labels({"branch": "main", "commit": "abc", "x": "y"}, wanted)
    assert not has_labels({"commit": "abc"}, wanted) and not has_labels(None, wanted)
    assert not has_labels({"commit": "abc"}, parse_wanted(["commit=abc", "commit=def"])), "no run has both"
    with pytest.raises(BadInput):
        parse_wanted(["a=b"] * (MAX_LABELS + 1))
