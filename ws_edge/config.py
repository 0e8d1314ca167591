"""The settings of an edge, from the environment. The only file of this package that reads it."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping
from typing import NamedTuple

from broker.config import allow_private, allowed_hosts, number, switch, whole
from broker.contract.errors import InvalidSetting
from ws_edge.origins import Origins, PublicUrl, parse_public_url

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

PROGRESS_INTERVAL_S = 5.0
_MAPPED_BITS = 96
"""`::ffff:0:0/96` holds the IPv4 addresses (RFC 4291, 2.5.5.2)."""


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
    allowed_origins: Origins = Origins()
    public_url: PublicUrl | None = None
    projector: bool = True
    reaper: bool = True
    run_lost_s: float = 900.0
    allow_private: bool = False
    allowed_hosts: frozenset[str] = frozenset()
    demo_game_url: str | None = None

    @property
    def prefix(self) -> bytes:
        """The path of the public URL as it stands in requests, without a slash at its end; empty for none."""
        return b"" if self.public_url is None else self.public_url.prefix.encode("ascii")


def load(environ: Mapping[str, str] = os.environ) -> EdgeConfig:
    """Reads `TESTCAST_EDGE_…`, `TESTCAST_RUN_LOST_S`, `TESTCAST_ALLOW_PRIVATE` and `TESTCAST_ALLOW_HOSTS`.

    Raises:
        InvalidSetting: a value makes no sense; the message names the variable.
    """
    default = EdgeConfig()

    def of(name: str, standard: float, low: float, high: float) -> float:
        return number(f"TESTCAST_EDGE_{name}", standard, low, high, environ)

    def count_of(name: str, standard: int, low: int, high: int) -> int:
        return whole(f"TESTCAST_EDGE_{name}", standard, low, high, environ)

    return EdgeConfig(
        host=environ.get("TESTCAST_EDGE_HOST", "").strip(" []") or default.host,
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
        public_url=_public_url(environ.get("TESTCAST_EDGE_PUBLIC_URL", "").strip()),
        projector=switch("TESTCAST_EDGE_PROJECTOR", default.projector, environ),
        reaper=switch("TESTCAST_EDGE_REAPER", default.reaper, environ),
        run_lost_s=number("TESTCAST_RUN_LOST_S", default.run_lost_s, 1, 7 * 86400, environ),
        allow_private=allow_private(environ) or False,
        allowed_hosts=allowed_hosts(environ),
        demo_game_url=environ.get("TESTCAST_EDGE_DEMO_GAME_URL") or None,
    )


def _networks(given: str) -> tuple[Network, ...]:
    return tuple(_network(each) for each in _members(given))


def _network(given: str) -> Network:
    """Reads an address or a network. IPv4 networks that are mapped into IPv6 become plain, as peers' addresses do."""
    try:
        network = ipaddress.ip_network(given.replace("[", "").replace("]", ""), strict=False)
    except ValueError:
        raise InvalidSetting(f"TESTCAST_EDGE_TRUSTED_PROXIES: {given!r} is no address or network") from None
    mapped = network.network_address.ipv4_mapped if network.version == 6 else None
    if mapped is None or network.prefixlen < _MAPPED_BITS:
        return network
    return ipaddress.ip_network((mapped, network.prefixlen - _MAPPED_BITS))


def _origins(given: str) -> Origins:
    origins = _members(given)
    for each in origins:
        try:
            Origins([each])
        except ValueError as error:
            raise InvalidSetting(f"TESTCAST_EDGE_ALLOWED_ORIGINS: {each!r} can't be allowed: {error}") from None
    return Origins(origins)


def _public_url(given: str) -> PublicUrl | None:
    try:
        return parse_public_url(given) if given else None
    except ValueError as error:
        raise InvalidSetting(f"TESTCAST_EDGE_PUBLIC_URL: {given!r} can't be used: {error}") from None


def _members(given: str) -> list[str]:
    return [each.strip() for each in given.split(",") if each.strip()]
