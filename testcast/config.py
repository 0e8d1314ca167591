"""The settings of the command. Only this file of the package reads the environment."""

from __future__ import annotations

import os
from collections.abc import Mapping

from broker import config as broker_config
from broker.config import BrokerConfig, number, switch


def broker(nats_url: str | None = None, environ: Mapping[str, str] = os.environ) -> BrokerConfig:
    """The settings of the broker; `nats_url` (the option `--nats`) replaces `TESTCAST_NATS_URL`.

    Raises:
        InvalidSetting: a value is invalid; the message names the variable.
    """
    return broker_config.load(environ if nats_url is None else {**environ, "TESTCAST_NATS_URL": nats_url})


def names_a_broker(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether `TESTCAST_NATS_URL` is set. `up` then uses that broker instead of starting one."""
    return bool(environ.get("TESTCAST_NATS_URL"))


def allow_private(environ: Mapping[str, str] = os.environ) -> bool:
    """`TESTCAST_AGENT_ALLOW_PRIVATE`: whether games at private addresses may be submitted.

    Raises:
        InvalidSetting: the value is neither yes nor no.
    """
    return switch("TESTCAST_AGENT_ALLOW_PRIVATE", False, environ)


def edge_address(
    host: str | None = None, port: int | None = None, environ: Mapping[str, str] = os.environ
) -> tuple[str, int]:
    """Where the edges of this machine listen: the options, else `TESTCAST_EDGE_HOST` and `TESTCAST_EDGE_PORT`.

    Raises:
        InvalidSetting: the port is not a number; the message names the variable.
    """
    if port is None:
        port = int(number("TESTCAST_EDGE_PORT", 8000, 1, 65535, environ))
    return host or environ.get("TESTCAST_EDGE_HOST") or "127.0.0.1", port


def for_child(settings: Mapping[str, object], environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The environment of a child process: this one, changed by `settings`. A value of None changes nothing."""
    return {**environ, **{name: str(value) for name, value in settings.items() if value is not None}}
