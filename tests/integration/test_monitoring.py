"""The committed rules and the dashboard on a real Prometheus that reads a running system."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path

from tests.monitoring import files
from tests.monitoring.scenes import QUICK, SCENES, SHORT, empty_queries, unread_metrics
from tests.monitoring.world import world
from tests.tools import debian_tool


def test_every_alert_is_caused_somewhere() -> None:
    assert {name for scene in SCENES for name in scene.alerts} == set(files.alerts())


async def test_every_query_has_a_value_and_alerts_fire(tmp_path: Path) -> None:
    async with world(debian_tool("prometheus"), tmp_path, SHORT) as made:
        assert await empty_queries(made, 120) == []
        assert await unread_metrics(made) == []
        for scene in QUICK:
            async with AsyncExitStack() as stack:
                await scene.cause(made, stack)
                for name in scene.alerts:
                    await made.fires(name, 120)
                if scene is QUICK[-1]:
                    stack.pop_all()  # nothing needs what it would bring back
        assert await made.prometheus.problems() == []
