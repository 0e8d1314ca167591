"""The figures of the compose test stand at the end of the tests' output, also when it passes."""

from __future__ import annotations

import pytest
from _pytest.terminal import TerminalReporter

FIGURES = "figures"
"""The property under which a test notes a line for the end of the output."""


def pytest_terminal_summary(terminalreporter: TerminalReporter) -> None:
    """Tells what was noted, from wherever the tests ran."""
    told = [
        value
        for outcome in ("passed", "failed")
        for report in terminalreporter.stats.get(outcome, [])
        if isinstance(report, pytest.TestReport)
        for name, value in report.user_properties
        if name == FIGURES
    ]
    for line in dict.fromkeys(map(str, told)):
        terminalreporter.write_line(line)
