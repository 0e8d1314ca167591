"""A file of the current directory never hides a module that testcast uses."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from broker.local.child_process import python_module

NAMES = ("broker", "agent_worker", "ws_edge", "asyncio", "enum", "json", "logging", "nats", "re", "socket", "typing")
TESTCAST = Path(sys.executable).with_name("testcast")
CHECKS = {"TESTCAST_NATS_URL": "nonsense"}
"""Each part imports all of itself, and then says that this is no address."""


def ran(command: list[str], directory: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    """What a command did in a directory in which many files have the name of a module."""
    for name in NAMES:
        if not (directory / name).is_dir():
            (directory / f"{name}.py").write_text(f"raise SystemExit('{name}.py of the current directory')\n")
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONSAFEPATH", "PYTHONPATH")}
    return subprocess.run(command, cwd=directory, env=environment | settings, capture_output=True, text=True)


@pytest.mark.parametrize(
    "command",
    [
        [str(TESTCAST), "list"],
        [str(TESTCAST), "edge"],
        [str(TESTCAST), "agent"],
        [sys.executable, "-m", "testcast", "list"],
        python_module("testcast", "list"),
        python_module("ws_edge"),
        python_module("agent_worker"),
    ],
)
def test_every_command_and_every_process_imports_its_own_modules(command: list[str], tmp_path: Path) -> None:
    done = ran(command, tmp_path, **CHECKS)
    assert "TESTCAST_NATS_URL: 'nonsense'" in done.stderr
    assert "of the current directory" not in done.stderr


@pytest.mark.parametrize("module", ["ws_edge", "agent_worker"])
def test_so_does_a_part_that_is_run_as_a_module(module: str, tmp_path: Path) -> None:
    (tmp_path / module).mkdir()  # with a file of this name, Python runs the file
    done = ran([sys.executable, "-m", module], tmp_path, **CHECKS)
    assert "TESTCAST_NATS_URL: 'nonsense'" in done.stderr


def test_a_script_has_our_packages_though_files_beside_it_have_their_names(tmp_path: Path) -> None:
    for name in ("broker", "agent_worker"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('the wrong one')\n")
    (tmp_path / "script.py").write_text("from testcast import TestRun, submit, watch\nprint(TestRun.__module__)\n")
    done = subprocess.run([sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "agent_worker.publish.run\n")
    assert f"hides {tmp_path / 'broker.py'}" in done.stderr


def test_a_script_that_has_imported_a_file_of_such_a_name_is_told(tmp_path: Path) -> None:
    (tmp_path / "broker.py").touch()
    (tmp_path / "script.py").write_text("import broker\nimport testcast\n")
    done = subprocess.run([sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1
    assert f"{tmp_path / 'broker.py'} was imported under this name: rename that file" in done.stderr
