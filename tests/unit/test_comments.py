"""The dashboard's files without their comments do what they do with them."""

from __future__ import annotations

from pathlib import Path

import pytest

from broker.export.comments import _WHOLE_LINES, without_comments
from tests.unit.test_dashboard_js import run_node

UI = Path(__file__).parents[2] / "dashboard_ui"
FILES = sorted(path.relative_to(UI).as_posix() for path in UI.rglob("*") if path.suffix in (".js", ".css"))


@pytest.mark.parametrize(
    ("source", "served"),
    [
        (b"/** one */\na;\n", b"\na;\n"),
        (b"a;\n  /**\n   * two */ \nb;", b"a;\n\n\nb;"),
        (b"// three\na; // goes\n", b"\na;\n"),
        (b"f(a, // it goes\n  b); // 'stays'\n", b"f(a,\nb); // 'stays'\n"),
        (b"a = '; // stays';\nb = /x; \\/\\/ y/;\n", b"a = '; // stays';\nb = /x; \\/\\/ y/;\n"),
        (b"a = /** @type {B<C>} */ (c);\n", b"a = (c);\n"),
        (b"a = 'http://x';\nb = `/* stays */`;\n", b"a = 'http://x';\nb = `/* stays */`;\n"),
        (b"x /* stays */ y\n", b"x /* stays */ y\n"),
        (b"/* a */ b();\n/* c */\n", b"/* a */ b();\n\n"),
        (b"a { /* stays */ }\n/* gone\n */\nb { }", b"a { /* stays */ }\n\n\nb { }"),
        (b"/* never closed\na;", b"/* never closed\na;"),
        (b"a {\n  b: c;\n\n\td }\n", b"a {\nb: c;\n\nd }\n"),
    ],
)
def test_comments_that_have_their_lines_for_themselves(source: bytes, served: bytes) -> None:
    assert without_comments(source) == served


@pytest.mark.parametrize("name", FILES)
def test_no_text_has_several_lines(name: str) -> None:
    """Its lines would lose their indentation."""
    lines = without_comments((UI / name).read_bytes()).split(b"\n")
    for number, line in enumerate(lines, 1):
        assert line.count(b"`") % 2 == 0 and not line.endswith(b"\\"), f"{name}:{number}"


@pytest.mark.parametrize("name", FILES)
def test_nothing_else_is_left_out(name: str) -> None:
    """No comment begins within a text over several lines or a comment, and each that is left out is one comment."""
    source = (UI / name).read_bytes()
    assert without_comments(source).count(b"\n") == source.count(b"\n")
    for found in _WHOLE_LINES.finditer(source):
        comment = found[0].strip()
        before = _WHOLE_LINES.sub(b"", source[: found.start()])
        assert before.count(b"`") % 2 == 0, comment
        assert comment.startswith(b"//") or comment.index(b"*/") == len(comment) - 2, comment


def test_node_reads_every_script(tmp_path: Path) -> None:
    scripts = [name for name in FILES if name.endswith(".js")]
    for name in scripts:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(without_comments((UI / name).read_bytes()))
    (tmp_path / "package.json").write_text('{"type": "module"}')
    loaded = [name for name in scripts if name.startswith("client/")]
    run_node("--input-type=module", "-e", "".join(f"await import('{(tmp_path / name).as_uri()}');" for name in loaded))
