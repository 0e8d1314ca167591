"""Settings of the broker. The only file of this package that reads the environment."""

from __future__ import annotations

import os
import pwd
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from broker import known_settings
from broker.contract.errors import BadInput, InvalidSetting
from broker.contract.retention import Retention, parse_retention
from broker.contract.url_policy import MAX_ALLOWED_HOSTS, allowed_host
from broker.login import NatsSettings, check

DEFAULT_NATS_URL = "nats://127.0.0.1:4222"
_SCHEME = re.compile(r"(\w+://)")
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,3})?")


MAX_REPLICAS = 5
DEFAULT_MAX_AGE_S = 7 * 24 * 3600
DEFAULT_FRAMES_MAX_BYTES = 2 * 2**30
DEFAULT_FRAMES_PER_RUN = 1500
"""Ten minutes, the longest budget, at two a second, and room for a second attempt."""
_MIN_AGE_S = 1.0
_LONGEST_AGE_S = 100 * 365 * 24 * 3600
_MOST_BYTES = 2**62


class StreamSettings(NamedTuple):
    """How a stream is made. One that stands keeps what it has."""

    max_age_s: float = DEFAULT_MAX_AGE_S
    """How long a run is kept whose project `TESTCAST_RETENTION` does not name, seconds; 0: for ever. The stream of
    events remembers it from when it was made."""
    max_bytes: int = 0
    """How large the stream of events may become; the oldest events go first. 0: unlimited."""
    frames_max_bytes: int = DEFAULT_FRAMES_MAX_BYTES
    """How large the stream of pictures may become; the oldest pictures go first. 0: unlimited."""
    frames_per_run: int = DEFAULT_FRAMES_PER_RUN
    """How many pictures of one run are kept; its oldest go first."""


class MetricsSettings(NamedTuple):
    """Where a part serves its metrics."""

    host: str = "127.0.0.1"
    port: int = 0
    """0: nowhere."""


class LogSettings(NamedTuple):
    """What a process writes to its log."""

    format: str = "text"
    """"text" or "json"."""
    level: str = "info"
    """"debug", "info", "warning" or "error"."""


_LOG_FORMATS = ("text", "json")
_LOG_LEVELS = ("debug", "info", "warning", "error")


class TraceSettings(NamedTuple):
    """Where traces go. docs/logs.md describes them."""

    endpoint: str = ""
    """The address that spans are posted to; empty: there are no traces."""
    sample: float = 1.0
    """The share of runs that are traced, and of their progress events, from 0 to 1."""


class BrokerConfig(NamedTuple):
    """How to reach the broker, or where an embedded one keeps its data."""

    nats_url: str
    replicas: int
    state_dir: Path | None
    """None where none is named and the user has no home directory: only what writes nothing can run."""
    server_binary: str | None
    login: NatsSettings | None = None
    """How to log in; None: as the environment says."""


def streams(environ: Mapping[str, str] = os.environ) -> StreamSettings:
    """Reads `TESTCAST_EVENTS_MAX_AGE_S`, `TESTCAST_EVENTS_MAX_BYTES`, `TESTCAST_FRAMES_MAX_BYTES`,
    `TESTCAST_FRAMES_PER_RUN`.

    Raises:
        InvalidSetting: a value makes no sense; the message names the variable.
    """
    max_age_s = number("TESTCAST_EVENTS_MAX_AGE_S", DEFAULT_MAX_AGE_S, 0, _LONGEST_AGE_S, environ)
    if 0 < max_age_s < _MIN_AGE_S:
        raise InvalidSetting(f"TESTCAST_EVENTS_MAX_AGE_S: {max_age_s:g} is less than {_MIN_AGE_S:g}; 0 keeps for ever")
    return StreamSettings(
        max_age_s,
        whole("TESTCAST_EVENTS_MAX_BYTES", 0, 0, _MOST_BYTES, environ),
        whole("TESTCAST_FRAMES_MAX_BYTES", DEFAULT_FRAMES_MAX_BYTES, 0, _MOST_BYTES, environ),
        whole("TESTCAST_FRAMES_PER_RUN", DEFAULT_FRAMES_PER_RUN, 1, 100_000, environ),
    )


def retention(environ: Mapping[str, str] = os.environ) -> Retention:
    """Reads `TESTCAST_RETENTION`.

    Raises:
        InvalidSetting: it makes no sense; the message names the variable.
    """
    try:
        return parse_retention(environ.get("TESTCAST_RETENTION", ""))
    except BadInput as error:
        raise InvalidSetting(f"TESTCAST_RETENTION: {error.message}") from None


def metrics(environ: Mapping[str, str] = os.environ) -> MetricsSettings:
    """Reads `TESTCAST_METRICS_HOST`, `TESTCAST_METRICS_PORT`.

    Raises:
        InvalidSetting: the port is no whole number from 0 to 65535; the message names the variable.
    """
    host = environ.get("TESTCAST_METRICS_HOST", "").strip(" []") or MetricsSettings().host
    return MetricsSettings(host, whole("TESTCAST_METRICS_PORT", 0, 0, 65535, environ))


def nats(environ: Mapping[str, str] = os.environ) -> NatsSettings:
    """Reads `TESTCAST_NATS_CA`, `…_CERT`, `…_KEY`, `…_CREDS`, `…_NKEY`, `…_JS_DOMAIN`, `…_JS_API_PREFIX`,
    `…_INBOX_PREFIX`.

    Raises:
        InvalidSetting: a file is missing or of no use, or two of the settings exclude each other. The message names the
            variable.
    """
    domain, prefix = _api(environ)
    settings = NatsSettings(
        ca=_path("TESTCAST_NATS_CA", environ),
        certificate=_path("TESTCAST_NATS_CERT", environ),
        key=_path("TESTCAST_NATS_KEY", environ),
        credentials=_path("TESTCAST_NATS_CREDS", environ),
        nkey=_path("TESTCAST_NATS_NKEY", environ),
        domain=domain,
        api_prefix=prefix,
        inbox_prefix=_inbox_prefix(environ),
    )
    check(settings)
    return settings


def _path(name: str, environ: Mapping[str, str]) -> Path | None:
    given = environ.get(name, "").strip()
    return Path(given).expanduser() if given else None


def _api(environ: Mapping[str, str]) -> tuple[str, str]:
    """The domain and the prefix of JetStream's API: at most one of them is set."""
    domain = environ.get("TESTCAST_NATS_JS_DOMAIN", "").strip()
    prefix = environ.get("TESTCAST_NATS_JS_API_PREFIX", "").strip().removesuffix(".>").rstrip(".")
    if domain and prefix:
        raise InvalidSetting("TESTCAST_NATS_JS_API_PREFIX: TESTCAST_NATS_JS_DOMAIN is set as well; set one")
    if domain and not re.fullmatch(r"[^\s.*>]+", domain):
        raise InvalidSetting(f"TESTCAST_NATS_JS_DOMAIN: {domain!r} is not the name of a domain: no dot, star or space")
    if prefix and not re.fullmatch(r"[^\s.*>]+(\.[^\s.*>]+)*", prefix):
        raise InvalidSetting(f"TESTCAST_NATS_JS_API_PREFIX: {prefix!r} is not a subject")
    return domain, prefix


def _inbox_prefix(environ: Mapping[str, str]) -> str:
    prefix = environ.get("TESTCAST_NATS_INBOX_PREFIX", "").strip().removesuffix(".>").rstrip(".") or "_INBOX"
    if not re.fullmatch(r"[^\s.*>]+(\.[^\s.*>]+)*", prefix):
        raise InvalidSetting(f"TESTCAST_NATS_INBOX_PREFIX: {prefix!r} is not a subject")
    return prefix


def manages_streams(environ: Mapping[str, str] = os.environ) -> bool:
    """Reads `TESTCAST_NATS_MANAGE_STREAMS`: whether this part declares what is missing on the broker.

    Raises:
        InvalidSetting: the value is neither yes nor no.
    """
    return switch("TESTCAST_NATS_MANAGE_STREAMS", True, environ)


def replicas(environ: Mapping[str, str] = os.environ) -> int:
    """Reads `TESTCAST_NATS_REPLICAS`.

    Raises:
        InvalidSetting: it is no whole number from 1 to `MAX_REPLICAS`.
    """
    return whole("TESTCAST_NATS_REPLICAS", 1, 1, MAX_REPLICAS, environ)


def load(environ: Mapping[str, str] = os.environ) -> BrokerConfig:
    """Reads `TESTCAST_NATS_URL`, `TESTCAST_NATS_REPLICAS`, `TESTCAST_STATE_DIR`, `NATS_SERVER`.

    Raises:
        InvalidSetting: a value makes no sense; the message names the variable.
    """
    url = environ.get("TESTCAST_NATS_URL") or DEFAULT_NATS_URL
    for each in url.split(","):
        check_scheme(each)
    copies = replicas(environ)
    streams(environ)  # a wrong value is told at the start, not when it is used
    logs(environ)
    traces(environ)
    nats(environ)
    manages_streams(environ)
    metrics(environ)
    return BrokerConfig(url, copies, _state_dir(environ), environ.get("NATS_SERVER") or None)


def check_scheme(url: str) -> None:
    """Checks that one address is of a kind that can be connected to.

    Raises:
        InvalidSetting: it is not; the message names the variable.
    """
    if url.startswith(("ws://", "wss://")):
        raise InvalidSetting(
            f"TESTCAST_NATS_URL: {redacted(url)!r}: testcast does not speak WebSocket to NATS: "
            "give the server's client port, as nats:// or tls://"
        )
    if not url.startswith(("nats://", "tls://")):
        raise InvalidSetting(f"TESTCAST_NATS_URL: {redacted(url)!r} is no address like {DEFAULT_NATS_URL}")


def _state_dir(environ: Mapping[str, str]) -> Path | None:
    """The directory that is named, or one below the user's. Relative homes do not count, as the XDG rules have it."""
    named = environ.get("TESTCAST_STATE_DIR")
    if named:
        try:
            return Path(named).expanduser()
        except RuntimeError:
            raise InvalidSetting(f"TESTCAST_STATE_DIR: {named!r}: there is no such home directory") from None
    state_home = Path(environ.get("XDG_STATE_HOME") or "")
    if state_home.is_absolute():
        return state_home / "testcast"
    home = Path(environ.get("HOME") or "")
    if not home.is_absolute():
        try:
            home = Path(pwd.getpwuid(os.getuid()).pw_dir)
        except KeyError:  # a user id without an account, as containers have
            return None
    return home / ".local" / "state" / "testcast"


def redacted(url: str) -> str:
    """Returns broker addresses (separated by commas) without user, password and token, for logs and pages."""
    # Everything up to the last @ of an address is dropped: a password may contain any character, a comma too.
    pieces = [piece if piece.endswith("://") else piece.rpartition("@")[2] for piece in _SCHEME.split(url)]
    return ",".join(each.partition("?")[0] for each in "".join(pieces).split(","))


def number(name: str, default: float, low: float, high: float, environ: Mapping[str, str] = os.environ) -> float:
    """Reads a number from the environment.

    Raises:
        InvalidSetting: it is not a number, or not between `low` and `high`; the message names the variable.
    """
    given = environ.get(name, "").strip()
    if not given:
        return default
    if not _NUMBER.fullmatch(given):
        raise InvalidSetting(f"{name}: {given!r} is not a number")
    value = float(given)
    if not low <= value <= high:
        raise InvalidSetting(f"{name}: {given} is not between {low:g} and {high:g}")
    return value


def whole(name: str, default: int, low: int, high: int, environ: Mapping[str, str] = os.environ) -> int:
    """Reads a whole number from the environment.

    Raises:
        InvalidSetting: it is not one, or not between `low` and `high`; the message names the variable.
    """
    value = number(name, default, low, high, environ)
    if value != int(value):
        raise InvalidSetting(f"{name}: {value:g} is not a whole number")
    return int(value)


def allow_private(environ: Mapping[str, str] = os.environ) -> bool | None:
    """Reads `TESTCAST_ALLOW_PRIVATE`, or `TESTCAST_AGENT_ALLOW_PRIVATE`, its name in earlier versions.

    Returns:
        Whether games at private and loopback addresses may be tested; None when it is not set.

    Raises:
        InvalidSetting: the value is neither yes nor no; the message names the variable.
    """
    for name in ("TESTCAST_ALLOW_PRIVATE", "TESTCAST_AGENT_ALLOW_PRIVATE"):
        if environ.get(name, "").strip():
            return switch(name, False, environ)
    return None


def allowed_hosts(environ: Mapping[str, str] = os.environ) -> frozenset[str]:
    """Reads `TESTCAST_ALLOW_HOSTS`: hosts that may be tested although their addresses are private.

    Returns:
        Entries as `url_policy.allowed_host` returns them.

    Raises:
        InvalidSetting: an entry is neither `host` nor `host:port`, or there are too many; the message names it.
    """
    given = [each.strip() for each in environ.get("TESTCAST_ALLOW_HOSTS", "").split(",") if each.strip()]
    if len(given) > MAX_ALLOWED_HOSTS:
        raise InvalidSetting(f"TESTCAST_ALLOW_HOSTS: {len(given)} hosts; at most {MAX_ALLOWED_HOSTS} are taken")
    return frozenset(map(allowed_host, given))


def logs(environ: Mapping[str, str] = os.environ) -> LogSettings:
    """Reads `TESTCAST_LOG_FORMAT` and `TESTCAST_LOG_LEVEL`.

    Raises:
        InvalidSetting: a value makes no sense; the message names the variable.
    """
    return LogSettings(
        _one_of("TESTCAST_LOG_FORMAT", _LOG_FORMATS, "text", environ),
        _one_of("TESTCAST_LOG_LEVEL", _LOG_LEVELS, "info", environ),
    )


def _one_of(name: str, words: tuple[str, ...], default: str, environ: Mapping[str, str]) -> str:
    given = environ.get(name, "").strip().lower()
    if given and given not in words:
        raise InvalidSetting(f"{name}: {given[:80]!r} is none of {', '.join(words)}")
    return given or default


def traces(environ: Mapping[str, str] = os.environ) -> TraceSettings:
    """Reads `TESTCAST_OTLP_ENDPOINT` and `TESTCAST_OTLP_SAMPLE`.

    Raises:
        InvalidSetting: a value makes no sense; the message names the variable.
    """
    sample = number("TESTCAST_OTLP_SAMPLE", 1.0, 0, 1, environ)
    given = environ.get("TESTCAST_OTLP_ENDPOINT", "").strip()
    return TraceSettings(_trace_endpoint(given) if given else "", sample)


_TRACES_PATH = "/v1/traces"


def _trace_endpoint(given: str) -> str:
    """The whole address: the path of OTLP over HTTP is added to a collector's."""
    try:
        parts = urlsplit(given)
        sound = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        sound = False
    if not sound or not given.isprintable() or " " in given:
        raise InvalidSetting(
            f"TESTCAST_OTLP_ENDPOINT: {redacted(given)[:200]!r} is no address like http://127.0.0.1:4318"
        )
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise InvalidSetting(
            "TESTCAST_OTLP_ENDPOINT: it has no user, password or query: OTEL_EXPORTER_OTLP_HEADERS holds secrets"
        )
    path = parts.path.rstrip("/")
    return f"{parts.scheme}://{parts.netloc}{path if path.endswith(_TRACES_PATH) else path + _TRACES_PATH}"


def login_given(environ: Mapping[str, str] = os.environ) -> list[str]:
    """Returns the names of the settings for logging in that are set."""
    return [name for name in known_settings.LOGIN if environ.get(name, "").strip()]


def unknown(environ: Mapping[str, str] = os.environ) -> list[str]:
    """Returns a sentence for each variable whose name begins like a setting's and is none."""
    return known_settings.unknown(environ)


def switch(name: str, default: bool, environ: Mapping[str, str] = os.environ) -> bool:
    """Reads a switch from the environment: 1/0, true/false, yes/no, on/off.

    Raises:
        InvalidSetting: it is something else; the message names the variable.
    """
    given = environ.get(name, "").strip().lower()
    if not given:
        return default
    if given in ("1", "true", "yes", "on"):
        return True
    if given in ("0", "false", "no", "off"):
        return False
    raise InvalidSetting(f"{name}: {given!r} is neither 1 nor 0")


def given(names: Iterable[str], environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Returns those of these environment variables that are set, and their values."""
    return {name: environ[name] for name in names if name in environ}
