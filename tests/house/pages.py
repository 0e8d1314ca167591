"""House rules about what people read: pages, docstrings and comments.

The rules take texts and never read a file, so that a test can hand them a broken example.
"""

from __future__ import annotations

import io
import posixpath
import re
import tokenize
from collections.abc import Mapping
from functools import lru_cache
from typing import Final

from tests.house.code import docstrings


class Tree:
    """The files of the repository.

    Args:
        texts: path -> text of every file; empty where a file is not text.
    """

    def __init__(self, texts: Mapping[str, str]) -> None:
        self.texts = texts
        parts = [path.split("/") for path in texts]
        self._ends = frozenset("/".join(each[at:]) for each in parts for at in range(len(each)))
        folders = [each[:-1] for each in parts]
        self._folders = frozenset("/".join(each[:to]) for each in folders for to in range(1, len(each) + 1))
        self._folder_ends = frozenset(
            "/".join(each[at:to]) for each in folders for to in range(1, len(each) + 1) for at in range(to)
        )

    def has(self, ref: str, beside: str = "") -> bool:
        """A path, the end of one, or one relative to the file `beside`."""
        return ref in self._ends or _from(beside, ref) in self.texts

    def has_folder(self, ref: str, beside: str = "") -> bool:
        """The same for a folder."""
        return ref.rstrip("/") in self._folder_ends or _from(beside, ref) in self._folders

    def is_folder(self, path: str) -> bool:
        """A folder, by its whole path."""
        return path in self._folders


def _from(beside: str, ref: str) -> str:
    return posixpath.normpath(posixpath.join(posixpath.dirname(beside), ref))


_UNSHIPPED: Final = re.compile(r"\b(?:DESIGN|FACTS|SEED|CASES|STYLE|FIELD)\b|\bADR-\d+|\b[Tt]he seed's\b")
_COMMENT: Final = re.compile(r"/\*.*?\*/|(?<![:'\"\w])//[^\n]*", re.DOTALL)
_LINK: Final = re.compile(r"\[[^\]\n]*\]\(([^)\s]+)\)")
_ENDINGS: Final = r"(?:py|pyi|js|mjs|ts|md|toml|ya?ml|lock|c|h|css|html|sh)"
_PATH: Final = re.compile(rf"(?<![\w/.:@~>$}}-])((?:\.\.?/)*(?:[\w.-]+/)+[\w.-]*\w\.{_ENDINGS})\b(?![\w/-])")
_NAME: Final = re.compile(r"(?<![\w/.:@~>*$}-])(\w[\w-]*(?:\.[\w-]+)*\.(?:py|md|mjs|toml|ya?ml|lock))\b(?![\w/(.-])")
_FOLDER: Final = re.compile(r"`((?:[\w.-]+/)+)`")
_DOTTED: Final = re.compile(
    r"(?<![\w./-])(?!testcast\.v\d+\b)((?:broker|agent_worker|ws_edge|testcast|tests)(?:\.[a-zA-Z_]\w*)+)(?![\w/-])"
)
"""A module by its name. `testcast.v1` names the subprotocol of the socket."""
_GO: Final = re.compile(r"^```go$.*?^```$", re.DOTALL | re.MULTILINE)
"""Code in Go: its package `testcast` is no module of Python."""
_MADE: Final = (".venv/", "node_modules/", "dist/")
"""Folders that are made, not kept."""


@lru_cache(maxsize=1000)
def prose(path: str, source: str) -> str:
    """What a person reads in a file: comments and docstrings of code, all of a page."""
    if path.endswith(".py"):
        tokens = tokenize.generate_tokens(io.StringIO(source).readline) if "#" in source else ()
        comments = [token.string for token in tokens if token.type == tokenize.COMMENT]
        return "\n".join([*(str(each.value) for each in docstrings(source)), *comments])
    if path.endswith((".js", ".mjs", ".ts", ".c", ".h", ".css")):
        return "\n".join(_COMMENT.findall(source))
    return source


def unshipped_documents(path: str, source: str) -> list[str]:
    """No file points at a document that is not in the repository."""
    lines = enumerate(source.splitlines(), 1)
    return [f"line {number}: {found.group()}" for number, line in lines for found in _UNSHIPPED.finditer(line)]


def dangling_references(path: str, source: str, tree: Tree) -> list[str]:
    """Links, paths, file names, folders and modules that a text names exist.

    A path may be relative to the repository, to the file, or be the end of a path (`fanout/topic.py`).
    The tables of the trial's games name files of these games.
    """
    if path.startswith("tests/trial/games/"):
        return []
    text = prose(path, source)
    broken: list[str] = []
    if path.endswith(".md"):
        broken += [link for link in _LINK.findall(text) if not _link_holds(link, path, tree)]
        text = _GO.sub("", _LINK.sub("", text))
        broken += [
            folder for folder in _FOLDER.findall(text) if not _made(folder) and not tree.has_folder(folder, path)
        ]
    broken += [ref for ref in _PATH.findall(text) if not _made(ref) and not tree.has(ref, path)]
    broken += [name for name in _NAME.findall(text) if not tree.has(name, path)]
    dotted = [name for name in _DOTTED.findall(text) if not tree.has(name, path)]  # `testcast.js` is a file
    broken += [name for name in dotted if not _module_exists(name, tree)]
    return list(dict.fromkeys(broken))


def _made(ref: str) -> bool:
    return any(folder in ref for folder in _MADE)


def _link_holds(link: str, path: str, tree: Tree) -> bool:
    if re.match(r"[a-z]+:", link):
        return True
    ref, _, anchor = link.partition("#")
    target = _from(path, ref) if ref else path
    if target not in tree.texts:
        return tree.is_folder(target)
    return not anchor or not target.endswith(".md") or anchor in _anchors(tree.texts[target])


def _anchors(page: str) -> set[str]:
    headings = re.findall(r"^#+ +(.*?) *$", page, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def _module_exists(name: str, tree: Tree) -> bool:
    parts = name.split(".")
    for count in range(1, len(parts) + 1):
        base = "/".join(parts[:count])
        if f"{base}.py" in tree.texts:
            return True  # what follows is in the module
        if not tree.is_folder(base):
            package = "/".join([*parts[: count - 1], "__init__.py"])
            return re.search(rf"\b{parts[count - 1]}\b", tree.texts.get(package, "")) is not None
    return True
