"""The extras of the distribution: which modules each one brings, and what to say where they are not installed."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Final

from broker.contract.errors import BadInput

_EDGE: Final = (
    *("starlette", "uvicorn", "uvloop", "httptools"),
    *("joserfc", "authlib", "cryptography", "prometheus_client"),
)
MODULES: Final[Mapping[str, tuple[str, ...]]] = {
    "edge": _EDGE,
    "broker": _EDGE,  # and a program, which PATH or NATS_SERVER may name as well: broker/local/embedded_server.py
    "agent": ("playwright", "PIL", "h11", "uvicorn", "prometheus_client"),
    "top": ("textual", "prometheus_client"),
    "mcp": ("mcp",),
    "traces": ("opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http"),
}
"""Extra -> the modules that it brings, as they are imported. The first is what it is for, and in no other extra's but
the broker's."""


class MissingExtra(BadInput):
    """What was asked for needs packages that are installed with an extra only.

    Attributes:
        extra: its name; the names of several, separated by commas.
    """

    def __init__(self, extra: str, what: str, modules: tuple[str, ...]) -> None:
        super().__init__(f"{what} needs packages that are not installed ({', '.join(modules)}): {remedy(extra)}")
        self.extra = extra


def remedy(extra: str) -> str:
    """The command that installs an extra, or several whose names are separated by commas."""
    return f"pip install 'testcast[{extra}]'"


def missing(extra: str) -> tuple[str, ...]:
    """The modules of an extra that are not installed. It imports none of them, but a package they are in."""
    return tuple(name for name in MODULES[extra] if not _is_there(name))


def absent(extra: str) -> bool:
    """Whether an extra is not installed at all: what it is for is missing."""
    return not _is_there(MODULES[extra][0])


def require(extra: str, what: str) -> None:
    """Returns if an extra is installed.

    Args:
        extra: a key of `MODULES`, or several, separated by commas.
        what: what needs it, to begin a sentence with.

    Raises:
        MissingExtra: it is not. The message names the command that installs it, and all others that are missing.
    """
    lacking = {name: modules for name in extra.split(",") if (modules := missing(name))}
    if lacking:
        raise MissingExtra(",".join(lacking), what, tuple(dict.fromkeys(sum(lacking.values(), ()))))


def _is_there(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ImportError:  # the package that it is in
        return False
