"""An installation without extras: what it can do works, and what it cannot do names the extra."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner
from packaging.requirements import Requirement

from broker import extras
from testcast.cli.main import cli
from testcast.exit_codes import exit_status
from testcast.local import doctor

ROOT = Path(__file__).resolve().parents[2]
HIDDEN = "playwright", "PIL", "textual", "mcp", "opentelemetry"
WITHOUT = f"""
import runpy, sys

class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {HIDDEN!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Hidden())
"""
"""Python without the packages of the extras, as a core-only installation has it."""


def core_only(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", WITHOUT + program, *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def test_each_extra_names_the_modules_that_pyproject_brings() -> None:
    told = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert {extra: len(names) for extra, names in extras.MODULES.items()} == {
        extra: len([Requirement(each) for each in needed]) for extra, needed in told.items()
    }
    assert [extras.missing(extra) for extra in told] == [()] * len(told)


def test_the_api_and_every_part_but_the_agent_can_be_imported() -> None:
    program = """
import pkgutil
import broker, testcast, testcast.sync, ws_edge
for name in testcast.__all__:
    getattr(testcast, name)
left = ("broker.extras", "testcast.cli.animation", "testcast.cli.top", "__main__")
for package in (broker, testcast, ws_edge):
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        if not any(each in module.name for each in left):
            __import__(module.name)
import agent_worker.publish.run, agent_worker.work.worker
print("imported")
"""
    told = core_only(program)
    assert (told.stdout, told.stderr) == ("imported\n", "")


@pytest.mark.parametrize("command", [("demo", "--once"), ("up",), ("agent",)], ids=lambda each: each[0])
def test_a_command_that_plays_names_the_extra(command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    told = CliRunner().invoke(cli, command)
    assert isinstance(told.exception, extras.MissingExtra) and exit_status(told.exception) == 2
    assert "playwright" in told.exception.message and "pip install 'testcast[agent]'" in told.exception.message


def test_the_command_shows_it_without_a_traceback() -> None:
    told = core_only("sys.argv[0] = 'testcast'\nfrom testcast.entry import main\nmain()", "agent")
    assert (told.returncode, told.stdout) == (2, "")
    assert told.stderr.startswith("error: ") and "testcast[agent]" in told.stderr and "Traceback" not in told.stderr


def test_an_agent_that_is_started_as_a_module_names_the_extra() -> None:
    told = core_only("runpy.run_module('agent_worker', run_name='__main__', alter_sys=True)")
    assert told.returncode == 2
    assert told.stderr.startswith("testcast agent: ") and "pip install 'testcast[agent]'" in told.stderr


def test_the_doctor_says_what_a_core_only_machine_cannot_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    (finding,) = doctor.agent()
    assert finding.ok and "testcast agent, up and demo" in finding.detail
    assert "pip install 'testcast[agent]'" in finding.detail


def test_the_doctor_minds_half_an_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "find_spec", lambda name: None if name == "PIL" else object())
    (finding,) = doctor.agent()
    assert not finding.ok and "PIL" in finding.detail and "testcast[agent]" in finding.remedy


def test_a_package_that_is_missing_with_all_that_is_in_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str) -> None:
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(extras, "find_spec", refuse)
    with pytest.raises(extras.MissingExtra, match=r"traces need packages|testcast\[traces\]") as missing:
        extras.require("traces", "TESTCAST_OTLP_ENDPOINT")
    assert missing.value.extra == "traces"
