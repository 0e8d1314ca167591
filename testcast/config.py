"""What the environment says to the command. The only file of this package that reads it."""

from __future__ import annotations

import os
from collections.abc import Mapping

from broker import config as broker_config
from broker.config import BrokerConfig, switch


def broker(nats_url: str | None = None, environ: Mapping[str, str] = os.environ) -> BrokerConfig:
    """How to reach the broker; `nats_url` (the option `--nats`) goes before `TESTCAST_NATS_URL`.

    Raises:
        InvalidSetting: naming the variable.
    """
    return broker_config.load(environ if nats_url is None else {**environ, "TESTCAST_NATS_URL": nats_url})


def names_a_broker(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether `TESTCAST_NATS_URL` is set: then `up` uses that broker instead of starting one."""
    return bool(environ.get("TESTCAST_NATS_URL"))


def allow_private(environ: Mapping[str, str] = os.environ) -> bool:
    """`TESTCAST_AGENT_ALLOW_PRIVATE`: games at private addresses may be submitted and opened.

    Raises:
        InvalidSetting: it is neither yes nor no.
    """
    return switch("TESTCAST_AGENT_ALLOW_PRIVATE", False, environ)


def for_child(settings: Mapping[str, object], environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The environment for a process that we start: ours, with `settings` (None: left as it is) on top."""
    return {**environ, **{name: str(value) for name, value in settings.items() if value is not None}}
