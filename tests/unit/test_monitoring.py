"""Alert rules, dashboard, the page about them and the code name the same metrics and the same alerts."""

from __future__ import annotations

import itertools
import json
import re

import pytest
import yaml

from tests.monitoring import files

SYSTEM = {
    "process_cpu_seconds_total",
    "process_resident_memory_bytes",
    "process_open_fds",
    "process_max_fds",
    "process_start_time_seconds",
}
"""What prometheus_client's ProcessCollector shows."""
OF_UP = {
    "testcast_processes_lost",
    "testcast_broker_running",
    "testcast_broker_restarts_total",
    "testcast_broker_disk_full",
    "testcast_broker_disk_free_bytes",
}
"""What `up` and `demo` show besides, which run on one machine."""


def test_what_rules_and_dashboard_read_stands_in_the_page() -> None:
    assert files.used() - set(files.documented()) <= SYSTEM


def test_the_page_and_the_code_have_the_same_metrics() -> None:
    code = files.in_code()
    assert set(files.documented()) - code == set(), "in the page, not in the code"
    assert code - set(files.documented()) == set(), "in the code, not in the page"


def test_every_metric_of_the_page_is_read_by_the_dashboard_or_a_rule() -> None:
    assert set(files.documented()) - files.used() - OF_UP == set()


@pytest.mark.parametrize("name", list(files.alerts()))
def test_every_alert_says_what_it_means_and_where_its_runbook_is(name: str) -> None:
    rule = files.alerts()[name]
    assert name.startswith("Testcast")
    assert rule.severity in ("critical", "warning")
    assert set(rule.annotations) == {"summary", "description", "runbook_url"}
    assert rule.annotations["runbook_url"] == f"docs/monitoring.md#{name.lower()}"
    assert name.lower() in files.anchors()
    runbook = files.PAGE.read_text().split(f"### {name}\n")[1].split("\n#")[0]
    assert re.findall(r"^- \*\*(\w+):\*\*", runbook, re.MULTILINE) == ["Means", "See", "Do"]


def test_every_runbook_is_of_an_alert() -> None:
    assert set(re.findall(r"^### (Testcast\w+)$", files.PAGE.read_text(), re.MULTILINE)) == set(files.alerts())


def test_every_panel_explains_itself() -> None:
    panels = files.panels()
    assert len({each["id"] for each in panels}) == len(panels)
    titles = [each["title"] for each in panels]
    assert len(set(titles)) == len(titles)
    for panel in panels:
        if panel["type"] == "row":
            continue
        assert panel["description"].endswith("."), panel["title"]
        assert panel["datasource"]["uid"] == "${datasource}"
        assert len({each["refId"] for each in panel["targets"]}) == len(panel["targets"]) > 0
        assert all(each["datasource"]["uid"] == "${datasource}" for each in panel["targets"])


def test_panels_do_not_overlap() -> None:
    taken = [
        (each["title"], column, line)
        for each in files.panels()
        for column in range(each["gridPos"]["x"], each["gridPos"]["x"] + each["gridPos"]["w"])
        for line in range(each["gridPos"]["y"], each["gridPos"]["y"] + each["gridPos"]["h"])
    ]
    assert len({cell[1:] for cell in taken}) == len(taken)
    assert all(column < 24 for _, column, _ in taken)


def test_counters_are_read_as_rates_and_gauges_are_not() -> None:
    for query in itertools.chain((each.expr for each in files.queries()), (each.expr for each in files.rules())):
        for name in re.findall(r"\b(?:testcast|process)_\w+_(?:total|bucket)\b(?!\[|\{[^}]*\}\[)", query):
            assert name == "testcast_process_restarts_total", query


def test_the_jobs_are_those_that_the_rules_ask_for() -> None:
    config = yaml.safe_load(files.CONFIG.read_text())
    jobs = {each["job_name"]: each for each in config["scrape_configs"]}
    asked = {job for rule in files.rules() for job in re.findall(r'job="([\w-]+)"', rule.expr)}
    assert asked <= set(jobs)
    names = {job: each["dns_sd_configs"][0]["names"] for job, each in jobs.items() if "dns_sd_configs" in each}
    assert names == {"testcast-edge": ["ws_edge"], "testcast-agent": ["agent_worker"]}
    assert all(each["dns_sd_configs"][0]["port"] == 9464 for each in jobs.values() if "dns_sd_configs" in each)
    assert config["rule_files"] == [files.RULES.name]


def test_grafana_is_told_where_the_dashboard_and_its_data_are() -> None:
    source = yaml.safe_load((files.PROVISIONING / "datasources" / "prometheus.yml").read_text())["datasources"][0]
    assert (source["type"], source["url"]) == ("prometheus", "http://prometheus:9090")
    config = yaml.safe_load(files.CONFIG.read_text())
    assert source["jsonData"]["timeInterval"] == config["global"]["scrape_interval"]
    provider = yaml.safe_load((files.PROVISIONING / "dashboards" / "testcast.yml").read_text())["providers"][0]
    assert provider["options"]["path"] in files.PAGE.read_text()
    assert json.loads(files.DASHBOARD.read_text())["uid"] == "testcast"
