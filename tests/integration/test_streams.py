"""The command's exit status is the run's, whatever its standard output is and can say."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from broker.jetstream.api import Streams
from tests.conftest import Stack
from tests.harness import begin, publish


def ran(shell: str, *argv: str, **settings: str) -> subprocess.CompletedProcess[bytes]:
    """What a command did; `shell` is what a shell adds to it, such as a redirection."""
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith(("TESTCAST_", "PYTHON", "LC_"))
    }
    line = f'exec "$0" -m testcast "$@" {shell}'
    return subprocess.run(
        ["sh", "-c", line, sys.executable, *argv], env=inherited | settings, capture_output=True, timeout=60
    )


async def ended(streams: Streams) -> str:
    """A run that has failed, with what other encodings cannot say in its title and its feed."""
    test_id = await begin(streams, "Größe ✓ 日本 🎮")
    await publish(streams, test_id, "Schlüssel → 日本 🎮")
    await publish(streams, test_id, "verloren …", "error", status="failed")
    return test_id


ENCODINGS = [
    {"PYTHONIOENCODING": "cp1252"},
    {"PYTHONIOENCODING": "ascii"},
    {"PYTHONIOENCODING": "ascii:strict"},
    {"PYTHONIOENCODING": "latin-1", "COLUMNS": "7"},
    {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    {"LANG": "C", "COLUMNS": "1", "LINES": "1"},
]


@pytest.mark.parametrize("settings", ENCODINGS, ids=lambda each: " ".join(each.values()))
async def test_an_encoding_does_not_change_the_status(
    settings: dict[str, str], stack: Stack, stack_streams: Streams
) -> None:
    test_id = await ended(stack_streams)
    server = ("--edge", stack.edge_url)
    tail = ran("", "tail", test_id, *server, **settings)
    assert (tail.returncode, b"Traceback" in tail.stderr) == (1, False), tail.stderr
    assert b"Schl" in tail.stdout and b"verloren" in tail.stdout


@pytest.mark.parametrize(
    ("shell", "status", "options"),
    [
        (">&-", 1, ()),
        ("<&- >&- 2>&-", 1, ("--json",)),
        ("2>&-", 1, ()),
        (">/dev/full", 3, ()),
        (">/dev/full", 3, ("--json",)),
    ],
)
async def test_a_closed_or_a_full_output(
    shell: str, status: int, options: tuple[str, ...], stack: Stack, stack_streams: Streams
) -> None:
    test_id = await ended(stack_streams)
    done = ran(shell, "tail", test_id, "--nats", stack.nats_url, *options)
    assert (done.returncode, b"Traceback" in done.stderr) == (status, False), done.stderr
    if status == 3:
        assert b"the output cannot be written: No space left" in done.stderr


async def test_an_argument_is_read_as_utf_8_whatever_the_locale(stack: Stack) -> None:
    settings = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    submitted = ran("", "submit", "http://127.0.0.1:9/", "--title", "Größe", "--edge", stack.edge_url, **settings)
    assert submitted.returncode == 0, submitted.stderr
    listed = ran("", "list", "--edge", stack.edge_url, "--json")
    assert "Größe" in listed.stdout.decode()


@pytest.mark.parametrize("argv", [["submit", "http://game.example/", "--title"], []])
def test_an_argument_that_is_no_text_is_wrong_usage(argv: list[str], tmp_path: Path) -> None:
    line = 'exec "$0" -m testcast "$@" "$(printf "\\377")"'
    done = subprocess.run(["sh", "-c", line, sys.executable, *argv], capture_output=True, cwd=tmp_path)
    assert (done.returncode, b"not UTF-8" in done.stderr, b"Traceback" in done.stderr) == (2, True, False)
