"""A real Prometheus with the committed configuration and rules, made quick for a test."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, NamedTuple, Self

import httpx
import yaml

from broker.local.child_process import Child
from tests.harness import free_port, until
from tests.monitoring import files

QUICK: Final = {"scrape_interval": "2s", "scrape_timeout": "2s", "evaluation_interval": "1s"}
"""A page that is not read within the interval is a target that is down: a busy machine needs a second or more."""
FOR: Final = "1s"
"""Takes the place of every `for` that is not 0."""


class Sample(NamedTuple):
    """One sample of an answer."""

    labels: dict[str, str]
    value: float


class Alert(NamedTuple):
    """An alert as Prometheus tells it."""

    name: str
    firing: bool
    """False: its `for` is not over."""
    labels: dict[str, str]
    summary: str
    description: str


class Prometheus:
    """One Prometheus process, which scrapes and evaluates every few seconds. An async context manager.

    Args:
        program: its path.
        directory: for configuration, data and log.
        targets: the ports of this machine that it scrapes, by the name of the job in prometheus.yml.
        thresholds: alert -> a piece of its expression and what takes its place, where the committed one lasts long.
    """

    def __init__(
        self,
        program: str,
        directory: Path,
        targets: Mapping[str, Sequence[int]],
        thresholds: Mapping[str, tuple[str, str]] | None = None,
    ) -> None:
        self.port = free_port()
        self._directory = directory / f"prometheus-{self.port}"
        self._directory.mkdir()
        config = self._directory / files.CONFIG.name
        config.write_text(yaml.safe_dump(quick_config(targets, self.port)))
        (self._directory / files.RULES.name).write_text(yaml.safe_dump(quick_rules(thresholds or {})))
        self._argv = [program, f"--config.file={config}", f"--storage.tsdb.path={self._directory}/data"]
        self._argv += [f"--web.listen-address=127.0.0.1:{self.port}", "--log.level=warn"]
        self._child: Child
        self._http: httpx.AsyncClient

    def __repr__(self) -> str:
        return f"<Prometheus {self.port}>"

    async def __aenter__(self) -> Self:
        self._child = Child(self._argv, self._directory / "log")
        self._http = httpx.AsyncClient(base_url=f"http://127.0.0.1:{self.port}", timeout=30, trust_env=False)
        await until(self._ready, within_s=60, what=f"Prometheus; see {self._directory}")
        return self

    async def _ready(self) -> bool:
        assert self._child.exit_code is None, self._child.last_lines(20)
        try:
            return (await self._http.get("/-/ready")).status_code == 200
        except httpx.TransportError:
            return False

    async def __aexit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        await self._http.aclose()
        await self._child.stop(10)

    async def _data(self, path: str, **params: str) -> Any:
        answer = await self._http.get(f"/api/v1/{path}", params=params)
        body = answer.json()
        assert answer.status_code == 200 and body["status"] == "success", (params, body)
        return body["data"]

    async def query(self, expr: str) -> list[Sample]:
        """The value of an expression now. Values that are no number (of a quantile of nothing) are left out.

        Raises:
            AssertionError: Prometheus refuses the expression.
        """
        data = await self._data("query", query=expr)
        found = [data] if data["resultType"] == "scalar" else data["result"]
        samples = [Sample(each.get("metric", {}), float(each["value"][1])) for each in found]
        return [each for each in samples if not math.isnan(each.value)]

    async def alerts(self) -> list[Alert]:
        """Those that are pending or firing."""
        found = (await self._data("alerts"))["alerts"]
        return [
            Alert(
                each["labels"]["alertname"],
                each["state"] == "firing",
                each["labels"],
                each["annotations"]["summary"],
                each["annotations"]["description"],
            )
            for each in found
        ]

    async def firing(self, name: str) -> Alert | None:
        """The first alert of this name that fires."""
        return next((each for each in await self.alerts() if each.name == name and each.firing), None)

    async def names(self) -> set[str]:
        """All metrics that it has; those of a histogram are its name."""
        found: list[str] = await self._data("label/__name__/values")
        return {each for name in found for each in files.metrics_of(name)}

    async def metrics_of_targets(self) -> dict[str, set[str]]:
        """Job -> the metrics that its targets show, by the metadata of their pages; counters with `_total`."""
        found: dict[str, set[str]] = {}
        for each in await self._data("targets/metadata"):
            name = each["metric"] + ("_total" if each["type"] == "counter" else "")
            found.setdefault(each["target"]["job"], set()).add(name.replace("_total_total", "_total"))
        return found

    async def problems(self) -> list[str]:
        """Rules that could not be evaluated."""
        groups = (await self._data("rules"))["groups"]
        rules = [rule for group in groups for rule in group["rules"]]
        return [f"{each['name']}: {each.get('lastError')}" for each in rules if each["health"] == "err"]


def quick_config(targets: Mapping[str, Sequence[int]], own_port: int) -> dict[str, Any]:
    """prometheus.yml with short intervals and these targets."""
    config: dict[str, Any] = yaml.safe_load(files.CONFIG.read_text())
    config["global"] = QUICK
    for job in config["scrape_configs"]:
        job.pop("dns_sd_configs", None)
        ports = targets.get(job["job_name"], [own_port] if "static_configs" in job else [])
        job["static_configs"] = [{"targets": [f"127.0.0.1:{port}" for port in ports]}]
    return config


def quick_rules(thresholds: Mapping[str, tuple[str, str]]) -> dict[str, Any]:
    """alerts.yml with every `for` shortened, and these pieces of expressions replaced."""
    rules: dict[str, Any] = yaml.safe_load(files.RULES.read_text())
    for group in rules["groups"]:
        for rule in group["rules"]:
            if rule.get("for", "0s") != "0s":
                rule["for"] = FOR
            old, new = thresholds.get(rule.get("alert", ""), ("", ""))
            assert old in rule["expr"], f"{rule['alert']}: no {old!r}"
            rule["expr"] = rule["expr"].replace(old, new) if old else rule["expr"]
    return rules
