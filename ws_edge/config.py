"""The settings of an edge, from the environment. The only file of this package that reads it."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from broker.config import allow_private, allowed_hosts, number, retention, switch, whole
from broker.contract.errors import InvalidSetting
from broker.contract.retention import Retention
from ws_edge.access.files import read_file, read_secret, readable_by_others
from ws_edge.access.oidc_settings import CLIENT_SECRET_FILE, OidcConfig, oidc_config
from ws_edge.access.settings import KEYS, SECRET_FILE, SESSION_KEY_FILE, AccessConfig, access_config
from ws_edge.limits import Limits
from ws_edge.origins import Origins, PublicUrl, canonical_host, parse_public_url
from ws_edge.webhooks import settings as webhook_settings
from ws_edge.webhooks.settings import SETTING as WEBHOOKS
from ws_edge.webhooks.settings import Webhook

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

PROGRESS_INTERVAL_S = 5.0
MAX_WEBHOOKS_FILE_BYTES = 64 * 1024
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
    hosts: tuple[str, ...] = ()
    public_url: PublicUrl | None = None
    limits: Limits = Limits()
    projector: bool = True
    reaper: bool = True
    keeper: bool = True
    io_uring: bool = True
    retention: Retention = Retention(None)
    pins_per_project: int = 1000
    run_lost_s: float = 900.0
    allow_private: bool = False
    allowed_hosts: frozenset[str] = frozenset()
    demo_game_url: str | None = None
    access: AccessConfig = AccessConfig()
    oidc: OidcConfig | None = None
    insecure: bool = False
    canary_s: float = 10.0
    """Between two events of the canary; 0: none."""
    webhooks: tuple[Webhook, ...] = ()

    def page_of(self, test_id: str) -> str | None:
        """The address of a run's page; None without a public URL."""
        at = self.public_url
        return None if at is None else f"{at.origin}{at.prefix}/tests/{test_id}"

    @property
    def prefix(self) -> bytes:
        """The path of the public URL as it stands in requests, without a slash at its end; empty for none."""
        return b"" if self.public_url is None else self.public_url.prefix.encode("ascii")


def load(environ: Mapping[str, str] = os.environ) -> EdgeConfig:
    """Reads `TESTCAST_EDGE_…`, the settings of authentication and retention, `TESTCAST_RUN_LOST_S`,
    `TESTCAST_ALLOW_PRIVATE`, `TESTCAST_ALLOW_HOSTS` and `TESTCAST_INSECURE`.

    Raises:
        InvalidSetting: a value makes no sense; the message names the variable.
    """
    default = EdgeConfig()

    def of(name: str, standard: float, low: float, high: float) -> float:
        return number(f"TESTCAST_EDGE_{name}", standard, low, high, environ)

    def count_of(name: str, standard: int, low: int, high: int) -> int:
        return whole(f"TESTCAST_EDGE_{name}", standard, low, high, environ)

    config = EdgeConfig(
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
        hosts=tuple(_host(each) for each in _members(environ.get("TESTCAST_EDGE_HOSTS", ""))),
        limits=_limits(environ),
        public_url=_public_url(environ.get("TESTCAST_EDGE_PUBLIC_URL", "").strip()),
        projector=switch("TESTCAST_EDGE_PROJECTOR", default.projector, environ),
        reaper=switch("TESTCAST_EDGE_REAPER", default.reaper, environ),
        keeper=switch("TESTCAST_EDGE_KEEPER", default.keeper, environ),
        io_uring=switch("TESTCAST_EDGE_IO_URING", default.io_uring, environ),
        retention=retention(environ),
        pins_per_project=whole("TESTCAST_PINS_PER_PROJECT", default.pins_per_project, 0, 100_000, environ),
        run_lost_s=number("TESTCAST_RUN_LOST_S", default.run_lost_s, 1, 7 * 86400, environ),
        allow_private=allow_private(environ) or False,
        allowed_hosts=allowed_hosts(environ),
        demo_game_url=environ.get("TESTCAST_EDGE_DEMO_GAME_URL") or None,
        access=access(environ),
        insecure=switch("TESTCAST_INSECURE", default.insecure, environ),
        canary_s=of("CANARY_S", default.canary_s, 0, 3600),
        webhooks=webhooks(environ, []),
    )
    return config._replace(oidc=_oidc(config, environ))


def webhooks(environ: Mapping[str, str], secrets: list[Path]) -> tuple[Webhook, ...]:
    """Reads the file that `TESTCAST_WEBHOOKS` names, and the secret files that it names, relative to its folder.

    Args:
        secrets: the secret files are appended to it.

    Raises:
        InvalidSetting: it cannot be read, or makes no sense; the message names the variable.
    """
    given = environ.get(WEBHOOKS, "").strip()
    if not given:
        return ()
    path = Path(given).expanduser()

    def read(named: str) -> bytes:
        file = path.parent / Path(named).expanduser()
        secrets.append(file)
        return read_secret(WEBHOOKS, file)

    text = read_file(WEBHOOKS, path, MAX_WEBHOOKS_FILE_BYTES + 1)
    if len(text) > MAX_WEBHOOKS_FILE_BYTES:
        raise InvalidSetting(f"{WEBHOOKS}: the file has more than {MAX_WEBHOOKS_FILE_BYTES} bytes")
    return webhook_settings.parse(text, is_json=path.suffix == ".json", read_secret=read)


def _oidc(config: EdgeConfig, environ: Mapping[str, str]) -> OidcConfig | None:
    """Reads the settings of OpenID Connect and the secret file that they name."""
    path = environ.get(CLIENT_SECRET_FILE, "").strip()
    secret = read_secret(CLIENT_SECRET_FILE, Path(path).expanduser()) if path else None
    oidc = oidc_config(environ, secret, config.public_url, config.host, config.port)
    if oidc is not None and (not config.access.enabled or config.access.session_key is None):
        raise InvalidSetting(f"TESTCAST_OIDC_ISSUER: set {KEYS} and {SESSION_KEY_FILE} as well; see docs/access.md")
    return oidc


def access(environ: Mapping[str, str] = os.environ) -> AccessConfig:
    """Reads the settings of authentication and the secret files that they name.

    Raises:
        InvalidSetting: a value makes no sense, or a file cannot be read; the message names the variable.
    """
    files = _access_files(environ)
    if (keys := files.get(KEYS)) is not None:
        from ws_edge.access.keys import read_keys  # cryptography takes 0.3 s to import

        read_keys(keys)
    secrets = {name: read_secret(name, path) for name, path in files.items() if name != KEYS}
    return access_config(environ, secrets)


def access_warnings(environ: Mapping[str, str] = os.environ) -> list[str]:
    """A sentence for each secret file that other users may read."""
    of_webhooks: list[Path] = []
    webhooks(environ, of_webhooks)
    secrets = [(name, path) for name, path in _access_files(environ).items() if name != KEYS]
    return [
        f"{name}: other users may read or change {path}: `chmod 600 {path}` keeps it secret"
        for name, path in [*secrets, *((WEBHOOKS, path) for path in of_webhooks)]
        if readable_by_others(path)
    ]


def _access_files(environ: Mapping[str, str]) -> dict[str, Path]:
    """The files that the settings name. Keys at an address are none."""
    given = {name: environ.get(name, "").strip() for name in (KEYS, SECRET_FILE, SESSION_KEY_FILE)}
    return {name: Path(each).expanduser() for name, each in given.items() if each and "://" not in each}


def _limits(environ: Mapping[str, str]) -> Limits:
    default = Limits()

    def count_of(name: str, standard: int, low: int, high: int) -> int:
        return whole(f"TESTCAST_EDGE_{name}", standard, low, high, environ)

    def of(name: str, standard: float) -> float:
        return number(f"TESTCAST_EDGE_{name}", standard, 0, 1_000_000, environ)

    return Limits(
        max_head_bytes=count_of("MAX_HEAD_BYTES", default.max_head_bytes, 8192, 1 << 20),
        max_tests_in_address=count_of("MAX_TESTS_IN_ADDRESS", default.max_tests_in_address, 1, 150),
        max_connections=count_of("MAX_CONNECTIONS", default.max_connections, 1, 1_000_000),
        max_connections_per_address=count_of(
            "MAX_CONNECTIONS_PER_ADDRESS", default.max_connections_per_address, 0, 1_000_000
        ),
        answer_s=number("TESTCAST_EDGE_ANSWER_S", default.answer_s, 1, 3600, environ),
        max_unread_bytes=count_of("MAX_UNREAD_BYTES", default.max_unread_bytes, 1 << 20, 1 << 40),
        max_reads_at_once=count_of("MAX_READS_AT_ONCE", default.max_reads_at_once, 1, 10_000),
        messages_per_s=of("MESSAGES_PER_S", default.messages_per_s),
        submits_per_s=of("SUBMITS_PER_S", default.submits_per_s),
        cancels_per_s=of("CANCELS_PER_S", default.cancels_per_s),
        publishes_per_s=of("PUBLISHES_PER_S", default.publishes_per_s),
        lists_per_s=of("LISTS_PER_S", default.lists_per_s),
        reads_per_s=of("READS_PER_S", default.reads_per_s),
        sign_ins_per_s=of("SIGN_INS_PER_S", default.sign_ins_per_s),
    )


def _host(given: str) -> str:
    try:
        return canonical_host(given)
    except ValueError as error:
        raise InvalidSetting(f"TESTCAST_EDGE_HOSTS: {given!r} can't be used: {error}") from None


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
