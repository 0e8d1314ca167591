"""Makes .venv from the lock file, or brings it up to date. Standard library only.

`make setup` runs it with a Python outside the environment. A stamp inside .venv holds a digest of what is installed.
It is removed before anything is changed and written at the end, so an environment without a stamp is incomplete and
is made again.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

from debian import install as install_from_debian
from debian import say

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
VENV_PYTHON = VENV / "bin" / "python"
STAMP = VENV / ".testcast-setup"
LOCK = ROOT / "requirements-dev.lock"
ENSURE_BROWSER = ROOT / "scripts" / "ensure_browser.py"


class SetupError(Exception):
    """The environment cannot be made. The message says what to do."""


@contextlib.contextmanager
def only_one_setup() -> Iterator[None]:
    """Locks the project's directory; a second `make` waits until the first has finished."""
    directory = os.open(ROOT, os.O_RDONLY)
    try:
        try:
            fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another make is setting up this directory; waiting for it")
            fcntl.flock(directory, fcntl.LOCK_EX)
        yield
    finally:
        os.close(directory)


def wanted() -> str:
    """The stamp of an up-to-date environment: a digest of everything that is installed.

    Of pyproject.toml it covers only what is installed, so that a new lint rule does not install again.
    """
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    installed = [project["build-system"], project["project"], project["tool"]["hatch"]]
    digest = hashlib.sha256()
    for part in (json.dumps(installed).encode(), LOCK.read_bytes(), Path(__file__).read_bytes()):
        digest.update(hashlib.sha256(part).digest())
    return digest.hexdigest()


def finished() -> str | None:
    """The stamp of the environment; None when there is none that can be used or brought up to date.

    It must run (its Python may have been removed), be in the place where it was made (its scripts contain absolute
    paths), and have the Python that $PYTHON names, if it is set.
    """
    probe = "import sys; print(sys.prefix, sys._base_executable, sep='\\n')"
    try:
        stamp = STAMP.read_text(encoding="utf-8")
        home, base = subprocess.run(
            [VENV_PYTHON, "-c", probe], capture_output=True, text=True, check=True
        ).stdout.splitlines()
        pip_script = (VENV / "bin" / "pip").read_text(encoding="utf-8")
    except (OSError, subprocess.CalledProcessError):
        return None
    asked_for = not os.environ.get("PYTHON") or Path(base).samefile(sys.executable)
    in_place = Path(home).samefile(VENV) and f"{home}/" in pip_script
    return stamp if asked_for and in_place else None


def make_venv() -> None:
    """Makes a new, empty environment, and removes the one that is there."""
    require_ensurepip()
    say(f"making .venv with Python {sys.version.split()[0]}")
    if VENV.is_symlink():
        VENV.unlink()
    elif VENV.exists():
        shutil.rmtree(VENV)
    run([sys.executable, "-m", "venv", str(VENV)])


def require_ensurepip() -> None:
    """Debian ships Python without ensurepip: root installs it, other users are told the command."""
    if subprocess.run([sys.executable, "-c", "import venv, ensurepip"], capture_output=True).returncode == 0:
        return
    package = f"python{sys.version_info.major}.{sys.version_info.minor}-venv"
    if install_from_debian(package):
        return
    raise SetupError(
        f"{sys.executable} cannot make virtual environments (no ensurepip).\n"
        f"On Debian and Ubuntu: sudo apt-get install {package}\n"
        "Or name another Python: make setup PYTHON=/path/to/python3"
    )


def install() -> None:
    """Installs the locked packages, each checked by its hash, and then the project itself, editable."""
    # A pip configured for `--user` installs refuses to work inside an environment.
    environment = {**os.environ, "PIP_USER": "0", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    pip = [str(VENV_PYTHON), "-m", "pip", "install", "--quiet"]
    say("installing the packages of requirements-dev.lock; about a minute the first time")
    # The lock names every dependency, so there is nothing to resolve.
    run([*pip, "--require-hashes", "--no-deps", "-r", str(LOCK)], environment)
    # hatchling is in the lock, so the build needs no second, unlocked environment.
    run([*pip, "--no-build-isolation", "--no-deps", "--editable", str(ROOT)], environment)


def run(command: list[str], environment: dict[str, str] | None = None) -> None:
    """Runs one command and shows its output.

    Raises:
        SetupError: it failed.
    """
    result = subprocess.run(command, cwd=ROOT, env=environment)
    if result.returncode != 0:
        raise SetupError(f"failed (exit status {result.returncode}): {' '.join(command)}")


def bring_up_to_date() -> bool:
    """Brings the environment up to date. Returns whether it had to be changed."""
    stamp, found = wanted(), finished()
    if found == stamp:
        return False
    if found is None:
        make_venv()
    STAMP.unlink(missing_ok=True)
    install()
    STAMP.write_text(stamp, encoding="utf-8")
    return True


def main() -> int:
    try:
        with only_one_setup():
            changed = bring_up_to_date()
            quiet = [] if changed else ["--quiet"]
            return subprocess.run([str(VENV_PYTHON), str(ENSURE_BROWSER), *quiet]).returncode
    except SetupError as error:
        say(str(error))
        return 1
    except KeyboardInterrupt:
        say("interrupted; run make again")
        return 130


if __name__ == "__main__":
    sys.exit(main())
