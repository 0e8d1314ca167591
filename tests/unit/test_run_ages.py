"""Which runs may be deleted for their age: the decision alone, over any snapshots, pins, ages and clocks."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker import config
from broker.contract import projects
from broker.contract.errors import BadInput, InvalidSetting
from broker.contract.retention import Retention, due, is_over, parse_retention
from broker.contract.snapshot import Snapshot
from broker.jetstream import stream_config

DAY_S = 24 * 3600
NOW_MS = 1_800_000_000_000
FOR_EVER, A_DAY = Retention(0), Retention(DAY_S)


def run(number: int = 1, **fields: Any) -> Snapshot:
    """A run that ended ten days ago."""
    old = NOW_MS - 10 * DAY_S * 1000
    defaults: dict[str, Any] = {
        "test_id": f"00000000-0000-4000-8000-{number:012}",
        "title": "A game",
        "game_url": "http://game.example/",
        "status": "completed",
        "phase": None,
        "message": "",
        "seq": number,
        "created_at": old,
        "updated_at": old,
        "attempt": 1,
        "epoch": "1",
    }
    return Snapshot(**defaults | fields)


def chosen(*runs: Snapshot, retention: Retention = A_DAY, now_ms: int | None = NOW_MS) -> list[int]:
    return [each.seq for each in due(runs, retention, now_ms, lambda _: False)]


def test_an_old_run_that_has_ended_is_due_and_nothing_else_is() -> None:
    assert chosen(run(1)) == [1]
    for status in ("queued", "running"):
        assert chosen(run(status=status)) == []
    for young in ({"updated_at": NOW_MS}, {"finished_at": NOW_MS}, {"created_at": NOW_MS}):
        assert chosen(run(**young)) == [], f"one of its times is young: {young}"
    assert chosen(run(epoch=None)) == [], "its times are its publisher's"
    assert chosen(run(updated_at=0, created_at=0)) == [], "it has no times"
    assert chosen(run(), retention=FOR_EVER) == []
    assert chosen(run(), now_ms=None) == [], "nobody knows the time"


def test_the_oldest_is_first() -> None:
    assert chosen(run(1, updated_at=5), run(2, updated_at=3, created_at=3), run(3, updated_at=3, created_at=3)) == [
        2,
        3,
        1,
    ]


def test_each_project_has_its_age() -> None:
    ages = parse_retention("default=20d, nightly=1d,*=0")
    assert chosen(run(1), run(2, project="nightly"), run(3, project="other"), retention=ages) == [2]
    assert ages.age_s("default") == 20 * DAY_S and ages.age_s("other") == 0
    assert parse_retention(" , ") == parse_retention("") == Retention(None)
    every = parse_retention("a=90s,b=15m,c=12h,d=2w,e=forever").by_project
    assert every == {"a": 90, "b": 900, "c": 12 * 3600, "d": 14 * DAY_S, "e": 0}


def test_a_run_whose_project_is_not_known_is_kept_as_long_as_any_could_be() -> None:
    assert chosen(run(project=projects.UNKNOWN), retention=parse_retention("a=20d,*=1d")) == []
    assert chosen(run(project=projects.UNKNOWN), retention=parse_retention("a=0,*=1d")) == []
    assert chosen(run(project=projects.UNKNOWN), retention=parse_retention("a=2d,*=1d")) == [1]


WRONG = ["7d", "a", "a=", "=7d", "a=7", "a=7 d", "a=-1d", "a=1.5d", "a=7D", "a=7y", "a=0s", "a=999999999w", "A=7d",
         "a b=7d", "a=1d,a=2d", "*=1d,*=2d", "a=1d;b=2d", "**=1d", "a=٣d"]  # fmt: skip


@pytest.mark.parametrize("text", WRONG)
def test_a_wrong_setting_is_refused_with_its_name(text: str) -> None:
    with pytest.raises(BadInput):
        parse_retention(text)
    with pytest.raises(InvalidSetting, match=r"^TESTCAST_RETENTION: "):
        config.retention({"TESTCAST_RETENTION": text})


def test_what_is_not_named_is_kept_as_the_stream_says() -> None:
    found = config.retention({"TESTCAST_RETENTION": "a=1h"})
    assert chosen(run(1), run(2, project="a"), retention=found) == [2], "for ever, until the stream has said"
    assert (found.where(60).age_s("a"), found.where(60).age_s("b"), found.where(60).leftovers_s) == (3600, 60, 3600)
    assert config.retention({"TESTCAST_RETENTION": "*=1h"}).where(60).age_s("b") == 3600
    assert config.retention({}).where(0).leftovers_s == 7 * DAY_S, "what is of no run goes all the same"


AGES = st.sampled_from([0.0, 1.0, 60.0, 3600.0, 7.0 * DAY_S, 30.0 * DAY_S])
NAMES = st.sampled_from(["default", "nightly", "red", projects.UNKNOWN])
TIMES = st.integers(0, 40 * DAY_S * 1000).map(lambda ago: NOW_MS - ago) | st.just(0)
RUNS = st.builds(
    run,
    number=st.integers(1, 9),
    status=st.sampled_from(["queued", "running", "completed", "failed"]),
    project=NAMES,
    created_at=TIMES,
    updated_at=TIMES,
    finished_at=TIMES | st.none(),
    epoch=st.sampled_from(["1", None]),
)
RETENTIONS = st.builds(Retention, AGES, st.dictionaries(NAMES.filter(bool), AGES, max_size=3))


@given(
    runs=st.lists(RUNS, max_size=8),
    retention=RETENTIONS,
    clocks=st.tuples(*[st.integers(-(2**53), 2**53).map(lambda skew: NOW_MS + skew) | st.none()] * 2),
    stays=st.sets(st.integers(1, 9)),
)
def test_nothing_watched_pinned_running_or_young_is_ever_due(
    runs: list[Snapshot], retention: Retention, clocks: tuple[int | None, int | None], stays: set[int]
) -> None:
    """`stays` are the pinned and the watched ones. The time is the earlier one of two clocks, each of which may be
    wrong by any amount, or not known."""
    kept = {run(number).test_id for number in stays}
    now_ms = None if None in clocks else min(each for each in clocks if each is not None)
    found = due(runs, retention, now_ms, kept.__contains__)
    assert not {each.test_id for each in found} & kept
    for each in found:
        assert now_ms is not None and each.ended and each.epoch is not None
        age_s = retention.by_project.get(each.project, retention.others_s or 0.0)
        assert age_s > 0
        for clock in clocks:
            assert clock is not None, "both are known"
            for time in (each.updated_at, each.created_at, each.finished_at or 0):
                assert clock - time > age_s * 1000, "by neither clock it is young"
    if now_ms is not None and not kept:  # and whatever is left is for a reason
        for each in runs:
            last = max(each.updated_at, each.created_at, each.finished_at or 0)
            if each.ended and each.epoch and is_over(retention.age_s(each.project), last, now_ms):
                assert each in found


# -- streams that stand ---------------------------------------------------------------------------------------------


NS = 10**9
OF_0_1_0 = {"metadata": {"testcast-topology": "2"}, "max_age": 7 * DAY_S * NS}


@pytest.mark.parametrize(
    ("standing", "age_ns", "remembers_s"),
    [
        (OF_0_1_0, 0, 7 * DAY_S),
        (OF_0_1_0 | {"max_age": 90 * NS}, 0, 90),  # what TESTCAST_EVENTS_MAX_AGE_S says, too
        (OF_0_1_0 | {"max_age": 42 * NS}, 42 * NS, 0),
        (OF_0_1_0 | {"max_age": 0}, 0, 0),  # for ever: an operator's choice
        (OF_0_1_0 | {"metadata": {"testcast-topology": "3"}}, 7 * DAY_S * NS, 0),
        (OF_0_1_0 | {"metadata": {}}, 7 * DAY_S * NS, 0),
        (OF_0_1_0 | {"metadata": {"testcast-topology": "odd"}}, 7 * DAY_S * NS, 0),
    ],
)
def test_the_age_that_an_earlier_version_has_given_is_lifted_and_no_other(
    standing: Any, age_ns: int, remembers_s: float
) -> None:
    """The stream remembers it, and whoever keeps runs keeps them for as long."""
    for name in ("EVENTS", "KV_RUNS", "JOBS", "KV_ACCESS"):
        found = standing | {"name": name}
        lift = stream_config.lifted(found, config.StreamSettings(max_age_s=90))
        for change in lift.changes if lift else ():
            found |= {change.field: change.new}
        found["metadata"] = found["metadata"] | (lift.metadata if lift else {})
        is_ours = name in ("EVENTS", "KV_RUNS")
        assert found["max_age"] == (age_ns if is_ours else standing["max_age"])
        assert stream_config.age_s(found) == (remembers_s if name == "EVENTS" else 0)


def test_a_new_stream_has_no_age_and_the_one_of_events_remembers_how_long_runs_are_kept() -> None:
    settings = config.StreamSettings(max_age_s=36_000_000.5)
    for wanted in stream_config.streams(1, settings):
        made = stream_config.first(wanted, settings)
        assert not made.get("max_age")
        assert stream_config.age_s(made) == pytest.approx(36_000_000.5 if wanted["name"] == "EVENTS" else 0, rel=1e-9)
    for odd in ("", "-1", "nan", "inf", "1e999", "x", None):
        assert stream_config.age_s({"metadata": {stream_config.AGE_KEY: odd}}) == 0.0
