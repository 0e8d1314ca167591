"""Writes what is generated from the message types: broker/schemas/, and parts of PROTOCOL.md and of the client's types.

`--check` says which of them are not what the code generates, with the exit status 1. `--changes` says what has changed
since the last release, what breaks programs first. `--release` also keeps a copy, to compare later versions with.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any, Final

from broker.version import VERSION
from contract.asyncapi import asyncapi
from contract.changes import compare
from contract.declarations import with_declarations
from contract.documents import all_documents
from contract.openapi import openapi
from contract.tables import with_tables

ROOT: Final = Path(__file__).resolve().parents[1]
PROTOCOL: Final = ROOT / "broker" / "PROTOCOL.md"
TYPES: Final = ROOT / "dashboard_ui" / "client" / "types.d.ts"
RELEASED: Final = ROOT / "tests" / "released"
FOLDER: Final = ROOT / "broker" / "schemas"


def text_of(document: dict[str, Any]) -> str:
    """A document as it stands in its file."""
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def generated() -> dict[Path, str]:
    """Every file that is generated, or in which a part is, with what it should be."""
    documents = all_documents() | {"openapi.json": openapi(), "asyncapi.json": asyncapi()}
    files = {FOLDER / name: text_of(each) for name, each in documents.items()}
    return files | {
        PROTOCOL: with_tables(PROTOCOL.read_text("utf-8")),
        TYPES: with_declarations(TYPES.read_text("utf-8")),
    }


def outdated() -> list[Path]:
    """The files that are not what the code generates."""
    return [path for path, text in generated().items() if not path.is_file() or path.read_text("utf-8") != text]


def documents_in(folder: Path) -> dict[str, Any]:
    """The documents of a folder by their names."""
    return {path.name: json.loads(path.read_text("utf-8")) for path in folder.glob("*.json")}


def last_release() -> Path:
    """The folder of the newest contract that was released."""
    return max(RELEASED.iterdir(), key=lambda each: tuple(map(int, each.name.split("."))))


def main(arguments: list[str]) -> int:
    """Writes, or with `--check` compares."""
    wrong = outdated()
    for path in wrong:
        made = "is not what the code generates" if "--check" in arguments else "is made again"
        sys.stderr.write(f"{path.relative_to(ROOT)} {made}\n")
    if "--check" in arguments:
        return 1 if wrong else 0
    if "--changes" in arguments:
        sys.stdout.writelines(f"{each}\n" for each in compare(documents_in(last_release()), documents_in(FOLDER)))
        return 0
    for path, text in generated().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    if "--release" in arguments:
        kept = RELEASED / VERSION
        kept.mkdir(parents=True, exist_ok=True)
        for path in FOLDER.glob("*.json"):
            shutil.copy(path, kept)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
