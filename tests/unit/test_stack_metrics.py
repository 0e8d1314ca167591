"""The one page of `up` and `demo`: their children's figures, and what they know themselves."""

from __future__ import annotations

import sys
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from broker.contract.errors import InvalidSetting
from broker.metrics.endpoint import MetricsEndpoint, listening_socket, page_of
from broker.metrics.figures import counter
from testcast.local.metrics import serving
from testcast.local.stack import Stack
from tests.harness import free_port


async def test_the_page_has_the_children_that_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TESTCAST_METRICS_PORT", str(port := free_port()))
    stack = Stack(tmp_path)
    async with serving(stack, "up") as where:
        assert where == f"http://127.0.0.1:{port}/metrics"
        assert stack.children is not None
        child = MetricsEndpoint(page_of(lambda: [counter("testcast_edge_sends_total", "Sends.", 3)]))
        await child.start(stack.children.path_for("edge-1"))
        part = stack._start("agent", "agent-1", [sys.executable, "-c", "import sys; print(sys.argv[1:])"], {})
        await part.child.wait()
        assert await stack.first_exit() is part
        assert part.child.last_lines() == f"['--metrics-socket', '{stack.children.path_for('agent-1')}']"
        async with httpx.AsyncClient(trust_env=False, timeout=30) as http:
            page = (await http.get(where)).text
        await child.stop()
    found = {
        (each.name, *each.labels.values()): each.value
        for family in text_string_to_metric_families(page)
        for each in family.samples
    }
    assert found["testcast_edge_sends_total",] == 3
    assert found["testcast_processes", "agent", "up"] == 0
    assert found["testcast_process_restarts_total",] == 0
    assert found["testcast_processes_lost", "agent", "up"] == 1
    await stack.stop()


@pytest.mark.parametrize("named", [True, False])
async def test_a_port_that_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: bool) -> None:
    taken = listening_socket("127.0.0.1", 0)
    port = taken.getsockname()[1]
    monkeypatch.setattr("testcast.config.METRICS_PORT", port)
    monkeypatch.delenv("TESTCAST_METRICS_PORT", raising=False)
    if named:
        monkeypatch.setenv("TESTCAST_METRICS_PORT", str(port))
    with taken:
        if named:
            with pytest.raises(InvalidSetting, match=f"TESTCAST_METRICS_PORT: port {port} is taken"):
                async with serving(Stack(tmp_path), "up"):
                    pass
        else:
            async with serving(stack := Stack(tmp_path), "up") as where:
                assert where.startswith(f"none: port {port} is taken by another program")
                assert stack.children is None


async def test_a_host_that_is_none_of_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TESTCAST_METRICS_PORT", raising=False)
    monkeypatch.setenv("TESTCAST_METRICS_HOST", "192.0.2.1")
    with pytest.raises(InvalidSetting, match=r"^TESTCAST_METRICS_HOST: .*this machine has no such address"):
        async with serving(Stack(tmp_path), "up"):
            pass


async def test_none_is_served_where_none_is_wanted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TESTCAST_METRICS_PORT", "0")
    async with serving(Stack(tmp_path), "up") as where:
        assert where == "none (TESTCAST_METRICS_PORT)"
