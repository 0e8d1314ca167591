"""Looks for published advisories about the packages in the lock files, with pip-audit. `make audit` runs it.

The tool is installed into a directory of its own and thrown away again: it is no part of testcast. Where it or the
advisories cannot be had, that is said, and is no failure.
"""

import json
import re
import subprocess
import sys
import tempfile
import venv
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parent.parent
LOCKS: Final = tuple(f"requirements-{each}.lock" for each in ("agent", "observe", "mcp", "build"))
"""What runs, with every extra, and what builds it. Tools of developers are not among them."""
INSTALL_S: Final = 40
AUDIT_S: Final = 20


def run(command: list[str], timeout_s: float) -> subprocess.CompletedProcess[str]:
    """Runs a program to its end.

    Raises:
        OSError, subprocess.TimeoutExpired: it cannot be run, or takes too long.
    """
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=timeout_s, check=False)


def unknown(why: str) -> int:
    """Says that nothing is known."""
    print(f"audit: the advisories cannot be had here ({why}); nothing is known about them")
    return 0


def judge(reports: list[dict[str, Any]]) -> int:
    """Prints what was found in the reports of pip-audit. Returns 1 when there is an advisory."""
    packages = {each["name"]: each for report in reports for each in report["dependencies"]}
    skipped = [each for each in packages.values() if "skip_reason" in each]
    found = [(each, advisory) for each in packages.values() for advisory in each.get("vulns", [])]
    for package, advisory in found:
        fixed = ", ".join(advisory.get("fix_versions") or []) or "no version yet"
        print(f"audit: {package['name']} {package['version']}: {advisory['id']}, mended in {fixed}")
    if len(skipped) == len(packages):
        return unknown("the service knows none of the packages, or was not reached")
    print(f"audit: {len(packages) - len(skipped)} of {len(packages)} packages looked up, {len(found)} advisories")
    return 1 if found else 0


def last_line(text: str) -> str:
    """What a program said last, without addresses."""
    lines = text.strip().splitlines()
    return re.sub(r"https?://\S+", "…", lines[-1])[:120] if lines else "it said nothing"


def main() -> int:
    """Returns 1 when there is an advisory about a package that is locked."""
    reports = []
    with tempfile.TemporaryDirectory(prefix="testcast-audit-") as folder:
        python = Path(folder) / "bin" / "python"
        try:
            venv.create(folder, with_pip=True)
            installed = run([str(python), "-m", "pip", "install", "--quiet", "--retries", "0", "pip-audit"], INSTALL_S)
            if installed.returncode:
                return unknown(f"pip-audit: {last_line(installed.stderr)}")
            for lock in LOCKS:
                options = ["--requirement", lock, "--require-hashes", "--disable-pip", "--format", "json"]
                audit = run([str(python), "-m", "pip_audit", *options, "--progress-spinner", "off"], AUDIT_S)
                try:
                    reports.append(json.loads(audit.stdout))
                except ValueError:
                    return unknown(last_line(audit.stderr))
        except (OSError, subprocess.SubprocessError) as error:
            return unknown(type(error).__name__)
    return judge(reports)


if __name__ == "__main__":
    sys.exit(main())
