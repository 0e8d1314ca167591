"""The dashboard's files in one: what an exported page needs of them, inline.

An exported page runs the very modules of a run's own page. They are not changed except for their imports: a module at a
`data:` address has nothing to be relative to, so each import names a module by a bare name, and an import map leads
from there to the module. All of it is made once in a process.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import html
import re
from pathlib import Path
from typing import Final

import orjson

from broker.export.comments import without_comments
from broker.export.page import Assets

DIRECTORY: Final = Path(__file__).resolve().parents[2] / "dashboard_ui"
RUN_PAGE: Final = "run.html"
"""Its style sheets are those of an exported page, with those that its modules load later."""
LATER_SHEETS: Final = ("view/report/report.css",)
ENTRY: Final = "view/exported.js"
_NAME: Final = "testcast/"
"""Modules are called so, followed by their path."""
_IMPORT: Final = re.compile(rb"""((?:\bfrom|\bimport)\s*\(?\s*)"(\.{1,2}/[^"]+\.js)\"""")
_STYLE_SHEET: Final = re.compile(rb'<link rel="stylesheet" href="/([^"]+)"')
_MODULE_MEDIA_TYPE: Final = "data:text/javascript;charset=utf-8;base64,"


@functools.cache
def assets(directory: Path = DIRECTORY) -> Assets:
    """Reads the dashboard. A process does it once.

    Raises:
        OSError: a file of the dashboard is missing: the installation is not whole.
    """
    sheets = [match.decode() for match in _STYLE_SHEET.findall((directory / RUN_PAGE).read_bytes())]
    sheets += LATER_SHEETS
    style = b"\n".join(without_comments((directory / sheet).read_bytes()) for sheet in sheets)
    imports = {_NAME + path: _MODULE_MEDIA_TYPE + _base64(source) for path, source in modules(directory).items()}
    import_map = orjson.dumps({"imports": imports})
    script = f'import "{_NAME}{ENTRY}";'.encode()
    icon = "data:image/svg+xml;base64," + _base64((directory / "favicon.svg").read_bytes())
    return Assets(style, import_map, script, icon, _policy(style, import_map, script))


def modules(directory: Path, entry: str = ENTRY) -> dict[str, bytes]:
    """A module and all that it imports, by path, with imports by bare names.

    Raises:
        OSError: a module is missing.
    """
    found: dict[str, bytes] = {}
    waiting = [entry]
    while waiting:
        path = waiting.pop()
        if path in found:
            continue

        def named(match: re.Match[bytes], path: str = path) -> bytes:
            target = _joined(path, match[2].decode())
            waiting.append(target)
            return match[1] + f'"{_NAME}{target}"'.encode()

        found[path] = _IMPORT.sub(named, without_comments((directory / path).read_bytes()))
    return dict(sorted(found.items()))


def _joined(path: str, relative: str) -> str:
    parts = path.split("/")[:-1]
    for part in relative.split("/"):
        if part == "..":
            parts.pop()
        elif part != ".":
            parts.append(part)
    return "/".join(parts)


def _policy(style: bytes, *scripts: bytes) -> str:
    hashes = " ".join(map(_hash, scripts))
    return html.escape(
        f"default-src 'none'; script-src {hashes} data:; style-src {_hash(style)}; img-src data: blob:; "
        "base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
        quote=False,
    )


def _hash(inline: bytes) -> str:
    return f"'sha256-{_base64(hashlib.sha256(inline).digest())}'"


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")
