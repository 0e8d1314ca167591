"""Wrong usage is reported in a sentence with exit status 2, before any connection. Help and version."""

from __future__ import annotations

import os
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
        (["show", "nonsense"], "is not a test id"),
        (["cancel", "all"], "names no run"),
        (["delete", "all"], "names no run"),
        (["pin", "nonsense"], "is not a test id"),
        (["unpin", "--edge", "http://127.0.0.1:1", "--nats", "nats://127.0.0.1:1", "last"], "only one of them"),
        (["list", "--since", "teatime"], "no moment"),
        (["broker", "--route", "a"], "--route, --init-only and --print belong to --secure"),
        (["broker", "--secure", "--name", "a", "--route", "a"], "--route belongs to --init-only"),
        (["broker", "--secure", "--init-only", "--route", "a"], "with a --name of each server"),
        (["list", "--status", "stuck"], "stuck"),
        (["tail", NO_SUCH_TEST, "--after", "-1"], "--after"),
        (["tail", NO_SUCH_TEST, "--type", "weather"], "weather"),
        (["tail", "http://127.0.0.1:1/tests/"], "not a page of the dashboard"),
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


COMMANDS = (
    *("demo", "up", "broker", "edge", "agent", "top", "doctor", "completion"),
    *("submit", "list", "tail", "show", "open", "cancel", "rerun", "share", "pin", "unpin", "delete"),
)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(typed: Typed, command: str) -> None:
    code, out, err = typed(command, "--help")
    assert (code, err) == (0, "")
    assert out.startswith(f"Usage: testcast {command}")
    assert command in typed("--help")[1]


def test_the_program_is_called_testcast_however_it_is_started() -> None:
    command = [sys.executable, "-m", "testcast", "tail", "--help"]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert out.startswith("Usage: testcast tail ")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_gets_its_completion(typed: Typed, shell: str) -> None:
    code, out, _ = typed("completion", shell)
    assert code == 0
    assert "_TESTCAST_COMPLETE" in out


def test_the_shell_completes_commands_and_options() -> None:
    words = {"COMP_WORDS": "testcast list --st", "COMP_CWORD": "2", "_TESTCAST_COMPLETE": "bash_complete"}
    command = [sys.executable, "-m", "testcast"]
    out = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ | words).stdout
    assert out.split() == ["plain,--status"]


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
