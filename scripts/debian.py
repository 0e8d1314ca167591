"""Installs packages of Debian and Ubuntu. Standard library only."""

import os
import shutil
import subprocess
import sys


def install(package: str) -> bool:
    """Installs `package` with apt-get, whose output is shown only when it fails.

    Returns:
        Whether it was installed. False without any output where there is no apt-get or this user is not root.
    """
    if not shutil.which("apt-get") or os.geteuid() != 0:
        return False
    say(f"installing {package} with apt-get")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for arguments in (["update"], ["install", "-y", "--no-install-recommends", package]):
        command = ["apt-get", "-qq", *arguments]
        result = subprocess.run(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        if result.returncode != 0:
            sys.stderr.buffer.write(result.stdout)
            say(f"{' '.join(command)} failed (exit status {result.returncode})")
            return False
    return True


def say(text: str) -> None:
    """Prints one line about the setup."""
    sys.stderr.write(f"testcast setup: {text}\n")
    sys.stderr.flush()
