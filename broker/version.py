"""The version of testcast that runs, for logs, health checks and the page."""

from __future__ import annotations

from importlib import metadata
from typing import Final


def _installed() -> str:
    try:
        return metadata.version("testcast")
    except metadata.PackageNotFoundError:  # the source without an installation
        return "unknown"


VERSION: Final = _installed()
"""As `testcast --version` prints it."""
