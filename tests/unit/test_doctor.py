"""The doctor on this machine, and with real faults: a taken port, a program that does not run."""

import resource
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from broker.local.embedded_server import EmbeddedServer
from testcast.local import doctor


@pytest.fixture(autouse=True)
def state_in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TESTCAST_STATE_DIR", str(tmp_path / "state"))


@pytest.fixture
def stranger() -> Iterator[int]:
    """A port on which something listens that says nothing and answers nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=refuse_each, args=(server,), daemon=True).start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)  # wakes the thread


def refuse_each(server: socket.socket) -> None:
    try:
        while True:
            server.accept()[0].close()
    except OSError:
        pass


@pytest.fixture
def edge_like() -> Iterator[int]:
    """A port on which somebody answers as an edge does."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/rpc/getConfig" else 404)
            self.end_headers()
            self.wfile.write(b'{"version": "0.1.0"}')

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Answer)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def test_here_everything_but_the_ports_is_well() -> None:
    """Where the tests run, the demo must run too: this is the machine that `make setup` has prepared."""
    findings = doctor.examine()
    assert [each.name for each in findings] == [
        "Python",
        "packages",
        "settings",
        "extra edge",
        "nats-server",
        "browser",
        "port 8000",
        "port 4222",
        "state directory",
        "open files",
    ]
    assert [each for each in findings if not each.ok and not each.name.startswith("port")] == []
    assert [each for each in findings if each.ok == bool(each.remedy)] == []


@pytest.mark.parametrize(("version", "ok"), [((3, 10, 13), False), ((3, 11, 0), True), ((3, 14, 1), True)])
def test_python(version: tuple[int, int, int], ok: bool) -> None:
    assert doctor.python(version).ok is ok


def test_a_package_that_cannot_be_imported_is_named() -> None:
    finding = doctor.packages(["json", "no_such_module_anywhere"])
    assert not finding.ok
    assert "no_such_module_anywhere" in finding.detail
    assert "json" not in finding.detail
    assert finding.remedy == "make setup"


@pytest.mark.parametrize("variable", ["TESTCAST_NATS_URL", "TESTCAST_AGENT_CONCURRENCY", "TESTCAST_EDGE_PORT"])
def test_a_wrong_setting_of_any_part_is_named(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, "nonsense")
    finding = doctor.settings()
    assert not finding.ok
    assert variable in finding.detail


def test_a_nats_server_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NATS_SERVER", "/nowhere/nats-server")
    finding = doctor.nats_server()
    assert not finding.ok
    assert "/nowhere/nats-server" in finding.detail


def test_a_nats_server_that_does_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NATS_SERVER", "false")
    finding = doctor.nats_server()
    assert not finding.ok
    assert "does not run" in finding.detail


def test_a_browser_that_does_not_start(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "chrome"
    program.write_text("#!/bin/sh\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("TESTCAST_AGENT_CHROMIUM", str(program))
    finding = doctor.browser()
    assert not finding.ok
    assert "TESTCAST_AGENT_CHROMIUM" in finding.remedy


def test_a_free_port() -> None:
    port = free_port()
    assert doctor.edge_port(port).ok
    assert doctor.broker_port(port).ok


def test_a_port_that_a_stranger_has(stranger: int) -> None:
    edge, broker = doctor.edge_port(stranger), doctor.broker_port(stranger)
    assert not edge.ok
    assert f"--port {stranger + 1}" in edge.remedy
    assert not broker.ok
    assert "TESTCAST_NATS_URL" in broker.remedy


def test_the_port_of_an_edge_that_runs_already(edge_like: int) -> None:
    finding = doctor.edge_port(edge_like)
    assert finding.ok
    assert "running" in finding.detail


async def test_the_port_of_a_broker_that_runs_already(tmp_path: Path) -> None:
    async with EmbeddedServer(tmp_path / "nats") as server:
        finding = doctor.broker_port(server.port)
        assert finding.ok
        assert "running" in finding.detail
        assert not doctor.edge_port(server.port).ok


def test_a_state_directory_that_cannot_be_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("TESTCAST_STATE_DIR", str(tmp_path / "file" / "state"))
    finding = doctor.state_directory()
    assert not finding.ok
    assert "TESTCAST_STATE_DIR" in finding.remedy


@pytest.mark.parametrize(("limit", "ok"), [(256, False), (1024, True), (resource.RLIM_INFINITY, True)])
def test_open_files(limit: int, ok: bool) -> None:
    assert doctor.open_files(limit).ok is ok
