"""The settings of an edge, from the environment. The only file of this package that reads it."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping
from typing import NamedTuple

from broker.config import allow_private, number, switch, whole
from broker.contract.errors import InvalidSetting

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

PROGRESS_INTERVAL_S = 5.0


class EdgeConfig(NamedTuple):
    """The settings of one edge node. The table in the README explains each and has the same defaults."""

    host: str = "127.0.0.1"
    port: int = 8000
    workers: int = 1
    progress_interval_s: float = PROGRESS_INTERVAL_S
    heartbeat_s: float = 15.0
    drain_s: float = 10.0
    high_water_bytes: int = 64 * 1024
    max_subscriptions: int = 1024
    max_sockets: int = 15_000
    max_sockets_per_address: int = 2_000
    handshakes_per_s: float = 5_000.0
    trusted_proxies: tuple[Network, ...] = ()
    allowed_origins: frozenset[str] = frozenset()
    projector: bool = True
    reaper: bool = True
    run_lost_s: float = 900.0
    allow_private: bool = False
    demo_game_url: str | None = None


def load(environ: Mapping[str, str] = os.environ) -> EdgeConfig:
    """Reads `TESTCAST_EDGE_…`, `TESTCAST_RUN_LOST_S` and `TESTCAST_ALLOW_PRIVATE`.

    Raises:
        InvalidSetting: a value makes no sense; the message names the variable.
    """
    default = EdgeConfig()

    def of(name: str, standard: float, low: float, high: float) -> float:
        return number(f"TESTCAST_EDGE_{name}", standard, low, high, environ)

    def count_of(name: str, standard: int, low: int, high: int) -> int:
        return whole(f"TESTCAST_EDGE_{name}", standard, low, high, environ)

    return EdgeConfig(
        host=environ.get("TESTCAST_EDGE_HOST") or default.host,
        port=count_of("PORT", default.port, 0, 65535),
        workers=count_of("WORKERS", default.workers, 1, 256),
        progress_interval_s=of("PROGRESS_INTERVAL_S", default.progress_interval_s, 0, 3600),
        heartbeat_s=of("HEARTBEAT_S", default.heartbeat_s, 0.1, 25),  # a viewer gives up after 35 s of silence
        drain_s=of("DRAIN_S", default.drain_s, 0, 600),
        high_water_bytes=count_of("HIGH_WATER_BYTES", default.high_water_bytes, 4096, 16 << 20),
        max_subscriptions=count_of("MAX_SUBSCRIPTIONS", default.max_subscriptions, 1, 100_000),
        max_sockets=count_of("MAX_SOCKETS", default.max_sockets, 1, 1_000_000),
        max_sockets_per_address=count_of("MAX_SOCKETS_PER_ADDRESS", default.max_sockets_per_address, 0, 1_000_000),
        handshakes_per_s=of("HANDSHAKES_PER_S", default.handshakes_per_s, 0, 1_000_000),
        trusted_proxies=_networks(environ.get("TESTCAST_EDGE_TRUSTED_PROXIES", "")),
        allowed_origins=_origins(environ.get("TESTCAST_EDGE_ALLOWED_ORIGINS", "")),
        projector=switch("TESTCAST_EDGE_PROJECTOR", default.projector, environ),
        reaper=switch("TESTCAST_EDGE_REAPER", default.reaper, environ),
        run_lost_s=number("TESTCAST_RUN_LOST_S", default.run_lost_s, 1, 7 * 86400, environ),
        allow_private=allow_private(environ) or False,
        demo_game_url=environ.get("TESTCAST_EDGE_DEMO_GAME_URL") or None,
    )


def _networks(given: str) -> tuple[Network, ...]:
    networks: list[Network] = []
    for each in filter(None, (part.strip() for part in given.split(","))):
        try:
            networks.append(ipaddress.ip_network(each, strict=False))
        except ValueError:
            raise InvalidSetting(f"TESTCAST_EDGE_TRUSTED_PROXIES: {each!r} is no address or network") from None
    return tuple(networks)


def _origins(given: str) -> frozenset[str]:
    origins = frozenset(each.strip().lower().rstrip("/") for each in given.split(",") if each.strip())
    for origin in origins:
        if not origin.startswith(("http://", "https://")) or "/" in origin.split("://", 1)[1]:
            raise InvalidSetting(f"TESTCAST_EDGE_ALLOWED_ORIGINS: {origin!r} is no origin like https://example.com")
    return origins
