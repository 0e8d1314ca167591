"""Programs that a test needs and a fresh machine may lack, from Debian's packages."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from debian import install

# Some programs of Debian's packages are where only root's PATH looks.
SEARCHED = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin", "/sbin"])


@contextmanager
def one_at_a_time(name: str) -> Iterator[None]:
    """Holds the lock `name` of this user, so that parallel workers of pytest wait for each other."""
    path = Path(tempfile.gettempdir()) / f"testcast-tests-{os.getuid()}-{name}.lock"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def debian_tool(command: str, package: str | None = None) -> str:
    """The path of a program. It is installed with apt-get where it is missing and this user is root on Debian.

    Args:
        command: the name of the program, for example `nginx`.
        package: the package that carries it; the program's own name by default.

    Raises:
        pytest.skip.Exception: where it is missing and cannot be installed. The reason names the package.
    """
    if found := shutil.which(command, path=SEARCHED):
        return found
    package = package or command
    with one_at_a_time("apt-get"):
        if found := shutil.which(command, path=SEARCHED):
            return found
        installed = install(package)
    if found := shutil.which(command, path=SEARCHED):
        return found
    why = f"{package} was installed and has no {command}" if installed else f"{package} could not be installed here"
    pytest.skip(f"{command} is missing: {why} (only root on Debian or Ubuntu installs packages by itself)")
