"""The extras of the distribution: which modules each one brings, and what to say where they are not installed."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Final

from broker.contract.errors import BadInput

MODULES: Final[Mapping[str, tuple[str, ...]]] = {
    "agent": ("playwright", "PIL"),
    "top": ("textual",),
    "mcp": ("mcp",),
    "traces": ("opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http"),
}
"""Extra -> the modules that it brings, as they are imported."""


class MissingExtra(BadInput):
    """What was asked for needs packages that are installed with an extra only.

    Attributes:
        extra: its name.
    """

    def __init__(self, extra: str, what: str, modules: tuple[str, ...]) -> None:
        super().__init__(f"{what} needs packages that are not installed ({', '.join(modules)}): {remedy(extra)}")
        self.extra = extra


def remedy(extra: str) -> str:
    """The command that installs an extra."""
    return f"pip install 'testcast[{extra}]'"


def missing(extra: str) -> tuple[str, ...]:
    """The modules of an extra that are not installed. It imports none of them, but a package they are in."""
    return tuple(name for name in MODULES[extra] if not _is_there(name))


def require(extra: str, what: str) -> None:
    """Returns if an extra is installed.

    Args:
        extra: a key of `MODULES`.
        what: what needs it, to begin a sentence with.

    Raises:
        MissingExtra: it is not. The message names the command that installs it.
    """
    if lacking := missing(extra):
        raise MissingExtra(extra, what, lacking)


def _is_there(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ImportError:  # the package that it is in
        return False
