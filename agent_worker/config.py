"""The settings of an agent worker. The only file of this package that reads the environment."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from typing import Final, NamedTuple

from agent_worker.publish.run import default_worker
from broker.config import allow_private, whole
from broker.contract.errors import InvalidSetting

DEFAULT_CONCURRENCY: Final = 2
MAX_CONCURRENCY: Final = 64
"""A run in Chromium takes about half a core: a larger number is a mistake on any one machine."""
MAX_NAME_CHARS: Final = 64


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


def load(environ: Mapping[str, str] = os.environ) -> AgentConfig:
    """Reads `TESTCAST_AGENT_CONCURRENCY`, `…_CHROMIUM`, `…_NAME`, and `TESTCAST_ALLOW_PRIVATE`.

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
    return AgentConfig(concurrency, allow_private(environ), chromium and shutil.which(chromium), name)
