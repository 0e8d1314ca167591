"""An access by tokens with a clock that stands, for tests."""

from __future__ import annotations

import os
from pathlib import Path

from tests.tokens import NOW, jwks
from ws_edge.access import Action, Principal
from ws_edge.access.access import Header
from ws_edge.access.keys import KeyFile
from ws_edge.access.settings import AccessConfig
from ws_edge.access.token_access import TokenAccess


class Clock:
    """A clock that stands until it is set."""

    def __init__(self, now: float = NOW) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class NoRuns:
    """Knows no run."""

    def authorize(self, principal: Principal, action: Action, test_id: str | None) -> None:
        raise AssertionError

    async def authorize_later(self, principal: Principal, action: Action, test_id: str) -> None:
        raise AssertionError


class KeysInAFile:
    """A file of keys and an access that uses it."""

    def __init__(self, path: Path, **settings: object) -> None:
        self.path = path
        self.clock, self.monotonic = Clock(), Clock(0)
        self.write(jwks())
        config = AccessConfig(keys=str(path))._replace(**settings)  # type: ignore[arg-type]
        self.access = TokenAccess(config, NoRuns(), KeyFile(path, self.monotonic), self.clock)

    def write(self, content: bytes) -> None:
        fresh = self.path.with_suffix(".new")
        fresh.write_bytes(content)
        os.replace(fresh, self.path)  # noqa: PTH105
        self.monotonic.now += 1


def header(**headers: str) -> Header:
    return {name.replace("_", "-"): value for name, value in headers.items()}.get


def bearer(token: str) -> Header:
    return header(authorization=f"Bearer {token}")
