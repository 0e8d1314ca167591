"""Where what belongs: the rooms of the project, who may import whom, and which file knows which library.

The rules that read these tables are in `code.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

PACKAGES: Final = ("broker", "agent_worker", "ws_edge", "testcast", "pytest_testcast")
MAX_FUNCTION_LINES: Final = 50
MAX_FILE_LINES: Final = 400
REASON_FOR_LENGTH: Final = "Longer than 400 lines:"

MAY_IMPORT: Final[Mapping[str, frozenset[str]]] = {
    "broker": frozenset(),
    "agent_worker": frozenset({"broker"}),
    "ws_edge": frozenset({"broker"}),
    "testcast": frozenset({"broker", "agent_worker"}),
    "pytest_testcast": frozenset({"testcast"}),
}
"""Package -> the packages of this project that it may import."""
AGENT_FOR_TESTCAST: Final = "agent_worker.publish.run"
"""What `testcast` uses of the agent: publishing a run."""
DOCTOR: Final = "testcast/local/doctor.py"
"""Looks into every package: it reports what each of them needs."""

_LEAVES: Final = frozenset({"access", "config", "limits", "origins", "response_headers"})
EDGE_MAY_IMPORT: Final[Mapping[str, frozenset[str]]] = {
    "access": frozenset({"origins"}),
    "origins": frozenset(),
    "response_headers": frozenset({"origins"}),
    "limits": frozenset(),
    "config": frozenset({"access", "limits", "origins", "webhooks"}),
    "encoding": frozenset(),
    "fanout": _LEAVES | {"encoding"},
    "views": _LEAVES | {"encoding"},
    "webhooks": frozenset({"views"}),
    "transport": _LEAVES | {"encoding", "fanout"},
    "node_statistics": _LEAVES | {"fanout", "views", "transport", "webhooks"},
    "node": _LEAVES | {"encoding", "fanout", "views", "transport", "webhooks", "node_statistics"},
    "metrics": _LEAVES | {"fanout", "node", "node_statistics"},
    "api": _LEAVES | {"encoding", "fanout", "views", "transport", "node", "metrics"},
}
"""Room of `ws_edge` -> the rooms that it may import. `main`, `supervisor` and `__main__` start it and import any."""

_WORDS: Final = frozenset({"actions", "errors", "handle", "inputs", "policy", "screen", "wording"})
_PLAYED: Final = _WORDS | {"chromium", "owned_time"}
GAMES_MAY_IMPORT: Final[Mapping[str, frozenset[str]]] = {
    "actions": frozenset(),
    "errors": frozenset(),
    "handle": frozenset(),
    "inputs": frozenset({"actions"}),
    "policy": frozenset({"actions", "errors"}),
    "screen": frozenset(),
    "wording": frozenset({"actions"}),
    "chromium": _WORDS - {"inputs"},
    "owned_time": _WORDS | {"chromium"},
    "findings": _PLAYED,
    "controls": _PLAYED | {"findings"},
    "play": _PLAYED,
    "model": _WORDS | {"play"},
    "realtime": _WORDS | {"chromium"},
    "run": _PLAYED | {"findings", "controls", "play", "model", "realtime"},
}
"""Room of `agent_worker/games` -> the rooms that it may import. `player` and `reproduce` use any."""

ROOMS_MAY_IMPORT: Final[Mapping[str, Mapping[str, frozenset[str]]]] = {
    "ws_edge": EDGE_MAY_IMPORT,
    "agent_worker/games": GAMES_MAY_IMPORT,
}
STARTERS: Final[Mapping[str, frozenset[str]]] = {
    "ws_edge": frozenset({"__init__", "__main__", "main", "supervisor"}),
    "agent_worker/games": frozenset({"__init__", "player", "reproduce"}),
}
"""Files beside the rooms that put them together."""

_GAMES: Final = ("agent_worker.games", "broker.contract.url_policy", "playwright", "PIL", "h11")
NOT_FOR_AGENTS: Final[Mapping[str, tuple[str, ...]]] = {
    "publish": (*_GAMES, "agent_worker.work"),
    "work": _GAMES,
}
"""Room of `agent_worker` -> what it must not import."""

APART: Final[Mapping[str, tuple[str, ...]]] = {
    "broker/jetstream/": ("broker.local",),
    "broker/local/": ("broker.jetstream",),
    "agent_worker/games/": ("agent_worker.work",),
    "agent_worker/work/": ("agent_worker.games",),
}
"""Folder -> the rooms beside it that it must not import."""


def _in(folder: str, names: str) -> list[str]:
    return [f"{folder}/{name}.py" for name in names.split()]


PURE: Final = (
    "broker/contract/*.py",
    *_in("broker/export", "__init__ comments document findings junit page problems source suite webp"),
    *_in("broker/metrics", "__init__ figures histogram merge reading text"),
    "ws_edge/encoding/*.py",
    *_in("ws_edge/access", "access authorize principal cookies settings oidc_settings signer tokens"),
    "ws_edge/origins.py",
    "ws_edge/response_headers.py",
    "ws_edge/limits.py",
    *_in(
        "ws_edge/transport",
        "forwarded own_pages handshake admission buckets connections hosts request_head stream_request unread",
    ),
    *_in("ws_edge/views", "event_window flood frame_index"),
    *_in("ws_edge/webhooks", "settings message"),
    "ws_edge/api/badge_svg.py",
    "ws_edge/fanout/throttle.py",
    "ws_edge/fanout/resume.py",
    "ws_edge/fanout/continuity.py",
    "ws_edge/fanout/figures.py",
    "ws_edge/transport/call_figures.py",
    *_in("agent_worker/games", "actions errors inputs policy screen wording"),
    *_in("agent_worker/games/chromium", "__init__ limits page_state pictures reports screencast"),
    *_in("agent_worker/games/owned_time", "__init__ effects script trace"),
    *_in("agent_worker/games/findings", "__init__ finding minimise sightings"),
    *_in("agent_worker/games/controls", "__init__ candidates promised promised_words"),
    *_in("agent_worker/games/play", "__init__ cells episodes goals seat"),
    *_in("agent_worker/games/model", "__init__ settings prompt answer breaker budget"),
    *_in("agent_worker/games/run", "__init__ schedule scoring summary"),
    "agent_worker/games/realtime/seen.py",
    "testcast/cli/text.py",
    *_in("testcast/recording", "batches markers reports sgr splitter"),
    *_in("testcast/cli/top", "scrapes overview words"),
)
"""Modules that decide and do not act: time and randomness are arguments."""
IMPURE: Final = frozenset(
    {
        *("asyncio", "concurrent", "logging", "multiprocessing", "os", "random", "secrets", "select", "selectors"),
        *("signal", "socket", "ssl", "subprocess", "threading", "time", "uuid", "uvloop"),
    }
)
_CLOCKS: Final = frozenset({"now", "utcnow", "today"})
"""Methods of `datetime` and `date` that read the clock."""

HOMES: Final[Mapping[str, tuple[str, ...]]] = {
    "nats": ("broker/jetstream/client.py",),
    "nats_server": ("broker/local/embedded_server.py",),
    "playwright": tuple(
        f"agent_worker/games/chromium/{name}.py" for name in ("browser", "pages", "page", "gestures", "emptying")
    ),
    "PIL": ("agent_worker/games/chromium/pictures.py", "testcast/cli/animation.py"),
    "h11": ("agent_worker/games/chromium/egress_proxy.py", "agent_worker/games/chromium/http_peer.py"),
    "httptools": ("ws_edge/transport/*",),
    "opentelemetry": ("broker/tracing.py",),
    "prometheus_client": ("broker/metrics/*",),
    "uvicorn": ("broker/metrics/endpoint.py", "ws_edge/main.py", "ws_edge/transport/*"),
    "starlette": ("ws_edge/api/*",),
    "websockets": ("ws_edge/transport/*", "testcast/client/watch.py", "testcast/client/probe.py"),
    "authlib": ("ws_edge/api/oidc_provider.py",),
    "joserfc": (
        "broker/contract/token*.py",
        "ws_edge/access/*",
        "ws_edge/api/oidc*.py",
        "testcast/local/access_files.py",
    ),
    "httpx": (
        "agent_worker/games/model/endpoint.py",
        "broker/metrics/children.py",
        "testcast/cli/top/source.py",
        "ws_edge/access/keys.py",
        "ws_edge/api/oidc_provider.py",
        "ws_edge/webhooks/post.py",
        "testcast/client/rpc.py",
        "testcast/client/probe.py",
        "testcast/local/*",
    ),
    "pytest": ("pytest_testcast/*", "testcast/recording/pytest_session.py"),
    "click": (
        "testcast/cli/finding_commands.py",
        "testcast/cli/main.py",
        "testcast/cli/options.py",
        "testcast/cli/recording_commands.py",
        "testcast/cli/run_commands.py",
        "testcast/cli/token_commands.py",
    ),
    "rich": ("testcast/cli/*",),
    "textual": ("testcast/cli/top/app.py",),
    "mcp": ("testcast/mcp_server/server.py",),
    "pydantic": ("testcast/mcp_server/*",),
}
"""Library -> the files that know it. Another library behind the same seam then changes these and no other."""
ONLY_JETSTREAM_SAYS: Final = ("Nats-", "KV-", "$JS", "$KV", "+ACK", "-NAK", "+TERM", "+WPI")
