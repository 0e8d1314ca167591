"""The settings of an agent worker. The only file of this package that reads the environment."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Mapping, MutableMapping
from pathlib import Path
from types import MappingProxyType
from typing import Final, NamedTuple

from agent_worker.games.model import settings as of_model
from agent_worker.games.model.settings import ModelSettings
from agent_worker.publish.run import default_worker
from broker.config import allow_private, allowed_hosts, given, number, switch, whole
from broker.contract.errors import InvalidSetting
from broker.known_settings import LOGIN

DEFAULT_CONCURRENCY: Final = 2
MAX_CONCURRENCY: Final = 64
"""A run in Chromium takes about half a core: a larger number is a mistake on any one machine."""
MAX_NAME_CHARS: Final = 64
DEFAULT_MEMORY_MB: Final = 2048
DEFAULT_PROCESSES: Final = 64
DEFAULT_DISK_MB: Final = 512
_LEAST_MEMORY_MB: Final = 512
"""An empty page takes 250."""
_LEAST_PROCESSES: Final = 16
_LEAST_DISK_MB: Final = 64
_MOST: Final = 1 << 20
_FOR_SCREENS: Final = ("DISPLAY", "WAYLAND_DISPLAY", "XAUTHORITY", "XDG_RUNTIME_DIR")
_FOR_BROWSERS: Final = ("PATH", "LANG", "LC_ALL", "TZ", "LD_LIBRARY_PATH", "FONTCONFIG_FILE", "FONTCONFIG_PATH")
"""A game's browser needs no more to start. The rest of the environment has passwords, keys and addresses."""
_NOT_FOR_CHILDREN: Final = ("TESTCAST_NATS_URL", *LOGIN, of_model.URL, of_model.KEY_FILE)
"""How to reach the broker, and the endpoint of a model."""


class AgentConfig(NamedTuple):
    """One worker's settings."""

    concurrency: int = DEFAULT_CONCURRENCY
    """Runs at the same time."""
    allow_private: bool | None = None
    """Games on private, loopback and link-local addresses may be opened; None: where the job says so."""
    chromium: str | None = None
    """Path of the browser to start; None to look for one."""
    name: str = ""
    """What viewers see as the run's worker; empty for `host-pid`."""
    allowed_hosts: frozenset[str] = frozenset()
    """Hosts that may be private: all that count where `allow_private` is False; else those of the job."""
    memory_mb: int = DEFAULT_MEMORY_MB
    """MiB that one run's browser may take."""
    processes: int = DEFAULT_PROCESSES
    """Processes that one run's browser may have."""
    disk_mb: int = DEFAULT_DISK_MB
    """MiB that one run's browser may write to the disk."""
    allow_root: bool = False
    """Games may run as root where root cannot become another user."""
    browser_environment: Mapping[str, str] = MappingProxyType({})
    """All that a browser is told of this process's environment."""
    model: ModelSettings | None = None
    """The model that chooses gestures; None: the search alone does."""


def load(environ: Mapping[str, str] = os.environ) -> AgentConfig:
    """Reads the settings of agents, `TESTCAST_ALLOW_PRIVATE` and `TESTCAST_ALLOW_HOSTS`.

    Raises:
        InvalidSetting: a value makes no sense; the message names the variable.
    """
    concurrency = whole("TESTCAST_AGENT_CONCURRENCY", DEFAULT_CONCURRENCY, 1, MAX_CONCURRENCY, environ)
    chromium = environ.get("TESTCAST_AGENT_CHROMIUM") or None
    if chromium is not None and shutil.which(chromium) is None:
        raise InvalidSetting(f"TESTCAST_AGENT_CHROMIUM: {chromium!r} is not a program that can be run")
    name = environ.get("TESTCAST_AGENT_NAME") or default_worker()
    if len(name) > MAX_NAME_CHARS or not name.isprintable() or not name.strip():
        raise InvalidSetting(f"TESTCAST_AGENT_NAME: expected 1 to {MAX_NAME_CHARS} printable characters, got {name!r}")
    return AgentConfig(
        concurrency,
        allow_private(environ),
        chromium and shutil.which(chromium),
        name,
        allowed_hosts(environ),
        memory_mb=whole("TESTCAST_AGENT_MEMORY_MB", DEFAULT_MEMORY_MB, _LEAST_MEMORY_MB, _MOST, environ),
        processes=whole("TESTCAST_AGENT_PROCESSES", DEFAULT_PROCESSES, _LEAST_PROCESSES, _MOST, environ),
        disk_mb=whole("TESTCAST_AGENT_DISK_MB", DEFAULT_DISK_MB, _LEAST_DISK_MB, _MOST, environ),
        allow_root=switch("TESTCAST_AGENT_ALLOW_ROOT", False, environ),
        browser_environment=given(_FOR_BROWSERS, environ),
        model=_model(environ),
    )


def _model(environ: Mapping[str, str]) -> ModelSettings | None:
    """The settings of the model, checked also where no model plays."""
    timeout_s = number(of_model.TIMEOUT_S, of_model.DEFAULT_TIMEOUT_S, 1, of_model.MAX_TIMEOUT_S, environ)
    calls = whole(of_model.CALLS, of_model.DEFAULT_CALLS, 1, of_model.MAX_CALLS, environ)
    tokens = whole(of_model.TOKENS, of_model.DEFAULT_TOKENS, of_model.MIN_TOKENS, of_model.MAX_TOKENS, environ)
    url, name = environ.get(of_model.URL, "").strip(), environ.get(of_model.NAME, "").strip()
    file = _key_file(environ)
    return of_model.model_settings(url, name, None if file is None else _read_key(file), timeout_s, calls, tokens)


def _key_file(environ: Mapping[str, str]) -> Path | None:
    named = environ.get(of_model.KEY_FILE, "").strip()
    try:
        return Path(named).expanduser() if named else None
    except RuntimeError:
        raise InvalidSetting(f"{of_model.KEY_FILE}: {named!r}: there is no such home directory") from None


def _read_key(file: Path) -> bytes:
    try:
        # O_NONBLOCK: opening a FIFO would wait for its writer. It changes nothing about a regular file.
        descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise InvalidSetting(f"{of_model.KEY_FILE}: {file} is not a regular file")
            return os.read(descriptor, 2 * of_model.MAX_KEY_CHARS)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise InvalidSetting(f"{of_model.KEY_FILE}: {file} cannot be read: {error.strerror}") from None


def warnings(environ: Mapping[str, str] = os.environ) -> list[str]:
    """Returns a sentence where other users of this machine may read or change the key's file.

    Raises:
        InvalidSetting: the file's name makes no sense; the message names the variable.
    """
    file = _key_file(environ)
    try:
        exposed = file is not None and bool(stat.S_IMODE(file.stat().st_mode) & 0o066)
    except OSError:
        return []  # `load` says so
    if not exposed:
        return []
    return [f"{of_model.KEY_FILE}: other users may read or change {file}: `chmod 600 {file}` keeps it secret"]


def screen(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """What a browser with a window needs of the environment; empty where there is no screen."""
    found = {name: value for name, value in given(_FOR_SCREENS, environ).items() if value}
    return found if any(name in found for name in _FOR_SCREENS[:2]) else {}


def forget_secrets(environ: MutableMapping[str, str] = os.environ) -> None:
    """Removes how to reach the broker and a model from the environment, which processes that are started from now on
    inherit."""
    for name in _NOT_FOR_CHILDREN:
        environ.pop(name, None)
