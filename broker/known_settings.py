"""The names of all environment variables of testcast, to find one that is misspelt. Pure.

A process reads only its own, but all of them may share one environment.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Final

PREFIX: Final = "TESTCAST"
_CLOSE: Final = 0.75
"""How similar a name has to be to be suggested, from 0 to 1: one or two letters in ten may differ."""

NAMES: Final = frozenset(
    {
        "TESTCAST_ACCESS_ALGORITHMS",
        "TESTCAST_ACCESS_ANONYMOUS",
        "TESTCAST_ACCESS_AUDIENCE",
        "TESTCAST_ACCESS_ISSUER",
        "TESTCAST_ACCESS_KEYS",
        "TESTCAST_ACCESS_SECRET_FILE",
        "TESTCAST_ACCESS_SESSION_KEY_FILE",
        "TESTCAST_AGENTS",
        "TESTCAST_AGENT_ALLOW_PRIVATE",
        "TESTCAST_AGENT_ALLOW_ROOT",
        "TESTCAST_AGENT_CHROMIUM",
        "TESTCAST_AGENT_CONCURRENCY",
        "TESTCAST_AGENT_CPUS",
        "TESTCAST_AGENT_DISK_MB",
        "TESTCAST_AGENT_IMAGE",
        "TESTCAST_AGENT_MEMORY_MB",
        "TESTCAST_AGENT_MODEL",
        "TESTCAST_AGENT_MODEL_CALLS",
        "TESTCAST_AGENT_MODEL_KEY_FILE",
        "TESTCAST_AGENT_MODEL_TIMEOUT_S",
        "TESTCAST_AGENT_MODEL_TOKENS",
        "TESTCAST_AGENT_MODEL_URL",
        "TESTCAST_AGENT_NAME",
        "TESTCAST_AGENT_PROCESSES",
        "TESTCAST_ALLOW_HOSTS",
        "TESTCAST_ALLOW_PRIVATE",
        "TESTCAST_BASE_IMAGE",
        "TESTCAST_BIND",
        "TESTCAST_EDGES",
        "TESTCAST_EDGE_ALLOWED_ORIGINS",
        "TESTCAST_EDGE_ANSWER_S",
        "TESTCAST_EDGE_CANARY_S",
        "TESTCAST_EDGE_CANCELS_PER_S",
        "TESTCAST_EDGE_DEMO_GAME_URL",
        "TESTCAST_EDGE_DRAIN_S",
        "TESTCAST_EDGE_HANDSHAKES_PER_S",
        "TESTCAST_EDGE_HEARTBEAT_S",
        "TESTCAST_EDGE_HIGH_WATER_BYTES",
        "TESTCAST_EDGE_HOST",
        "TESTCAST_EDGE_HOSTS",
        "TESTCAST_EDGE_IMAGE",
        "TESTCAST_EDGE_IO_URING",
        "TESTCAST_EDGE_KEEPER",
        "TESTCAST_EDGE_LISTS_PER_S",
        "TESTCAST_EDGE_MAX_CONNECTIONS",
        "TESTCAST_EDGE_MAX_CONNECTIONS_PER_ADDRESS",
        "TESTCAST_EDGE_MAX_HEAD_BYTES",
        "TESTCAST_EDGE_MAX_READS_AT_ONCE",
        "TESTCAST_EDGE_MAX_SOCKETS",
        "TESTCAST_EDGE_MAX_SOCKETS_PER_ADDRESS",
        "TESTCAST_EDGE_MAX_SUBSCRIPTIONS",
        "TESTCAST_EDGE_MAX_TESTS_IN_ADDRESS",
        "TESTCAST_EDGE_MAX_UNREAD_BYTES",
        "TESTCAST_EDGE_MESSAGES_PER_S",
        "TESTCAST_EDGE_PORT",
        "TESTCAST_EDGE_PROGRESS_INTERVAL_S",
        "TESTCAST_EDGE_PROJECTOR",
        "TESTCAST_EDGE_PUBLIC_URL",
        "TESTCAST_EDGE_PUBLISHES_PER_S",
        "TESTCAST_EDGE_READS_PER_S",
        "TESTCAST_EDGE_REAPER",
        "TESTCAST_EDGE_SIGN_INS_PER_S",
        "TESTCAST_EDGE_SUBMITS_PER_S",
        "TESTCAST_EDGE_TRUSTED_PROXIES",
        "TESTCAST_EDGE_WORKERS",
        "TESTCAST_EVENTS_MAX_AGE_S",
        "TESTCAST_EVENTS_MAX_BYTES",
        "TESTCAST_FRAMES_MAX_BYTES",
        "TESTCAST_FRAMES_PER_RUN",
        "TESTCAST_GRAFANA_IMAGE",
        "TESTCAST_GRAFANA_PORT",
        "TESTCAST_INSECURE",
        "TESTCAST_METRICS_HOST",
        "TESTCAST_METRICS_PORT",
        "TESTCAST_LOG_FORMAT",
        "TESTCAST_LOG_LEVEL",
        "TESTCAST_NATS_CA",
        "TESTCAST_NATS_CERT",
        "TESTCAST_NATS_CREDS",
        "TESTCAST_NATS_IMAGE",
        "TESTCAST_NATS_INBOX_PREFIX",
        "TESTCAST_NATS_JS_API_PREFIX",
        "TESTCAST_NATS_JS_DOMAIN",
        "TESTCAST_NATS_KEY",
        "TESTCAST_NATS_MANAGE_STREAMS",
        "TESTCAST_NATS_NKEY",
        "TESTCAST_NATS_REPLICAS",
        "TESTCAST_NATS_URL",
        "TESTCAST_OIDC_ACTIONS_CLAIM",
        "TESTCAST_OIDC_ALGORITHMS",
        "TESTCAST_OIDC_CLIENT_ID",
        "TESTCAST_OIDC_CLIENT_SECRET_FILE",
        "TESTCAST_OIDC_ISSUER",
        "TESTCAST_OIDC_NAME",
        "TESTCAST_OIDC_PROJECTS_CLAIM",
        "TESTCAST_OIDC_SCOPES",
        "TESTCAST_OIDC_SESSION_S",
        "TESTCAST_OIDC_SUBJECT_CLAIM",
        "TESTCAST_OTLP_ENDPOINT",
        "TESTCAST_OTLP_SAMPLE",
        "TESTCAST_PINS_PER_PROJECT",
        "TESTCAST_PORT",
        "TESTCAST_PROMETHEUS_IMAGE",
        "TESTCAST_PROXY_IMAGE",
        "TESTCAST_PUBLIC_PORT",
        "TESTCAST_RETENTION",
        "TESTCAST_RUN_LOST_S",
        "TESTCAST_STATE_DIR",
        "TESTCAST_TOKEN_FILE",
        "TESTCAST_WEBHOOKS",
        "TESTCAST_VERSION",
    }
)
"""`TESTCAST_BIND` and `TESTCAST_PORT` are read by docker-compose.yml."""
_NOT_LOGIN: Final = ("_URL", "_REPLICAS", "_STREAMS")
LOGIN: Final = tuple(sorted(each for each in NAMES if "_NATS_" in each and not each.endswith(_NOT_LOGIN)))
"""How to log in to a broker and to find its JetStream: of no use for one that testcast itself has started."""


def unknown(names: Iterable[str]) -> list[str]:
    """Returns a sentence for each of the names that begins like one of ours and is none."""
    ours = sorted(name for name in names if name.upper().startswith(PREFIX) and name not in NAMES)
    return [_sentence(name) for name in ours]


def _sentence(name: str) -> str:
    nearest = difflib.get_close_matches(name.upper(), sorted(NAMES), 1, _CLOSE)
    return f"{name} is not a setting and is ignored" + (f": is {nearest[0]} meant?" if nearest else "")
