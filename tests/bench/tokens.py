"""What it costs to know who opens a socket: the part of a handshake that a token adds, in this process alone."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Final

from broker.contract.token_keys import parse_keys
from tests.bench import report
from tests.token_access import NoRuns
from tests.tokens import ALGORITHMS, SECRET, a_token, claims, jwks
from ws_edge.access import OpenAccess
from ws_edge.access.settings import AccessConfig, Secret
from ws_edge.access.token_access import TokenAccess
from ws_edge.access.tokens import Verifier
from ws_edge.transport import handshake

_TARGET_US: Final = 60
_KEY: Final = b"dGhlIHNhbXBsZSBub25jZQ=="


def _request(token: str) -> bytes:
    head = [
        b"GET /ws HTTP/1.1", b"Host: 127.0.0.1:8000", b"Upgrade: websocket", b"Connection: Upgrade",
        b"Sec-WebSocket-Key: " + _KEY, b"Sec-WebSocket-Version: 13", b"Authorization: Bearer " + token.encode(),
    ]  # fmt: skip
    return b"\r\n".join([*head, b"", b""])


def _handshake(access: OpenAccess | TokenAccess, data: bytes) -> None:
    request = handshake.read(data)
    assert request is not None
    access.identify(request.headers.get)
    handshake.accept(request)


def _us(rounds: int, *works: Callable[[], object]) -> list[float]:
    """The processor time of one call of each, µs: the medians of batches, which take turns."""
    batches: list[list[float]] = [[] for _ in works]
    for _ in range(rounds):
        for work, found in zip(works, batches, strict=True):
            start = time.process_time()
            for _ in range(100):
                work()
            found.append((time.process_time() - start) * 1e6 / 100)
    return [median(each) for each in batches]


async def tokens(_programs: Path, quick: bool) -> str:
    """A handshake without authentication, with a token that is remembered, and with one that is checked first."""
    rounds = 20 if quick else 200
    config = AccessConfig(keys="keys.json", secret=Secret(SECRET), algorithms=ALGORITHMS)
    body = claims(exp=int(time.time()) + 3600)
    verifier, keys = Verifier(config), parse_keys(jwks())
    rows = []
    for algorithm in ALGORITHMS:
        token = a_token(algorithm, body)
        data = _request(token)
        access = TokenAccess(AccessConfig(secret=Secret(SECRET), algorithms=("HS256",)), NoRuns())
        access._verifier = verifier
        access.keys.current = lambda: keys  # type: ignore[method-assign]
        openly, remembered, first = _us(
            rounds,
            partial(_handshake, OpenAccess(), data),
            partial(_handshake, access, data),
            lambda: verifier.verify(token, keys, time.time()),  # noqa: B023  it is called in this turn
        )
        added = remembered - openly
        report.say(f"{algorithm}: checked {first:.0f} µs, remembered {added:.1f} µs, handshake {openly:.0f} µs")
        figures = (openly, first, added)
        ratios = [f"{(openly + each) / openly:.2f} {report.TIMES}" for each in (first, added)]
        rows.append([algorithm, *map(report.figure, figures), *ratios])
    head = [
        "algorithm",
        "handshake without, µs",
        "+ first check, µs",
        "+ remembered, µs",
        "ratio first",
        "ratio remembered",
    ]
    text = f"A token is checked once and remembered while its key, its time and its id count (target: {_TARGET_US} µs):"
    return "\n".join([text, "", *report.table(head, rows)])
