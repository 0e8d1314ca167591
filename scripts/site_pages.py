"""The pages of the site: which file of the repository becomes which page, and where its links lead there. Pure."""

import re
from collections.abc import Callable, Mapping, Sequence
from posixpath import dirname, join, normpath, relpath
from typing import Any, Final

README_SECTIONS: Final = {"running-it-for-others": "reference/settings.md", "limits": "reference/limits.md"}
"""The README is for those who meet the repository; on the site its sections are pages."""
MADE: Final = {"testcast/__init__.py": "reference/python.md", "testcast/cli/main.py": "reference/command.md"}
"""Files whose page on the site is made from their docstrings."""
_FENCE: Final = re.compile(r"^ {0,12}(```+|~~~+)")
_CODE: Final = re.compile(r"(`+)(?!`).*?(?<!`)\1(?!`)")
_LINK: Final = re.compile(r"\]\(([^)\s]+)\)")
_RAW: Final = (".png", ".svg", ".jpg", ".gif", ".webp", ".json", ".html")
"""What a browser shows by itself: copied as it is."""
_LANGUAGES: Final = {
    ".py": "python",
    ".js": "javascript",
    ".mjs": "javascript",
    ".ts": "typescript",
    ".go": "go",
    ".sh": "bash",
    ".toml": "toml",
    ".yaml": "yaml",
    ".yml": "yaml",
    ".conf": "nginx",
}


def staged(path: str) -> str:
    """Where a file of the repository stands among the site's pages, by its path.

    Pages of `docs/` stand at the top, and so does the protocol; others where they are, in lower case. Any other file
    has a page below `source/`, unless a browser shows it by itself.
    """
    if path in MADE:
        return MADE[path]
    if path.startswith("reference/"):
        return path
    if path == "README.md":
        return "index.md"
    if path.startswith("docs/"):
        inside = path.removeprefix("docs/")
        if inside.endswith((".md", *_RAW)):
            return inside
    if path == "broker/PROTOCOL.md":
        return "protocol.md"
    if path.endswith("/README.md"):
        return f"{path.removesuffix('/README.md').lower()}.md"
    if path.endswith(".md"):
        return path.lower()
    return f"source/{path}" if path.endswith(_RAW) else f"source/{path}.md"


def links(text: str) -> list[str]:
    """The targets of a page's links, also of its pictures; what stands in code is none."""
    return [found[1] for line in _prose_lines(text) for found in _LINK.finditer(_without_code(line))]


def local(link: str, path: str) -> str | None:
    """The file that a link of the page `path` names, as a path of the repository. None: it leads elsewhere."""
    target = link.partition("#")[0]
    if re.match(r"[a-z][a-z+.-]*:", link) or not target:
        return None
    return normpath(join(dirname(path), target))


def page(path: str, text: str, is_file: Callable[[str], bool], at: str = "") -> str:
    """The text of a page of the repository as it stands on the site: with links that lead to other pages of the site.

    Args:
        path: the page, as a path of the repository.
        is_file: whether the repository has a file of that path; a link to anything else becomes its text.
        at: where the text stands among the site's pages, if it is only a part of that page.
    """
    here = at or staged(path)

    def moved(found: re.Match[str]) -> str:
        link = found[1]
        target = path if at and link.startswith("#") else local(link, path)
        if target is None or not (is_file(target) or target in MADE.values()):
            return found[0]
        anchor = link.partition("#")[2]
        there, section = staged(target), f"#{anchor}" if anchor else ""
        if target == "README.md":
            there, section = README_SECTIONS.get(anchor, there), ""
        elif not target.endswith(".md"):
            section = ""
        return f"]({relpath(there, dirname(here) or '.')}{section})"

    lines: list[str] = []
    prose = iter(_marked(text))
    for line, is_prose in prose:
        lines.append(
            _outside_code(line, lambda part: _LINK.sub(moved, _unlinked(part, path, is_file))) if is_prose else line
        )
    return "\n".join(lines) + "\n"


def source(path: str, text: str) -> str:
    """A page that shows a file of the repository. The search does not find it: it is a file, and no text about one."""
    language = _LANGUAGES.get(path[path.rfind(".") :], "text")
    fence = "`" * (max((len(run) for run in re.findall(r"`{3,}", text)), default=2) + 1)
    return f"---\nsearch:\n  exclude: true\n---\n\n# {path}\n\n{fence}{language}\n{text.rstrip()}\n{fence}\n"


def section(text: str, title: str) -> str:
    """What stands in a page below one of its headings of the second level, without the heading.

    Raises:
        ValueError: there is no such heading.
    """
    found = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    if found is None:
        raise ValueError(f"no section {title!r}")
    return found[1].strip() + "\n"


def navigation(sections: Sequence[Mapping[str, Any]], exists: Callable[[str], bool]) -> tuple[str, list[str]]:
    """The navigation as a line of TOML, and the pages in it as paths of the repository; none that does not exist."""
    entries: list[str] = []
    used: list[str] = []
    for each in sections:
        pages = [(title, f"{name}.md") for title, name in each["pages"] if exists(f"{name}.md")]
        used += [path for _, path in pages]
        inside = ", ".join(f'{{ "{title}" = "{staged(path)}" }}' for title, path in pages)
        entries.append(f'{{ "{each["title"]}" = [{inside}] }}')
    return f"nav = [{', '.join(entries)}]", used


def _unlinked(part: str, path: str, is_file: Callable[[str], bool]) -> str:
    """Links to folders and to what is not there become their texts."""

    def text_of(found: re.Match[str]) -> str:
        target = local(found[2], path)
        holds = target is None or is_file(target) or target in MADE.values()
        return found[0] if holds else found[1]

    return re.sub(r"(?<!!)\[([^\[\]]*)\]\(([^)\s]+)\)", text_of, part)


def _marked(text: str) -> list[tuple[str, bool]]:
    """Every line, and whether it is prose and not within a block of code."""
    marked: list[tuple[str, bool]] = []
    fence = ""
    for line in text.splitlines():
        found = _FENCE.match(line)
        if fence:
            marked.append((line, False))
            if found and found[1].startswith(fence):
                fence = ""
        elif found:
            fence = found[1]
            marked.append((line, False))
        else:
            marked.append((line, True))
    return marked


def _prose_lines(text: str) -> list[str]:
    return [line for line, is_prose in _marked(text) if is_prose]


def _without_code(line: str) -> str:
    return _CODE.sub("", line)


def _outside_code(line: str, change: Callable[[str], str]) -> str:
    """Changes a line with its spans of code taken out meanwhile: the text of a link may hold one."""
    spans: list[str] = []

    def out(found: re.Match[str]) -> str:
        spans.append(found[0])
        return f"\0{len(spans) - 1}\0"

    changed = change(_CODE.sub(out, line))
    return re.sub(r"\0(\d+)\0", lambda found: spans[int(found[1])], changed)
