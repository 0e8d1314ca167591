"""The secure broker of this machine: where its keys are, and how commands find it while it runs."""

from __future__ import annotations

import fcntl
import socket
from collections.abc import Iterable
from importlib import import_module
from io import FileIO
from pathlib import Path
from typing import Final

from broker import config as broker_config
from broker.config import BrokerConfig
from broker.contract.errors import ServerNotStarted
from broker.contract.roles import Role
from broker.jetstream.permissions import rights
from broker.local.listening import bare, reachable
from broker.local.secure_access import SecureAccess
from testcast import config

_KEYS: Final = "broker-keys"
_RUNNING: Final = "running"
"""Held locked by the process that runs the broker; it has the broker's address in it."""


def access_below(state_dir: Path) -> SecureAccess:
    """The keys of the secure broker that is started without naming a directory."""
    return access_in(state_dir / _KEYS)


def access_in(directory: Path) -> SecureAccess:
    """The keys in a directory. Nothing is made."""
    return SecureAccess(directory, {role: rights(role) for role in Role})


def names_of(host: str, given: Iterable[str] = ()) -> list[str]:
    """The names and addresses in the certificate of a broker that listens on `host`."""
    own = ["localhost", "127.0.0.1", "::1", socket.gethostname(), reachable(host), *given]
    return list(dict.fromkeys(bare(each) for each in own))


class Running:
    """Says to commands on this machine that a secure broker runs, until it is closed or the process ends."""

    def __init__(self, lock: FileIO) -> None:
        self._lock = lock

    def close(self) -> None:
        """Takes it back."""
        self._lock.close()


def announce(access: SecureAccess, url: str) -> Running | None:
    """Returns None where another one, with the same keys, is announced already.

    Raises:
        ServerNotStarted: the directory cannot be written.
    """
    try:
        lock = (access.directory / _RUNNING).open("a+b", buffering=0)
    except OSError as error:
        raise ServerNotStarted(f"cannot write to {access.directory}: {error.strerror}") from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        return None
    lock.truncate(0)
    lock.write(url.encode())
    return Running(lock)


def running(access: SecureAccess) -> str | None:
    """The address of the secure broker that runs with these keys on this machine; None when none does, or when this
    user may not read its keys."""
    try:
        with (access.directory / _RUNNING).open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                login = access.login(Role.OPERATOR)
                assert login.nkey is not None
                login.nkey.read_bytes()
                return file.read(1024).decode() or None
    except (OSError, UnicodeDecodeError):
        pass
    return None


def reached(nats_url: str | None) -> BrokerConfig:
    """The broker that a command uses.

    It is the one that `nats_url` (the option `--nats`) or the settings name; else the secure one that runs on this
    machine, with its operator's login; else the one at the usual address.

    Raises:
        InvalidSetting: a value is invalid; the message names the variable.
    """
    found = config.broker(nats_url)
    if nats_url is not None or config.describes_a_broker() or found.state_dir is None:
        return found
    access = access_below(found.state_dir)
    local = running(access)
    return found if local is None else found._replace(nats_url=local, login=access.login(Role.OPERATOR))


def settings_of_edges(state_dir: Path) -> dict[str, str]:
    """The settings of edges that use the files of `testcast token init`.

    Empty where that has not been run, and where the environment names other files.
    """
    try:
        files = import_module("testcast.local.access_files")
    except ImportError:
        return {}
    directory = state_dir / "access"
    found: dict[str, str] = files.access_settings(directory)
    return found if (directory / "keys.json").exists() and not broker_config.given(found) else {}
