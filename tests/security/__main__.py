"""`python -m tests.security --list`: every attack with the answer it must get."""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path
from typing import Any

from tests.security.attacks import Attack, Table


def tables() -> dict[str, Table[Any]]:
    """The tables of all files, by topic."""
    found: dict[str, Table[Any]] = {}
    for path in sorted(Path(__file__).parent.glob("test_*.py")):
        module = importlib.import_module(f"tests.security.{path.stem}")
        table = getattr(module, "ATTACKS", None)
        if isinstance(table, Table):
            found[path.stem.removeprefix("test_")] = table
    return found


def listed(topic: str, attacks: list[Attack[Any]]) -> list[str]:
    """One topic as lines of a Markdown table."""
    rows = [f"| {each.sentence} | {each.answer} |" for each in attacks]
    return [f"## {topic} ({len(rows)})", "", "| attack | answer |", "| --- | --- |", *rows, ""]


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--list", action="store_true", help="print every attack with its answer (the default)")
    parser.parse_args()
    for topic, table in tables().items():
        print("\n".join(listed(topic, list(table))))


if __name__ == "__main__":
    main()
