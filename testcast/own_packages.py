"""Imports testcast's other packages from beside this one, whatever stands first on the import path.

A script's own folder stands first, so that a file of the script's author named `broker` would be imported instead.
This module imports only what the interpreter has loaded already: another module may be hidden in the same way.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from importlib.machinery import PathFinder

_HOME = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120  # pathlib may be hidden
_PACKAGES = "agent_worker", "broker"


def claim() -> None:
    """Imports the packages of testcast.

    Raises:
        ImportError: another module of the same name is in use already; the message names its file.
    """
    for name in _PACKAGES:
        if name not in sys.modules:
            _warn_of_hidden(name)
            sys.path.insert(0, _HOME)
            try:
                import_module(name)
            finally:
                sys.path.remove(_HOME)
        found = getattr(sys.modules[name], "__file__", None)
        if not _is_ours(found):
            raise ImportError(
                f"testcast has a package named {name!r}, and {found} was imported under this name: rename that file",
                name=name,
            )


def _warn_of_hidden(name: str) -> None:
    spec = PathFinder.find_spec(name)
    if spec is None or spec.origin is None or _is_ours(spec.origin) or sys.argv[:1] == ["-m"]:
        return  # "-m": this is `python -m testcast`, and the directory is about to lose its place
    import warnings

    warnings.warn(
        f"testcast has a package named {name!r}, which hides {spec.origin}: rename that file to import it",
        RuntimeWarning,
        stacklevel=4,
    )


def _is_ours(file: str | None) -> bool:
    return file is not None and os.path.abspath(file).startswith(_HOME + os.sep)  # noqa: PTH100
