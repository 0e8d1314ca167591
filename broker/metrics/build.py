"""What a process is, as its metrics tell it."""

from __future__ import annotations

import platform

from prometheus_client.core import GaugeMetricFamily

from broker.version import VERSION


def build_info(part: str) -> GaugeMetricFamily:
    """What a process is: its part (`edge`, `agent`, …), its version and its Python's."""
    family = GaugeMetricFamily(
        "testcast_build_info", "1, with what this process is.", labels=["part", "version", "python"]
    )
    family.add_metric([part, VERSION, platform.python_version()], 1.0)
    return family
