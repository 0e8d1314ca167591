"""The licences of everything that is installed with testcast, from the metadata of the installed packages.

`python scripts/licences.py` writes docs/licences.md, for testcast with all its extras (agent, top, traces, mcp). A test
compares it with their lock files.
"""

import importlib.metadata
import re
import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
LOCKS: Final = tuple(ROOT / f"requirements-{extra}.lock" for extra in ("agent", "observe", "mcp"))
"""All that people install: no tools of developers."""
PAGE: Final = ROOT / "docs" / "licences.md"
ALLOWED: Final = frozenset(
    {"Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "ISC", "MIT", "MIT-0", "MIT-CMU", "MPL-2.0", "PSF-2.0"}
)
"""Licences (SPDX) that a dependency may have. Another one is for a person to judge first."""
_SPOKEN: Final = {
    "Apache 2 License": "Apache-2.0",
    "Apache License 2.0": "Apache-2.0",
    "Apache Software License": "Apache-2.0",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "3-Clause BSD License": "BSD-3-Clause",
    "BSD License": "BSD-3-Clause",
    "BSD": "BSD-3-Clause",
    "Python Software Foundation License": "PSF-2.0",
}
"""What older metadata says -> SPDX."""
_ELSEWHERE: Final = {"httpx2-jsfetch": "BSD-3-Clause", "pywin32": "PSF-2.0"}
"""What the metadata of packages says that are locked for other platforms only (read with `pip install --dry-run`)."""
_HEAD: Final = """\
# Licences

testcast is under the Apache License 2.0. With all its extras (`agent`, `top`, `traces`, `mcp`) it installs these
packages, each under a licence of its own. The table is made from the metadata of the installed packages:
`.venv/bin/python scripts/licences.py` makes it again.

The agent's browser is Chromium (BSD-3-Clause and others), which is installed separately.

| package | licence |
| --- | --- |
"""


def locked(*locks: Path) -> list[str]:
    """The names of the packages in lock files: `LOCKS` if none is named."""
    texts = [each.read_text(encoding="utf-8") for each in locks or LOCKS]
    return sorted({name for text in texts for name in re.findall(r"^([a-z0-9-]+)==", text, re.MULTILINE)})


def licence(package: str) -> str | None:
    """The licence of an installed package as an SPDX expression. None: it is not installed on this platform.

    Raises:
        ValueError: its metadata names none.
    """
    try:
        metadata = importlib.metadata.metadata(package)
    except importlib.metadata.PackageNotFoundError:
        return None
    if expressions := metadata.get_all("License-Expression"):
        return str(expressions[0])
    given = " ".join(metadata.get_all("License") or []).strip()
    named = [each.split(" :: ")[-1] for each in metadata.get_all("Classifier") or [] if each.startswith("License ::")]
    found = [_SPOKEN.get(each, each) for each in ([given] if given and "\n" not in given else named)]
    if not found:
        raise ValueError(f"{package}: its metadata names no licence")
    return " OR ".join(sorted(set(found)))


def not_allowed(expression: str) -> list[str]:
    """The licences of an expression that are not in `ALLOWED`, where no choice of it is."""
    if any(each.strip("() ") in ALLOWED for each in re.split(r"\bOR\b", expression) if " AND " not in each):
        return []
    return [each for each in re.findall(r"[A-Za-z0-9.+-]+", expression) if each not in {*ALLOWED, "AND", "OR", "WITH"}]


def table() -> dict[str, str]:
    """Package -> licence, of all that are installed here or judged in `_ELSEWHERE`."""
    return {name: found for name in locked() if (found := licence(name) or _ELSEWHERE.get(name)) is not None}


def main() -> int:
    """Writes the page."""
    found = table()
    missing = [name for name in locked() if name not in found]
    PAGE.write_text(_HEAD + "".join(f"| {name} | {found[name]} |\n" for name in sorted(found)), encoding="utf-8")
    wrong = {name: bad for name, each in found.items() if (bad := not_allowed(each))}
    for name, bad in wrong.items():
        print(f"{name}: {', '.join(bad)} is not among the licences that are allowed", file=sys.stderr)
    for name in missing:
        print(f"{name}: not installed here, so its licence is not known", file=sys.stderr)
    return 1 if wrong or missing else 0


if __name__ == "__main__":
    sys.exit(main())
