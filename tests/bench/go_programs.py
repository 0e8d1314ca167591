"""Servers that are written in Go and come as no package: built from their modules."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Final

_BUILD_S: Final = 900


class Unavailable(Exception):
    """This peer cannot run on this machine; the message gives the reason."""


def go_program(module: str, name: str) -> str:
    """A program of Go: the one on PATH, or one that is built once for this user.

    Raises:
        Unavailable: there is no Go, or it cannot be built.
    """
    if found := shutil.which(name):
        return found
    go, caches = shutil.which("go"), os.environ.get("XDG_CACHE_HOME")
    cache = Path(caches) if caches else Path.home() / ".cache"
    into = cache / "testcast-bench" / module.rpartition("@")[2]
    if (into / name).exists():
        return str(into / name)
    if go is None:
        raise Unavailable(f"needs {name} on PATH, or go to build it")
    into.mkdir(parents=True, exist_ok=True)
    env = {**os.environ, "GOBIN": str(into)}
    try:
        done = subprocess.run([go, "install", module], env=env, capture_output=True, text=True, timeout=_BUILD_S)
    except subprocess.TimeoutExpired:
        raise Unavailable(f"{module} was not built within {_BUILD_S} s") from None
    if done.returncode:
        raise Unavailable(f"{module} cannot be built: {done.stderr.strip().splitlines()[-1:]}")
    return str(into / name)
