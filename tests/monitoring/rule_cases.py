"""For each alert a fault that it has to tell of and a day on which it is silent, for `promtool test rules`.

A day has samples every 30 s. The fault begins after 5 minutes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import yaml

from tests.monitoring.files import RULES, alerts

_STEP_S: Final = 30
_BEGINS_S: Final = 300
_DAY_S: Final = 2400
_GOOD: Final = _BEGINS_S // _STEP_S
_BAD: Final = (_DAY_S - _BEGINS_S) // _STEP_S


class Series(NamedTuple):
    """One series, in the notation of promtool."""

    name: str
    values: str


class Case(NamedTuple):
    """One alert on one day."""

    alert: str
    series: Sequence[Series]
    within_s: float
    """How long after `for` it fires at the latest; 0 for a day on which it must not."""
    labels: dict[str, str]
    """Of the alert, besides its name and severity."""


EDGE: Final = {"job": "testcast-edge", "instance": "e1:9464"}
AGENT: Final = {"job": "testcast-agent", "instance": "a1:9464"}


def _named(name: str, labels: dict[str, str]) -> str:
    pairs = [f'{key}="{value}"' for key, value in labels.items()]
    return f"{name}{{{', '.join(pairs)}}}"


def gauge(name: str, good: object, bad: object, labels: dict[str, str] = EDGE, **more: str) -> Series:
    """One value until the fault, another from then on. `_` is no sample; `stale` is one that is gone."""
    bad_values = "stale" if bad == "stale" else f"{bad}x{_BAD}"
    return Series(_named(name, labels | more), f"{good}x{_GOOD - 1} {bad_values}")


def counter(name: str, good: float, bad: float, labels: dict[str, str] = EDGE, **more: str) -> Series:
    """Grows by `good` every 30 s until the fault, and by `bad` from then on."""
    top = good * (_GOOD - 1)
    return Series(_named(name, labels | more), f"0+{good:g}x{_GOOD - 1} {top + bad:g}+{bad:g}x{_BAD}")


def _sessions(behind: int, live: int) -> list[Series]:
    return [
        gauge("testcast_edge_sessions", 0, behind, state="behind"),
        gauge("testcast_edge_sessions", 1000, live, state="live"),
    ]


def _canary(quick: float, slow: float) -> list[Series]:
    """Probe events every 30 s: within 1 s, and within 5 s."""
    name = "testcast_edge_canary_seconds_bucket"
    return [
        counter(name, 1, quick, le="1.0"),
        counter(name, 1, quick + slow, le="5.0"),
        counter(name, 1, quick + slow, le="+Inf"),
    ]


def _handshakes(refused: float, made: float) -> list[Series]:
    return [
        counter("testcast_edge_handshakes_total", 1, made),
        counter("testcast_edge_handshakes_refused_total", 0, refused, reason="full"),
        counter("testcast_edge_handshakes_refused_total", 0, 0, reason="origin"),
    ]


def _ended(failed: float, completed: float) -> list[Series]:
    return [
        counter("testcast_agent_runs_ended_total", 0, failed, AGENT, outcome="failed"),
        counter("testcast_agent_runs_ended_total", 1, completed, AGENT, outcome="completed"),
    ]


def _stream(used: float, limit: float) -> list[Series]:
    return [
        gauge("testcast_stream_bytes", 1, used, stream="EVENTS"),
        gauge("testcast_stream_max_bytes", limit, limit, stream="EVENTS"),
        gauge("testcast_stream_messages", 1, 10, stream="EVENTS"),
        gauge("testcast_stream_max_messages", 0, 0, stream="EVENTS"),
    ]


def _alike(name: str, good: object, bad: object) -> list[Series]:
    """What two edges tell of the whole installation; the second one sees it late."""
    other = EDGE | {"instance": "e2:9464"}
    return [gauge(name, good, bad), gauge(name, good, bad, other)]


def _keepers(one: int, other: int) -> list[Series]:
    """Two edges; one that does not look tells 0."""
    name = "testcast_edge_keeper_look_age_seconds"
    return [gauge(name, min(one, 50), one), gauge(name, min(other, 50), other, EDGE | {"instance": "e2:9464"})]


FIRING: Final = (
    Case("TestcastNoEdges", [gauge("up", 1, 0)], 30, {}),
    Case("TestcastNoEdges", [gauge("up", 1, "stale")], 30, {}),
    Case("TestcastEdgeDown", [gauge("up", 1, 0), gauge("up", 1, 1, EDGE | {"instance": "e2"})], 30, EDGE),
    Case("TestcastEdgeNotReady", [gauge("testcast_edge_ready", 1, 0)], 30, EDGE),
    Case("TestcastEdgeNotReady", [gauge("testcast_edge_ready", 1, 0, process="1")], 30, EDGE | {"process": "1"}),
    Case("TestcastEdgeDegraded", [gauge("testcast_edge_degraded_reasons", 0, 2)], 30, EDGE),
    Case("TestcastEdgeStale", [gauge("testcast_edge_stale_seconds", 0, 31)], 30, EDGE),
    Case("TestcastBrokerAway", [gauge("testcast_edge_broker_connected", 1, 0)], 30, EDGE),
    Case("TestcastBrokerAway", [gauge("testcast_agent_broker_connected", 1, 0, AGENT)], 30, AGENT),
    Case("TestcastProcessRestarting", [counter("testcast_process_restarts_total", 0, 0.25)], 300, EDGE),
    Case("TestcastProcessRestarting", [counter("process_start_time_seconds", 0, 60, AGENT)], 120, AGENT),
    Case("TestcastCanaryMissing", [gauge("testcast_edge_canary_age_seconds", 10, 61)], 30, EDGE),
    Case("TestcastCanaryMissing", [counter("testcast_edge_canary_missing_total", 0, 0.5)], 240, EDGE),
    Case("TestcastCanarySlow", _canary(0.5, 0.5), 300, EDGE),
    Case("TestcastViewersBehind", _sessions(60, 940), 30, EDGE),
    Case(
        "TestcastGapsNotRepaired",
        [counter("testcast_edge_gaps_total", 1, 1), counter("testcast_edge_gaps_repaired_total", 1, 0)],
        120,
        EDGE,
    ),
    Case("TestcastHandshakesRefused", _handshakes(20, 20), 180, EDGE),
    Case(
        "TestcastSocketsNearLimit",
        [gauge("testcast_edge_sockets", 100, 12_001), gauge("testcast_edge_max_sockets", 15_000, 15_000)],
        30,
        EDGE,
    ),
    Case("TestcastProjectorFailing", [counter("testcast_edge_projector_failures_total", 0, 1)], 60, EDGE),
    Case("TestcastRunsNotDeleted", _keepers(3601, 3700), 30, {}),
    Case("TestcastRunsNotDeleted", _keepers(3601, 0), 30, {}),
    Case("TestcastQueueGrowing", _alike("testcast_queue_oldest_seconds", 3, 901), 30, {}),
    Case("TestcastNoAgents", _alike("testcast_agents", 2, 0), 30, {}),
    Case("TestcastRunsFailing", _ended(1, 0), 1500, {}),
    Case("TestcastAgentOutboxFull", [gauge("testcast_agent_outbox_events", 5, 900, AGENT)], 30, AGENT),
    Case("TestcastAgentOutboxFull", [gauge("testcast_agent_outbox_bytes", 5, 4_000_000, AGENT)], 30, AGENT),
    Case("TestcastStreamNearlyFull", _stream(81, 100), 30, {"stream": "EVENTS"}),
    Case(
        "TestcastStreamNearlyFull",
        [
            gauge("testcast_stream_messages", 1, 8_001, stream="JOBS"),
            gauge("testcast_stream_max_messages", 10_000, 10_000, stream="JOBS"),
        ],
        30,
        {"stream": "JOBS"},
    ),
)
QUIET: Final = (
    Case("TestcastNoEdges", [gauge("up", 1, 0), gauge("up", 1, 1, EDGE | {"instance": "e2"})], 0, {}),
    Case("TestcastEdgeDown", [gauge("up", 1, "stale"), gauge("up", 1, 0, {"job": "other"})], 0, {}),
    Case("TestcastEdgeNotReady", [Series(_named("testcast_edge_ready", EDGE), "1x20 0x8 1x200")], 0, {}),
    Case("TestcastEdgeDegraded", [Series(_named("testcast_edge_degraded_reasons", EDGE), "0x20 1x8 0x200")], 0, {}),
    Case("TestcastEdgeStale", [gauge("testcast_edge_stale_seconds", 0, 12)], 0, {}),
    Case("TestcastBrokerAway", [Series(_named("testcast_edge_broker_connected", EDGE), "1x20 0 1x200")], 0, {}),
    Case("TestcastProcessRestarting", [counter("testcast_process_restarts_total", 0, 0.01)], 0, {}),
    Case("TestcastCanaryMissing", [gauge("testcast_edge_canary_age_seconds", 10, 45)], 0, {}),
    Case("TestcastCanaryMissing", [counter("testcast_edge_canary_missing_total", 0, 0.01)], 0, {}),
    Case("TestcastCanarySlow", _canary(0.95, 0.05), 0, {}),
    Case("TestcastViewersBehind", _sessions(9, 10), 0, {}),
    Case("TestcastViewersBehind", _sessions(40, 960), 0, {}),
    Case(
        "TestcastGapsNotRepaired",
        [counter("testcast_edge_gaps_total", 1, 3), counter("testcast_edge_gaps_repaired_total", 1, 3)],
        0,
        {},
    ),
    Case("TestcastHandshakesRefused", _handshakes(2, 20), 0, {}),
    Case("TestcastHandshakesRefused", _handshakes(40, 1000), 0, {}),
    Case(
        "TestcastSocketsNearLimit",
        [gauge("testcast_edge_sockets", 100, 11_999), gauge("testcast_edge_max_sockets", 15_000, 15_000)],
        0,
        {},
    ),
    Case(
        "TestcastProjectorFailing",
        [Series(_named("testcast_edge_projector_failures_total", EDGE), "0x20 5x200")],
        0,
        {},
    ),
    Case("TestcastRunsNotDeleted", _keepers(3601, 50), 0, {}),
    Case("TestcastRunsNotDeleted", _keepers(0, 0), 0, {}),
    Case("TestcastQueueGrowing", _alike("testcast_queue_oldest_seconds", 3, 600), 0, {}),
    Case("TestcastNoAgents", _alike("testcast_agents", 2, 1), 0, {}),
    Case("TestcastRunsFailing", _ended(1, 1), 0, {}),
    Case("TestcastAgentOutboxFull", [gauge("testcast_agent_outbox_events", 5, 700, AGENT)], 0, {}),
    Case("TestcastStreamNearlyFull", _stream(79, 100), 0, {}),
    Case("TestcastStreamNearlyFull", _stream(79, 0), 0, {}),
)


def documents(directory: Path) -> list[Path]:
    """Writes the cases of each alert, and its rule alone, as `promtool test rules` reads them. Evaluating all rules for
    each case takes ten times as long.
    """
    groups = yaml.safe_load(RULES.read_text())["groups"]
    rules = {each.get("alert"): each for group in groups for each in group["rules"]}
    for name in alerts():
        rule = {"groups": [{"name": name, "rules": [rules[name]]}]}
        cases = {
            "rule_files": [f"{name}.rules.yml"],
            "evaluation_interval": f"{_STEP_S}s",
            "tests": [_test(each) for each in (*FIRING, *QUIET) if each.alert == name],
        }
        (directory / f"{name}.rules.yml").write_text(yaml.safe_dump(rule))
        (directory / f"{name}.yml").write_text(yaml.safe_dump(cases))
    return [directory / f"{name}.yml" for name in alerts()]


def _test(case: Case) -> dict[str, Any]:
    rule = alerts()[case.alert]
    labels = {"alertname": case.alert, "alertstate": "firing", "severity": rule.severity} | case.labels
    expected = [{"labels": _named("ALERTS", labels), "value": 1}] if case.within_s else []
    firing = f'ALERTS{{alertname="{case.alert}", alertstate="firing"}}'
    checks = [_check(firing, _BEGINS_S + rule.for_s + case.within_s, expected)] if case.within_s else []
    # Before, and while it has not lasted for long enough, it is silent; on a quiet day until its end.
    silent_s = _BEGINS_S + max(rule.for_s - _STEP_S, -_STEP_S) if case.within_s else _DAY_S
    checks.append(_check(f"count_over_time({firing}[{_DAY_S}s])", silent_s, []))
    return {
        "name": f"{case.alert}: {'fires' if case.within_s else 'is silent'}",
        "interval": f"{_STEP_S}s",
        "input_series": [{"series": each.name, "values": each.values} for each in case.series],
        "promql_expr_test": checks,
    }


def _check(expr: str, at_s: float, expected: list[dict[str, Any]]) -> dict[str, Any]:
    return {"expr": expr, "eval_time": f"{at_s:g}s", "exp_samples": expected}
