"""Where a container engine of the compose test's own cannot be had (tests/compose/engine.py), the test is skipped."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.compose import engine


@contextmanager
def _refused() -> Iterator[None]:
    raise OSError(errno.EPERM, "no network namespace can be made")
    yield


def test_root_of_a_container_that_may_make_no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "answering", lambda: None)
    monkeypatch.setattr(engine, "debian_tool", lambda command, package=None: command)
    monkeypatch.setattr(engine, "own_network", _refused)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    with pytest.raises(pytest.skip.Exception, match="cannot start one: no network namespace"), engine.engine():
        pass


def test_another_user_than_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "answering", lambda: None)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(pytest.skip.Exception, match="no container engine answers"), engine.engine():
        pass
