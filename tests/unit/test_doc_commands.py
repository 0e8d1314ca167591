"""What the pages show can be typed: each command parses, each example in Python or Go compiles."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

from testcast.cli.main import cli

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
_BLOCK = re.compile(r"^( *)```(\w+)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
_ENDS = {"|", "||", "&&", ";", "&", ">", ">>", "<", "2>", "2>&1"}


def blocks(page: Path, *languages: str) -> list[str]:
    """The blocks of code of a page in one of the languages, without their indentation."""
    found = _BLOCK.findall(page.read_text(encoding="utf-8"))
    return [re.sub(rf"^{indent}", "", text, flags=re.MULTILINE) for indent, kind, text in found if kind in languages]


def commands(page: Path) -> list[str]:
    """The lines of a page's shell blocks that call `testcast`, continued lines joined."""
    lines = "\n".join(blocks(page, "sh", "bash", "console")).replace("\\\n", " ").splitlines()
    return [line for line in lines if re.match(r"(?:\$ )?(?:\w+=\S+ +)*(?:\.venv/bin/)?testcast ", line)]


def words(line: str) -> list[str]:
    """The arguments of `testcast` in a line of a shell, up to a pipe or the end of the command."""
    split = shlex.split(line, comments=True)
    given = split[next(at for at, word in enumerate(split) if word.endswith("testcast")) + 1 :]
    end = next((at for at, word in enumerate(given) if word in _ENDS), len(given))
    return [word.replace("…", "") for word in given[:end]]


def parse(given: list[str]) -> None:
    """Parses arguments as the command does, and runs nothing.

    Raises:
        click.UsageError: there is no such command or option, or an argument is missing.
    """
    command: click.Command = cli
    name = "testcast"
    while isinstance(command, click.Group) and given and given[0] in command.commands:
        command, name, given = command.commands[given[0]], given[0], given[1:]
    with command.make_context(name, list(given)):
        assert not isinstance(command, click.Group), f"{name}: no such command: {given}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_of_a_page_parses(page: Path) -> None:
    wrong: list[str] = []
    for line in commands(page):
        try:
            parse(words(line))
        except click.UsageError as error:
            wrong.append(f"{line.strip()}: {error.format_message()}")
    assert wrong == []


def test_the_pages_show_commands() -> None:
    assert sum(len(commands(page)) for page in PAGES) > 40


@pytest.mark.parametrize(
    "line", ["testcast submti x", "testcast list --lable a=b", "testcast export", "testcast tail a b"]
)
def test_a_command_that_is_wrong_is_found(line: str) -> None:
    with pytest.raises((click.UsageError, AssertionError)):
        parse(words(line))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_example_in_python_compiles(page: Path) -> None:
    for text in blocks(page, "python", "py"):
        compile(text, str(page), "exec", flags=0x2000, dont_inherit=True)  # ast.PyCF_ALLOW_TOP_LEVEL_AWAIT


@pytest.mark.parametrize("page", ["docs/go.md", "clients/go/README.md"])
def test_every_example_in_go_stands_in_the_file_that_go_compiles(page: str) -> None:
    compiled = (ROOT / "clients" / "go" / "example_test.go").read_text(encoding="utf-8")
    shown = blocks(ROOT / page, "go")
    assert shown and [code for code in shown if code not in compiled] == []
