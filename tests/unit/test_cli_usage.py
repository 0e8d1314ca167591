"""Wrong usage is reported in a sentence with exit status 2, before any connection. Help and version."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest

from testcast.cli import main as cli

NO_SUCH_TEST = "4f9c2d3e-8a51-4c0b-9d57-2f1f6f0a7b11"
Typed = Callable[..., tuple[int, str, str]]


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Typed:
    """Runs a command line in this process: exit status, standard output, standard error."""

    def run(*argv: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["/some/package/__main__.py", *argv])
        monkeypatch.setenv("COLUMNS", "200")
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert isinstance(ended.value.code, int)
        return ended.value.code, *capsys.readouterr()

    return run


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["tail", "nonsense"], "is not a test id"),
        (["tail", NO_SUCH_TEST.upper()], "is not a test id"),
        (["tail", NO_SUCH_TEST, "--after", "-1"], "--after"),
        (["tail", NO_SUCH_TEST, "--type", "weather"], "weather"),
        (["tail", "http://127.0.0.1:1/other"], "not a page of the dashboard"),
        (["tail", "http://127.0.0.1:1/", "--after", "3"], "needs a test id"),
        (["tail", "--edge", "http://127.0.0.1:1", "--nats", "nats://127.0.0.1:1"], "only one of them"),
        (["tail", "--nats", "127.0.0.1"], "no address like"),
        (["submit", "ftp://game.example/"], "Only http and https"),
        (["submit", "javascript:alert(1)"], ""),
        (["submit", "http://10.0.0.1/"], "private address"),
        (["submit", "http://localhost/", "--budget", "1"], ""),
        (["frobnicate"], "No such command"),
        ([], "Usage"),
        (["demo", "--port", "0"], "--port"),
        (["edge", "--nats", "x"], "TESTCAST_NATS_URL"),
    ],
)
def test_wrong_usage_is_2_and_says_what_is_wrong(typed: Typed, argv: list[str], words: str) -> None:
    code, out, err = typed(*argv)
    assert (code, out) == (2, "")
    assert words in err
    assert "Traceback" not in err


@pytest.mark.parametrize("command", ["demo", "up", "broker", "edge", "agent", "submit", "list", "tail", "doctor"])
def test_every_command_explains_itself(typed: Typed, command: str) -> None:
    code, out, err = typed(command, "--help")
    assert (code, err) == (0, "")
    assert out.startswith(f"Usage: testcast {command}")
    assert command in typed("--help")[1]


def test_the_program_is_called_testcast_however_it_is_started() -> None:
    command = [sys.executable, "-m", "testcast", "tail", "--help"]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert out.startswith("Usage: testcast tail ")


def test_the_version_is_told(typed: Typed) -> None:
    assert typed("--version")[1].startswith("testcast, version ")


@pytest.mark.parametrize(
    ("variable", "value"), [("TESTCAST_NATS_URL", "here"), ("TESTCAST_AGENT_ALLOW_PRIVATE", "maybe")]
)
def test_a_wrong_setting_is_named(typed: Typed, monkeypatch: pytest.MonkeyPatch, variable: str, value: str) -> None:
    monkeypatch.setenv(variable, value)
    code, _, err = typed("submit", "http://game.invalid/")
    assert code == 2
    assert f"{variable}: '{value}'" in err
