"""The house rules, applied to this repository; and each of them catches an example that breaks it."""

from __future__ import annotations

import gc
import os
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Final

import pytest

from tests.house import code, pages, rooms

ROOT = Path(__file__).resolve().parents[2]


@cache
def tree() -> Mapping[str, str]:
    """Path -> text of every file that git keeps or would keep; empty where a file is not text."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout
    texts: dict[str, str] = {}
    for name in sorted(filter(None, map(os.fsdecode, listed.split(b"\0")))):
        if (ROOT / name).is_file():
            try:
                texts[name] = (ROOT / name).read_text(encoding="utf-8")
            except UnicodeDecodeError:
                texts[name] = ""
    return texts


@pytest.fixture(scope="module", autouse=True)
def trees() -> Iterator[None]:
    """The trees of all sources are millions of objects: the collector does not look at them, and they do not stay."""
    gc.disable()
    yield
    for each in (code._parsed, code.nodes, pages.prose):
        each.cache_clear()
    gc.enable()


@cache
def whole() -> pages.Tree:
    return pages.Tree(tree())


def production() -> list[str]:
    return [path for path in tree() if path.endswith(".py") and path.split("/")[0] in rooms.PACKAGES]


def python() -> list[str]:
    return [path for path in tree() if path.endswith(".py")]


def sources() -> list[str]:
    return [*python(), *(path for path in tree() if path.startswith("dashboard_ui/") and path.endswith(".js"))]


def texts() -> list[str]:
    """What people read, but for this file and the rules, which have to name what they look for."""
    endings = (
        ".py",
        ".js",
        ".mjs",
        ".ts",
        ".md",
        ".c",
        ".h",
        ".css",
        ".html",
        ".toml",
        ".yml",
        "Makefile",
        "Dockerfile",
    )
    rules = ("tests/unit/test_house.py", "tests/house/")
    return [path for path in tree() if path.endswith(endings) and not path.startswith(rules)]


def dangling_references(path: str, source: str) -> list[str]:
    return pages.dangling_references(path, source, whole())


RULES: Final[tuple[tuple[code.Rule, Callable[[], Iterable[str]]], ...]] = (
    (code.who_imports_whom, production),
    (code.rooms_in_order, production),
    (code.publish_and_work_know_no_game, production),
    (code.rooms_stay_apart, production),
    (code.no_star_imports, python),
    (code.only_config_reads_the_environment, production),
    (code.pure_modules_stay_pure, production),
    (code.one_place_knows_a_library, production),
    (code.only_jetstream_speaks_nats, production),
    (code.what_is_public_has_a_docstring, production),
    (code.functions_are_short, python),
    (code.files_are_short, sources),
    (pages.unshipped_documents, texts),
    (dangling_references, texts),
)


@pytest.mark.parametrize(("rule", "paths"), RULES, ids=[rule.__name__ for rule, _ in RULES])
def test_the_repository_keeps(rule: code.Rule, paths: Callable[[], Iterable[str]]) -> None:
    found = {path: rule(path, tree()[path]) for path in paths()}
    assert found, "there is something to look at"
    lines = [f"{path}: {line}" for path in sorted(found) for line in found[path]]
    assert not lines, "\n".join(["", *lines])


def test_there_is_no_import_cycle() -> None:
    assert code.cycles({path: tree()[path] for path in production()}) == []


def test_the_rules_name_what_there_is() -> None:
    """A rule about a file that was renamed would hold for ever."""
    for pattern in [*rooms.PURE, *(home for homes in rooms.HOMES.values() for home in homes), rooms.DOCTOR]:
        assert any(code.matches(path, [pattern]) for path in tree()), pattern
    for folder, barred in rooms.APART.items():
        for room in (folder, *(f"{each.replace('.', '/')}/" for each in barred)):
            assert any(path.startswith(room) for path in tree()), room
    for house, may_import in rooms.ROOMS_MAY_IMPORT.items():
        inside = [path.removeprefix(f"{house}/") for path in production() if path.startswith(f"{house}/")]
        named = {path.split("/")[0].removesuffix(".py") for path in inside}
        assert named == may_import.keys() | rooms.STARTERS[house]


# -- each rule catches what breaks it -------------------------------------------------------------------------------

TEXT_OF_51_LINES = "def long():\n" + "    pass\n" * 50
BROKEN: Final[tuple[tuple[code.Rule, str, str], ...]] = (
    (code.who_imports_whom, "broker/contract/ids.py", "import ws_edge.config"),
    (code.who_imports_whom, "agent_worker/work/worker.py", "from ws_edge import node"),
    (code.who_imports_whom, "ws_edge/node.py", "from agent_worker.publish.run import TestRun"),
    (code.who_imports_whom, "ws_edge/node.py", "def late():\n    import testcast"),
    (code.who_imports_whom, "broker/jetstream/api.py", "from ...testcast import config"),
    (code.who_imports_whom, "broker/log.py", "import importlib\nimportlib.import_module('testcast.config')"),
    (code.who_imports_whom, "testcast/client/feed.py", "from agent_worker.games import player"),
    (code.who_imports_whom, "testcast/client/feed.py", "from ws_edge.fanout.hub import Hub"),
    (code.rooms_in_order, "ws_edge/encoding/websocket.py", "from ws_edge.fanout.ring import Entry"),
    (code.rooms_in_order, "ws_edge/fanout/hub.py", "from ws_edge.transport import websocket"),
    (code.rooms_in_order, "ws_edge/fanout/hub.py", "from ..views.catalogue import Catalogue"),
    (code.rooms_in_order, "ws_edge/fanout/hub.py", "from ws_edge import views"),
    (code.rooms_in_order, "ws_edge/views/catalogue.py", "from ws_edge.fanout.hub import Hub"),
    (code.rooms_in_order, "ws_edge/transport/accept.py", "from ws_edge.api.rpc import METHODS"),
    (code.rooms_in_order, "ws_edge/api/rpc.py", "from ws_edge.main import serve"),
    (code.rooms_in_order, "agent_worker/games/play/search.py", "from agent_worker.games.run.course import Course"),
    (code.rooms_in_order, "agent_worker/games/chromium/page.py", "from ..owned_time.stage import Stage"),
    (code.rooms_in_order, "agent_worker/games/actions.py", "from agent_worker.games import inputs"),
    (code.publish_and_work_know_no_game, "agent_worker/publish/run.py", "from agent_worker.games import player"),
    (code.publish_and_work_know_no_game, "agent_worker/work/worker.py", "from ..games.player import play"),
    (code.publish_and_work_know_no_game, "agent_worker/work/worker.py", "from broker.contract import url_policy"),
    (code.publish_and_work_know_no_game, "agent_worker/work/worker.py", "import playwright.async_api"),
    (code.publish_and_work_know_no_game, "agent_worker/publish/run.py", "from agent_worker.work import queue"),
    (code.rooms_stay_apart, "broker/jetstream/api.py", "from broker.local import embedded_server"),
    (code.rooms_stay_apart, "broker/local/embedded_server.py", "from ..jetstream.client import Client"),
    (code.rooms_stay_apart, "agent_worker/games/player.py", "from agent_worker.work.outcome import TryAgain"),
    (code.rooms_stay_apart, "agent_worker/work/worker.py", "from agent_worker import games"),
    (code.no_star_imports, "ws_edge/node.py", "from os import *"),
    (code.only_config_reads_the_environment, "ws_edge/api/config.py", "import os\nx = os.environ"),
    (code.only_config_reads_the_environment, "ws_edge/api/rpc.py", "import os\nx = os.environ['A']"),
    (code.only_config_reads_the_environment, "ws_edge/api/rpc.py", "import os\nx = os.environ.get('A')"),
    (code.only_config_reads_the_environment, "ws_edge/api/rpc.py", "import os as o\nx = o.environb"),
    (code.only_config_reads_the_environment, "ws_edge/api/rpc.py", "import os\nx = os.getenv('A')"),
    (code.only_config_reads_the_environment, "ws_edge/api/rpc.py", "from os import environ"),
    (code.only_config_reads_the_environment, "ws_edge/api/rpc.py", "from os import getenv as setting"),
    (code.only_config_reads_the_environment, "ws_edge/api/rpc.py", "import os\nx = getattr(os, 'environ')"),
    (code.only_config_reads_the_environment, "ws_edge/api/rpc.py", "import os\ndef load(environ=os.environ): ..."),
    (code.only_config_reads_the_environment, "ws_edge/api/rpc.py", "import os\nx = os.path.expandvars('$A')"),
    (code.only_config_reads_the_environment, "testcast/cli/main.py", "option('--url', envvar='A')"),
    *(
        (code.pure_modules_stay_pure, "broker/contract/snapshot.py", f"import {name}")
        for name in (
            "asyncio",
            "time",
            "random",
            "socket",
            "os",
            "threading",
            "subprocess",
            "os.path",
            "asyncio.tasks",
            "uuid",
            "secrets",
        )
    ),
    (code.pure_modules_stay_pure, "broker/contract/ports.py", "import logging"),
    (code.pure_modules_stay_pure, "ws_edge/encoding/sse.py", "from time import monotonic"),
    (code.pure_modules_stay_pure, "ws_edge/fanout/throttle.py", "def late():\n    import asyncio"),
    (code.pure_modules_stay_pure, "ws_edge/fanout/resume.py", "from datetime import datetime\nx = datetime.now()"),
    (code.pure_modules_stay_pure, "ws_edge/fanout/resume.py", "import datetime\nx = datetime.datetime.utcnow()"),
    (code.pure_modules_stay_pure, "ws_edge/fanout/resume.py", "from datetime import datetime as dt\nx = dt.now()"),
    (code.pure_modules_stay_pure, "ws_edge/fanout/resume.py", "import datetime as d\nx = d.date.today()"),
    (code.pure_modules_stay_pure, "ws_edge/fanout/resume.py", "import datetime as d\nD = d.datetime\nx = D.now()"),
    (code.pure_modules_stay_pure, "agent_worker/games/policy.py", "from random import choice"),
    (code.pure_modules_stay_pure, "broker/contract/ports.py", "from broker.jetstream.api import Streams"),
    (code.pure_modules_stay_pure, "ws_edge/access/authorize.py", "from ws_edge import node"),
    (code.one_place_knows_a_library, "broker/jetstream/api.py", "from nats.aio.client import Client"),
    (code.one_place_knows_a_library, "ws_edge/node.py", "import nats"),
    (code.one_place_knows_a_library, "agent_worker/games/player.py", "from playwright.async_api import Page"),
    (code.one_place_knows_a_library, "ws_edge/transport/accept.py", "import starlette.requests"),
    (code.only_jetstream_speaks_nats, "ws_edge/fanout/topic.py", "x = message.header(b'Nats-Sequence')"),
    (code.only_jetstream_speaks_nats, "ws_edge/views/catalogue.py", "x = 'KV-Operation'"),
    (code.only_jetstream_speaks_nats, "ws_edge/views/catalogue.py", "x = b'nats-expected-last-sequence'"),
    (code.only_jetstream_speaks_nats, "ws_edge/views/catalogue.py", "x = 'kv-operation'"),
    (code.only_jetstream_speaks_nats, "agent_worker/work/worker.py", "x = b'+TERM'"),
    (code.only_jetstream_speaks_nats, "broker/contract/subjects.py", "x = f'$KV.{bucket}'"),
    (code.only_jetstream_speaks_nats, "testcast/local/doctor.py", "x = f'$JS.API.STREAM.INFO.{name}'"),
    (code.what_is_public_has_a_docstring, "broker/log.py", "def shown(): ..."),
    (code.what_is_public_has_a_docstring, "broker/log.py", '"""M."""\nasync def shown(): ...'),
    (code.what_is_public_has_a_docstring, "broker/log.py", '"""M."""\nclass Shown: ...'),
    (code.what_is_public_has_a_docstring, "broker/log.py", '"""M."""\nclass A:\n  """A."""\n  def shown(self): ...'),
    (code.functions_are_short, "broker/log.py", TEXT_OF_51_LINES),
    (
        code.functions_are_short,
        "broker/log.py",
        "class A:\n" + "".join(f"  {line}\n" for line in TEXT_OF_51_LINES.split("\n")),
    ),
    (code.files_are_short, "broker/log.py", '"""Long."""\n' + "x = 1\n" * 400),
    (code.files_are_short, "dashboard_ui/list.js", "/** Long. */\n" + "x();\n" * 400),
    (pages.unshipped_documents, "ws_edge/node.py", "# as in DESIGN 5"),
    (pages.unshipped_documents, "README.md", "(FACTS)"),
    (pages.unshipped_documents, "dashboard_ui/store.js", "// the seed's ADR-006"),
    (pages.unshipped_documents, "Makefile", "# STYLE, FIELD"),
    (dangling_references, "README.md", "see [there](docs/nowhere.md)"),
    (dangling_references, "README.md", "see [there](CONTRIBUTING.md#no-such-heading)"),
    (dangling_references, "README.md", "in `broker/nowhere.py`"),
    (dangling_references, "README.md", "in `nowhere/`"),
    (dangling_references, "README.md", "in `undertaker.py`"),
    (dangling_references, "broker/log.py", '"""See tests/nowhere.py."""'),
    (dangling_references, "broker/log.py", "x = 1  # as in ws_edge/door.py"),
    (dangling_references, "broker/log.py", "# broker.contract.nowhere.EventLog"),
    (dangling_references, "README.md", "```go\nx\n```\n`testcast.New`\n"),
    (dangling_references, "dashboard_ui/store.js", "/* the same as broker/contract/nowhere.py */"),
)


@pytest.mark.parametrize(
    ("rule", "path", "source"), BROKEN, ids=[f"{rule.__name__}-{n}" for n, (rule, *_) in enumerate(BROKEN)]
)
def test_what_breaks_a_rule_is_caught(rule: code.Rule, path: str, source: str) -> None:
    assert rule(path, source)


def test_every_rule_has_an_example_that_breaks_it() -> None:
    assert {rule for rule, _ in RULES} == {rule for rule, *_ in BROKEN}


KEPT: Final[tuple[tuple[code.Rule, str, str], ...]] = (
    (
        code.who_imports_whom,
        "testcast/client/feed.py",
        "from agent_worker.publish.run import TestRun\nimport broker.log",
    ),
    (
        code.rooms_in_order,
        "ws_edge/api/rpc.py",
        "from ws_edge.views import catalogue\nfrom ws_edge.node import Node",
    ),
    (code.only_config_reads_the_environment, "ws_edge/config.py", "import os\nx = os.environ"),
    (code.only_config_reads_the_environment, "ws_edge/node.py", "import os\nx = os.getpid()"),
    (
        code.pure_modules_stay_pure,
        "agent_worker/games/policy.py",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n  import random",
    ),
    (code.pure_modules_stay_pure, "ws_edge/fanout/throttle.py", "from broker.contract.events import Event"),
    (code.only_jetstream_speaks_nats, "testcast/local/doctor.py", "x = 'nats-server'"),
    (code.only_jetstream_speaks_nats, "ws_edge/node.py", '"""No Nats-Sequence here."""'),
    (code.functions_are_short, "broker/log.py", "def long():\n" + "    pass\n" * 49),
    (code.files_are_short, "broker/log.py", '"""Long.\n\nLonger than 400 lines: one table.\n"""\n' + "x = 1\n" * 400),
    (pages.unshipped_documents, "README.md", "designed in a field of its own, from a seed"),
    (
        dangling_references,
        "README.md",
        "[a](CONTRIBUTING.md#house-rules), [b](https://x.y/z.md), `broker/contract/ids.py`, `tests/`",
    ),
    (dangling_references, "broker/log.py", '"""See `broker.contract.ports.EventLog.read` and contract/ids.py."""'),
    (dangling_references, "broker/log.py", "x = 'nowhere/there.py'"),
    (dangling_references, "README.md", "```go\ntestcast.New()\n```\n"),
)


@pytest.mark.parametrize(
    ("rule", "path", "source"), KEPT, ids=[f"{rule.__name__}-{n}" for n, (rule, *_) in enumerate(KEPT)]
)
def test_what_keeps_a_rule_passes(rule: code.Rule, path: str, source: str) -> None:
    assert rule(path, source) == []


@pytest.mark.parametrize(
    "sources",
    [
        {"broker/a.py": "import broker.b", "broker/b.py": "from broker import a"},
        {
            "broker/a.py": "from broker.b import x",
            "broker/b.py": "from . import c",
            "broker/c.py": "def f():\n  from .a import y",
        },
    ],
    ids=["two", "three"],
)
def test_a_cycle_is_caught(sources: Mapping[str, str]) -> None:
    (cycle,) = code.cycles(sources)
    assert cycle.startswith("broker.a -> broker.b") and cycle.endswith("-> broker.a")


def test_no_cycle_is_no_cycle() -> None:
    assert (
        code.cycles({"broker/a.py": "import broker.b, broker.c", "broker/b.py": "import broker.c", "broker/c.py": ""})
        == []
    )
