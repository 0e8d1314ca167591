"""What `show` says of a run."""

from __future__ import annotations

import orjson
import pytest

from broker.contract import projects
from broker.contract.snapshot import fold
from broker.jetstream.runs import parse
from testcast.cli.details import Details, _facts
from tests.harness import NO_SUCH_TEST


@pytest.mark.parametrize(
    ("project", "said"),
    [(projects.DEFAULT, ""), ("red", "red"), ("", "none: the run's first event names no valid one")],
)
def test_a_project_is_told_where_there_is_one(project: str, said: str) -> None:
    event = {"type": "status", "status": "queued", "message": "Queued", "timestamp": 1, "data": {"project": project}}
    snapshot = fold(None, NO_SUCH_TEST, 1, parse(orjson.dumps(event)), 1)
    assert snapshot is not None
    details = Details(snapshot, None, [])
    assert dict(_facts(details, None, 0))["Project"] == said
