"""The alert rules in promtool: valid, each with a fault that it tells of and a day on which it is silent."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from tests.monitoring import files
from tests.monitoring.rule_cases import FIRING, QUIET, documents
from tests.tools import debian_tool


def promtool(*arguments: object) -> str:
    """Runs promtool; its output where it fails."""
    command = [debian_tool("promtool", "prometheus"), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_committed_files_are_valid(tmp_path: Path) -> None:
    for each in (files.CONFIG, files.RULES):
        shutil.copy(each, tmp_path)
    assert "is valid prometheus config file" in promtool("check", "config", tmp_path / files.CONFIG.name)
    assert f"{len(files.rules())} rules found" in promtool("check", "rules", tmp_path / files.RULES.name)


def test_every_alert_tells_of_its_fault_and_of_nothing_else(tmp_path: Path) -> None:
    promtool("test", "rules", *documents(tmp_path))


def test_every_alert_has_a_fault_and_a_quiet_day() -> None:
    for cases in (FIRING, QUIET):
        assert {each.alert for each in cases} == set(files.alerts())
