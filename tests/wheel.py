"""Builds the wheel, installs it beside nothing, and uses it: `make wheel`.

    python -m tests.wheel            the client and the whole of it: packages, bytes, seconds, and a program
    python -m tests.wheel client     one of them

Each gets a new environment, into which pip installs the wheel and what it needs, twice: what pip has cached it does not
download again, and the second time is told. `tests/client_program.py` then runs there, against a broker and an edge of
the environment that runs this.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path
from typing import Final

from broker.jetstream import topology
from broker.jetstream.connection import Connection
from broker.local.embedded_server import EmbeddedServer
from tests.harness import EdgeProcess

ROOT: Final = Path(__file__).resolve().parents[1]
PROGRAM: Final = ROOT / "tests" / "client_program.py"
_PIP: Final = ("-m", "pip", "--disable-pip-version-check", "--quiet")
_NOT_COUNTED: Final = ("pip", "setuptools", "_distutils", "distutils", "pkg_resources")
"""What an empty environment has."""
_PATIENCE_S: Final = 60.0


def build(directory: Path) -> Path:
    """The wheel of this tree."""
    command = [sys.executable, *_PIP, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(directory), "."]
    subprocess.run(command, cwd=ROOT, check=True)
    return next(directory.glob("testcast-*.whl"))


def install(wheel: Path, extra: str, directory: Path) -> tuple[Path, float]:
    """Installs the wheel with an extra into a new environment. Returns its Python, and the seconds that pip took."""
    venv.create(directory, with_pip=True, symlinks=True)
    python = directory / "bin" / "python"
    began = time.monotonic()
    subprocess.run([python, *_PIP, "install", "--no-compile", f"{wheel}[{extra}]"], cwd=directory, check=True)
    return python, time.monotonic() - began


def taken(directory: Path) -> tuple[int, int]:
    """How many packages were installed into an environment, and how many bytes they have."""
    (packages,) = directory.glob("lib/python3*/site-packages")
    ours = [each for each in packages.iterdir() if not each.name.startswith(_NOT_COUNTED)]
    files = {file for each in ours for file in (each.rglob("*") if each.is_dir() else [each])}
    files |= set((directory / "bin").glob("nats-server"))
    bytes_taken = sum(file.stat().st_size for file in files if file.is_file() and file.suffix != ".pyc")
    return sum(each.name.endswith(".dist-info") for each in ours), bytes_taken


def what_the_demo_says(python: Path) -> str:
    """What `testcast demo` says where only the client is installed.

    Raises:
        SystemExit: it does not name what is missing.
    """
    command = [str(python.parent / "testcast"), "demo", "--once"]
    told = subprocess.run(command, capture_output=True, text=True, cwd=python.parent)
    if told.returncode != 2 or "pip install 'testcast[agent,broker]'" not in told.stderr:
        raise SystemExit(f"testcast demo: {told.returncode} {told.stderr}")
    return told.stderr.strip()


async def use(python: Path, directory: Path) -> None:
    """Runs the program against a broker and an edge."""
    async with EmbeddedServer(directory / "nats") as server:
        prepare = await Connection.connect(server.url, name="prepare")
        await topology.apply(prepare)
        await prepare.close()
        edge = await EdgeProcess(server.url, directory).start()
        try:
            program = await asyncio.create_subprocess_exec(python, str(PROGRAM), edge.url, server.url, cwd=directory)
            async with asyncio.timeout(_PATIENCE_S):
                if await program.wait() != 0:
                    raise SystemExit(f"{PROGRAM.name} failed")
        finally:
            await edge.stop()


def main(extras: list[str]) -> int:
    """Prints what each way to install costs."""
    with tempfile.TemporaryDirectory() as scratch:
        wheel = build(Path(scratch))
        print(f"the wheel: {wheel.stat().st_size:,} bytes")
        for extra in extras or ["client", "all"]:
            for go in ("first", "second"):
                directory = Path(scratch) / f"{extra}-{go}"
                python, seconds = install(wheel, extra, directory)
            count, size = taken(directory)
            print(f"testcast[{extra}]: {count} packages, {size / 1e6:.1f} MB, {seconds:.1f} s", flush=True)
            asyncio.run(use(python, directory))
            if extra == "client":
                print(what_the_demo_says(python))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
