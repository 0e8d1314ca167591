"""Compares names that we override or touch in other people's packages with what is installed."""

from __future__ import annotations

import importlib.metadata
import inspect
import platform
from collections.abc import Mapping


def signature_of(function: object) -> str:
    """`async (self, cmd, priority=False)`: names, kinds and defaults; no annotations, which carry no behaviour."""
    assert callable(function)
    signature = inspect.signature(function)
    bare = [each.replace(annotation=inspect.Parameter.empty) for each in signature.parameters.values()]
    shown = str(inspect.Signature(bare))
    return f"async {shown}" if inspect.iscoroutinefunction(function) else shown


def _version(package: str) -> str:
    return platform.python_version() if package == "Python" else importlib.metadata.version(package)


def differences(package: str, owner: object, expected: Mapping[str, str]) -> list[str]:
    """One sentence for each name of `owner` that has gone or has another signature.

    Args:
        package: the distribution, or "Python" for its standard library.
        owner: a class or module.
        expected: the signature by name, as `signature_of` gives it.
    """
    where = f"{package} {_version(package)}: {getattr(owner, '__name__', owner)}"
    found = []
    for name, wanted in expected.items():
        function = inspect.getattr_static(owner, name, None)
        if function is None:
            found.append(f"{where}.{name} has gone")
        elif (actual := signature_of(function)) != wanted:
            found.append(f"{where}.{name} is now {actual}; it was {wanted}")
    return found


def missing(package: str, instance: object, expected: Mapping[str, type | tuple[type, ...]]) -> list[str]:
    """One sentence for each attribute of `instance` that has gone or is of another type."""
    where = f"{package} {_version(package)}: {type(instance).__name__}"
    found = []
    for name, wanted in expected.items():
        if not hasattr(instance, name):
            found.append(f"{where}.{name} has gone")
        elif not isinstance(value := getattr(instance, name), wanted):
            found.append(f"{where}.{name} is now a {type(value).__name__}")
    return found
