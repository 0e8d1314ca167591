"""The house rules that a test can check: who imports whom, who reads the environment, what the pages say."""

from __future__ import annotations

import ast
import re
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


@pytest.mark.parametrize("path", sorted((ROOT / "broker" / "contract").glob("*.py")), ids=lambda path: path.stem)
def test_the_contract_stays_pure(path: Path) -> None:
    found = imported(path)
    impure = {"asyncio", "time", "datetime", "random", "secrets", "socket", "os", "threading", "subprocess", "logging"}
    assert not found & impure, found
    ours = {name for name in found if name.split(".")[0] in PACKAGES}
    assert {name for name in ours if not name.startswith("broker.contract")} == set()


def test_pure_modules_of_the_edge_stay_pure() -> None:
    for name in ("fanout/throttle", "encoding/websocket", "transport/handshake"):
        found = imported(ROOT / "ws_edge" / f"{name}.py")
        assert not found & {"asyncio", "random", "socket", "os", "time"}, (name, found)


NATS_WORDS = re.compile(
    r"\bNats-[A-Z]|\bKV-[A-Z]|\$JS\b|\$KV\b|[+-](?:ACK|NAK|TERM|WPI)\b|^\s*(?:import|from) nats\b", re.MULTILINE
)


def test_nats_stays_in_its_room() -> None:
    """Headers, subjects and acknowledgements of JetStream, and nats-py, are known to broker/jetstream only."""
    for _, path in modules():
        where = path.relative_to(ROOT).as_posix()
        if not where.startswith("broker/jetstream/"):
            assert NATS_WORDS.findall(path.read_text()) == [], where


@pytest.mark.parametrize(
    "line",
    [
        'message.header(b"Nats-Sequence")',
        'entry.header("KV-Operation")',
        'f"$JS.API.{name}"',
        'f"$KV.{bucket}"',
        'b"+TERM"',
        "from nats.aio.client import Client",
        "    import nats",
    ],
)
def test_words_of_nats_are_found(line: str) -> None:
    assert NATS_WORDS.search(f"import asyncio\n{line}\n")


def test_files_stay_readable() -> None:
    for _, path in modules():
        assert len(path.read_text().splitlines()) <= 500, f"{path.relative_to(ROOT)}: are there two things in it?"
