"""Runs the Autobahn Testsuite's fuzzing client against an echo server made of the edge's socket.

Exit status 1 if a case failed. The suite needs Python 2.7; without one the exit status is 2.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import uvloop

from tests.autobahn.echo import echo
from ws_edge.transport.listener import listen

SUITE = "autobahntestsuite==25.10.1"
"""The last release. It pins most of its dependencies; pip takes the newest of the others that support Python 2.7."""
GROUPS = {
    "1": "framing",
    "2": "pings",
    "3": "reserved bits",
    "4": "opcodes",
    "5": "fragmentation",
    "6": "UTF-8",
    "7": "close",
    "9": "limits/performance",
    "10": "misc",
}
VERDICTS = ("OK", "NON-STRICT", "INFORMATIONAL", "FAILED")
_OF_CLOSING = {"WRONG CODE": "NON-STRICT", "FAILED BY CLIENT": "NON-STRICT"}
"""The suite's verdicts on closing in addition to `VERDICTS`; any other word, such as UNCLEAN, counts as FAILED."""


class CannotRun(Exception):
    """The suite cannot run; the message says what is missing."""


class Case(NamedTuple):
    """The result of one case."""

    number: str
    verdict: str
    reason: str


def python2() -> str:
    """Finds a Python 2.7 with pip. Each candidate is executed, because a pyenv shim can exist and still fail.

    Raises:
        CannotRun: there is none.
    """
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    for candidate in [shutil.which("python2.7"), *sorted(pyenv.glob("versions/2.7*/bin/python2.7"))]:
        if candidate and subprocess.run([candidate, "-c", "import pip"], capture_output=True).returncode == 0:
            return str(candidate)
    raise CannotRun("no Python 2.7 with pip, neither on PATH nor from pyenv (`pyenv install 2.7.18` installs one)")


def install(python: str, directory: Path) -> None:
    """Installs the suite below `directory` if it is missing.

    The directory becomes a user site, so no virtualenv is required. Python 2.7 reads the .pth files of a user site,
    which zope.interface needs.

    Raises:
        CannotRun: pip failed.
    """
    if (directory / "bin" / "wstest").exists():
        return
    print(f"installing {SUITE} ...", flush=True)
    command = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--user", SUITE]
    environment = _environment(directory)
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        raise CannotRun(f"pip could not install {SUITE}:\n{done.stdout}")


def _environment(directory: Path) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return inherited | {"PYTHONUSERBASE": str(directory)}


async def fuzz(python: str, directory: Path, cases: list[str]) -> list[Case]:
    """Runs the cases in sequence. Returns their results, sorted by number.

    Raises:
        CannotRun: the suite ended early.
    """
    [listening] = listen("127.0.0.1", 0)
    report, spec, log = directory / "report", directory / "spec.json", directory / "wstest.log"
    shutil.rmtree(report, ignore_errors=True)
    server = {"agent": "edge", "url": f"ws://127.0.0.1:{listening.getsockname()[1]}/ws"}
    asked = {"outdir": str(report), "servers": [server], "cases": cases, "exclude-cases": []}
    spec.write_text(json.dumps(asked | {"exclude-agent-cases": {}}))
    command = [python, str(directory / "bin" / "wstest"), "-m", "fuzzingclient", "-s", str(spec)]
    environment = _environment(directory)
    with log.open("w") as output:
        async with echo(listening):
            process = await asyncio.create_subprocess_exec(*command, env=environment, stdout=output, stderr=output)
            status = await process.wait()
    said = log.read_text()
    if status or not (report / "index.json").exists():
        raise CannotRun(f"wstest ended with status {status}:\n{said[-2000:]}")
    found = sorted(_read(report), key=lambda case: [int(part) for part in case.number.split(".")])
    if f"will run {len(found)} test cases" not in said:
        raise CannotRun(f"wstest ended early, after {len(found)} cases:\n{said[-2000:]}")
    return found


def _read(report: Path) -> Iterator[Case]:
    for number, found in json.loads((report / "index.json").read_text())["edge"].items():
        told = json.loads((report / found["reportfile"]).read_text())
        behaviour, closing = _verdict(found["behavior"]), _verdict(found["behaviorClose"])
        wanted, got = told["expected"].get("OK"), told["received"]
        if behaviour == "OK":
            reason = f"{told['resultClose']}; it was {told['remoteCloseCode']}"
        elif wanted and wanted != got:
            reason = f"wanted {wanted}, got {got}"
        else:
            reason = told["result"]
        yield Case(number, max(behaviour, closing, key=VERDICTS.index), reason)


def _verdict(word: str) -> str:
    return word if word in VERDICTS else _OF_CLOSING.get(word, "FAILED")


def table(cases: list[Case]) -> str:
    """The counts per group, and the reason for each case that is not strict or failed."""
    counts = Counter((case.number.split(".")[0], case.verdict) for case in cases)
    lines = [f"{'':24}" + "".join(f"{verdict:>15}" for verdict in VERDICTS)]
    for group in dict.fromkeys(case.number.split(".")[0] for case in cases):
        numbers = "".join(f"{counts[group, verdict]:>15}" for verdict in VERDICTS)
        lines.append(f"{group:>2} {GROUPS.get(group, ''):21}" + numbers)
    lines.append("12 and 13 (compression) are not run: the edge does not offer it.")
    told = [case for case in cases if case.verdict in ("NON-STRICT", "FAILED")]
    lines += [f"{case.number}: {case.verdict}: {case.reason}" for case in told]
    return "\n".join(lines)


def main() -> int:
    """Runs the command line. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.autobahn", description=__doc__)
    parser.add_argument("case", nargs="*", help="such as 7.9.1 or '6.*'; default: all except compression")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep the suite and its HTML report in DIR")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="testcast-autobahn-") as temporary:
        directory = (options.keep or Path(temporary)).resolve()
        directory.mkdir(parents=True, exist_ok=True)
        try:
            python = python2()
            install(python, directory)
            cases = uvloop.run(fuzz(python, directory, options.case or [f"{group}.*" for group in GROUPS]))
        except CannotRun as error:
            print(f"autobahn: {error}", file=sys.stderr)
            return 2
    print(table(cases))
    return int(any(case.verdict == "FAILED" for case in cases))


sys.exit(main())
