"""What the committed files of monitoring say: alert rules, queries of the dashboard, the metrics in the docs."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import yaml

ROOT: Final = Path(__file__).resolve().parents[2]
CONFIG: Final = ROOT / "deploy" / "prometheus" / "prometheus.yml"
RULES: Final = ROOT / "deploy" / "prometheus" / "alerts.yml"
DASHBOARD: Final = ROOT / "deploy" / "grafana" / "testcast.json"
PROVISIONING: Final = ROOT / "deploy" / "grafana" / "provisioning"
PAGE: Final = ROOT / "docs" / "monitoring.md"

_METRIC: Final = re.compile(r"\b(?:testcast|process)_[a-z_]+\b")
_OF_HISTOGRAMS: Final = re.compile(r"_(?:bucket|sum|count)$")
_WINDOW: Final = "30s"
"""Takes the place of `$__rate_interval`."""


class Rule(NamedTuple):
    """One rule of alerts.yml."""

    name: str
    expr: str
    alert: bool
    for_s: float
    severity: str
    annotations: dict[str, str]


class Query(NamedTuple):
    """One query of the dashboard."""

    panel: str
    expr: str
    """As Grafana sends it, with every edge selected."""


def rules() -> list[Rule]:
    """The recording and alert rules, in their order."""
    groups: list[dict[str, Any]] = yaml.safe_load(RULES.read_text())["groups"]
    return [
        Rule(
            name=each.get("alert") or each["record"],
            expr=each["expr"],
            alert="alert" in each,
            for_s=seconds(each.get("for", "0s")),
            severity=each.get("labels", {}).get("severity", ""),
            annotations=each.get("annotations", {}),
        )
        for group in groups
        for each in group["rules"]
    ]


def alerts() -> dict[str, Rule]:
    """The alert rules by name."""
    return {each.name: each for each in rules() if each.alert}


def seconds(text: str) -> float:
    """A duration of Prometheus with one unit, seconds."""
    return float(text[:-1]) * {"s": 1, "m": 60, "h": 3600}[text[-1]]


def panels() -> list[dict[str, Any]]:
    """The panels of the dashboard, rows among them."""
    found: list[dict[str, Any]] = json.loads(DASHBOARD.read_text())["panels"]
    return found


def queries() -> Iterator[Query]:
    """Every query of the dashboard."""
    for panel in panels():
        for target in panel.get("targets", ()):
            yield Query(panel["title"], target["expr"].replace("$__rate_interval", _WINDOW).replace("$edge", ".*"))


def metrics_of(expr: str) -> set[str]:
    """The metrics that an expression reads. Those of a histogram are its name."""
    return {_OF_HISTOGRAMS.sub("", name) for name in _METRIC.findall(expr)}


def used() -> set[str]:
    """The metrics that rules and dashboard read."""
    expressions = [*(each.expr for each in rules()), *(each.expr for each in queries())]
    return {name for expr in expressions for name in metrics_of(expr)}


def documented() -> dict[str, str]:
    """The metrics in the tables of docs/monitoring.md, and their labels as the table shows them."""
    rows = re.findall(r"^\| `(testcast_\w+)(\{[\w=|, …]+\})?` \|", PAGE.read_text(), re.MULTILINE)
    return {name: labels.strip("{}") for name, labels in rows}


def anchors() -> set[str]:
    """The headings of docs/monitoring.md as anchors."""
    headings = re.findall(r"^#+ +(.*?) *$", PAGE.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def in_code() -> set[str]:
    """The metrics that the code names, of all parts."""
    packages = ("broker", "ws_edge", "agent_worker", "testcast")
    sources = [path.read_text() for package in packages for path in sorted((ROOT / package).rglob("*.py"))]
    return {name for text in sources if "broker.metrics" in text for name in _names_in(text)}


def _names_in(source: str) -> set[str]:
    """Names of metrics that a source spells out, or makes of a constant: `f"{_EDGE}sockets"`."""
    prefixes = dict(re.findall(r'^(\w+)(?:: Final)? = "(testcast_(?:\w+_)?)"$', source, re.MULTILINE))
    found = set(re.findall(r'"(testcast_[a-z_]*[a-z])"', source))
    return found | {
        prefixes[name] + rest for name, rest in re.findall(r'f"\{(\w+)\}([a-z_]+)"', source) if name in prefixes
    }
