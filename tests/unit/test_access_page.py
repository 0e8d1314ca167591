"""docs/access.md stays true: its commands are run, its token is accepted, and its words are those of the code."""

from __future__ import annotations

import json
import re
import shlex
import sys
from pathlib import Path

import click
import pytest

from broker.contract import access, tokens
from broker.known_settings import NAMES
from testcast.cli.main import cli
from testcast.local import access_files

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "access.md").read_text()
LINES = [line for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()]
COMMANDS = [shlex.split(line)[1:] for line in LINES if line.startswith("testcast ")]


@pytest.mark.parametrize("argv", COMMANDS, ids=" ".join)
def test_the_commands_exist_with_their_options(
    argv: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TESTCAST_TOKEN_FILE", "")  # which --token-file sets
    command = cli.get_command(click.Context(cli), argv[0])
    assert command is not None
    command.make_context(argv[0], argv[1:])


def test_the_commands_about_tokens_work_in_this_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TESTCAST_STATE_DIR", str(tmp_path))
    ours = [argv for argv in COMMANDS if argv[0] == "token"]
    assert [argv[1] for argv in ours] == ["init", "issue", "issue", "inspect"]
    for argv in ours:
        monkeypatch.setattr(sys, "argv", ["testcast", *argv])
        assert cli.main(argv, standalone_mode=False) == 0
    assert "list, watch, submit in red, blue" in capsys.readouterr().out


def test_the_example_is_accepted() -> None:
    [example] = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)
    claims = json.loads(example)
    assert tokens.problems(claims, "testcast", "testcast", 1_800_000_000) == []
    table = PAGE[PAGE.index("| claim") : PAGE.index("The header")]
    assert set(claims) | {"nbf", "iat"} == set(re.findall(r"`([a-z]+)`", table))


def test_its_words_are_those_of_the_code() -> None:
    assert re.findall(r"^\| `(\w+)` \| to ", PAGE, re.MULTILINE) == list(access.ACTIONS)
    files = (access_files.KEYS, access_files.SIGNING_KEY, access_files.SESSION_KEY, access_files.TOKEN)
    assert tuple(re.findall(r"^\| `([\w.-]+)` \| [a-z ]+", PAGE[: PAGE.index("## A token")], re.MULTILINE)) == files
    assert set(re.findall(r"TESTCAST_\w+", PAGE)) <= NAMES
    for each in (*tokens.TYPES, *access.PUBLIC_KEY_ALGORITHMS, access.SECRET_ALGORITHM):
        assert f"`{each}`" in PAGE
