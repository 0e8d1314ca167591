"""Who imports whom inside `testcast/`."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MAY_IMPORT = {
    "client": {"client"},
    "local": {"client", "local"},
    "recording": {"client", "recording"},
    "cli": {"client", "local", "recording", "mcp_server", "cli"},
    "mcp_server": {"client", "cli", "mcp_server"},
}
"""Room -> the rooms that its files may import. `config` and `exit_codes` stand above the rooms."""


def imported(source: str) -> set[str]:
    """Every module, and every name of a module, that a source imports, also inside functions."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def forbidden(room: str, source: str) -> set[str]:
    """The imports of a file in `testcast/<room>/` that reach a room which it may not import."""
    others = set(MAY_IMPORT) - MAY_IMPORT[room]
    parts = {name: name.split(".") for name in imported(source)}
    return {name for name, (top, *rest) in parts.items() if top == "testcast" and set(rest[:1]) & others}


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_testcast_rooms(room: str) -> None:
    """The client knows neither the command nor the local stack, and the local stack does not know the command."""
    paths = list((ROOT / "testcast" / room).rglob("*.py"))
    assert len(paths) > 1
    for path in paths:
        assert not forbidden(room, path.read_text()), path.relative_to(ROOT)


def test_the_client_needs_no_setting_of_the_command() -> None:
    for path in (ROOT / "testcast" / "client").rglob("*.py"):
        assert not {
            name for name in imported(path.read_text()) if name.startswith(("testcast.config", "testcast.exit"))
        }


@pytest.mark.parametrize(
    ("room", "source"),
    [
        ("client", "from testcast.cli.targets import edge_url"),
        ("client", "from testcast import cli"),
        ("client", "def late():\n    import testcast.local.stack"),
        ("local", "from testcast.cli.terminal import Terminal"),
    ],
)
def test_an_import_of_a_wrong_room_is_found(room: str, source: str) -> None:
    assert forbidden(room, source)
    assert not forbidden("cli", source)
