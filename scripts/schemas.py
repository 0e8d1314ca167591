"""Writes what is generated from the message types: broker/schemas/, and parts of PROTOCOL.md and of the client's types.

python scripts/schemas.py            writes them
python scripts/schemas.py --check    says which of them are not what the code generates; exit status 1
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Final

from contract.documents import all_documents
from contract.openapi import openapi
from contract.tables import with_tables
from debian import say

ROOT: Final = Path(__file__).resolve().parents[1]
PROTOCOL: Final = ROOT / "broker" / "PROTOCOL.md"
FOLDER: Final = ROOT / "broker" / "schemas"


def text_of(document: dict[str, Any]) -> str:
    """A document as it stands in its file."""
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def generated() -> dict[Path, str]:
    """Every file that is generated, or in which a part is, with what it should be."""
    documents = all_documents() | {"openapi.json": openapi()}
    files = {FOLDER / name: text_of(each) for name, each in documents.items()}
    return files | {PROTOCOL: with_tables(PROTOCOL.read_text("utf-8"))}


def outdated() -> list[Path]:
    """The files that are not what the code generates."""
    return [path for path, text in generated().items() if not path.is_file() or path.read_text("utf-8") != text]


def main(arguments: list[str]) -> int:
    """Writes, or with `--check` compares."""
    wrong = outdated()
    for path in wrong:
        say(f"{path.relative_to(ROOT)} is not what the code generates: make schemas")
    if "--check" in arguments:
        return 1 if wrong else 0
    for path, text in generated().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
