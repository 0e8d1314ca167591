"""The house rules that a test can check: who imports whom, who reads the environment, what the pages say."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("broker", "agent_worker", "ws_edge", "testcast")
MAY_IMPORT = {
    "broker": set(),
    "agent_worker": {"broker"},
    "ws_edge": {"broker"},
    "testcast": {"broker", "agent_worker"},
}


def modules() -> Iterator[tuple[str, Path]]:
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            yield package, path


def imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names.add(node.module)
    return names


@pytest.mark.parametrize("package", PACKAGES)
def test_who_imports_whom(package: str) -> None:
    for owner, path in modules():
        if owner != package or path.name == "doctor.py":  # the doctor looks into every room
            continue
        ours = {name.split(".")[0] for name in imported(path)} & set(PACKAGES) - {package}
        assert ours <= MAY_IMPORT[package], f"{path.relative_to(ROOT)} imports {ours - MAY_IMPORT[package]}"


def test_testcast_needs_only_the_run_of_an_agent() -> None:
    for owner, path in modules():
        if owner == "testcast" and path.name != "doctor.py":
            agent = {name for name in imported(path) if name.startswith("agent_worker")}
            assert agent <= {"agent_worker.publish.run"}, f"{path.name}: {agent}"


def test_publish_and_work_know_no_game() -> None:
    """`agent_worker/publish` and `work` serve an agent of any kind; `publish` does not know the queue either."""
    room = ROOT / "agent_worker"
    for path in sorted([*(room / "publish").rglob("*.py"), *(room / "work").rglob("*.py")]):
        where = path.relative_to(ROOT).as_posix()
        names = imported(path)
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module:
                assert node.level == 0, f"{where}: a relative import"
                names |= {f"{node.module}.{alias.name}" for alias in node.names}
        barred = ["agent_worker.games", "broker.contract.url_policy", "playwright", "PIL", "h11"]
        barred += ["agent_worker.work"] if "/publish/" in where else []
        found = {name for name in names for each in barred if f"{name}.".startswith(f"{each}.")}
        assert not found, f"{where} imports {found}"


@pytest.mark.parametrize(
    ("library", "home"),
    [("nats", "broker/jetstream/client.py"), ("playwright", "agent_worker/games/browser.py"), ("uvicorn", "ws_edge")],
)
def test_one_file_knows_a_library(library: str, home: str) -> None:
    for _, path in modules():
        where = path.relative_to(ROOT).as_posix()
        if library in {name.split(".")[0] for name in imported(path)}:
            assert where.startswith(home), f"{where} imports {library}"


def test_only_config_reads_the_environment() -> None:
    for _, path in modules():
        if path.name == "config.py":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            reads = isinstance(node, ast.Attribute) and node.attr == "getenv"
            assert not reads, f"{path.relative_to(ROOT)} reads the environment"


@pytest.mark.parametrize("name", ["subjects", "events", "snapshot", "position", "errors", "url_policy"])
def test_pure_modules_of_the_broker_stay_pure(name: str) -> None:
    found = imported(ROOT / "broker" / "contract" / f"{name}.py")
    assert not found & {"asyncio", "random", "socket", "os", "threading", "subprocess"}, found


def test_pure_modules_of_the_edge_stay_pure() -> None:
    for name in ("fanout/throttle", "encoding/websocket", "transport/handshake"):
        found = imported(ROOT / "ws_edge" / f"{name}.py")
        assert not found & {"asyncio", "random", "socket", "os", "time"}, (name, found)


def test_files_stay_readable() -> None:
    for _, path in modules():
        assert len(path.read_text().splitlines()) <= 500, f"{path.relative_to(ROOT)}: are there two things in it?"
