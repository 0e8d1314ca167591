"""The plugin of pytest: `pytest --testcast URL` shows a test session as a run, each test a line of its feed.

pytest imports this module at every start, also of suites that never use it. It is a package of its own, so that
nothing of testcast is imported before the option is given: testcast has packages named `broker` and `agent_worker`, and
so may the suite. Nothing that goes wrong while tests run changes their outcome, or the exit status of pytest.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from _pytest.config.argparsing import Parser

_GROUP = "testcast"
_PACKAGES = "broker", "agent_worker"
_HOME = Path(__file__).parents[1]


def pytest_addoption(parser: Parser) -> None:
    """Adds the options."""
    group = parser.getgroup(_GROUP, "show the session as a run of testcast")
    group.addoption(
        "--testcast",
        metavar="URL",
        help="show this session to viewers, through an edge (https://…) or the broker (nats://…). "
        "The token for an edge comes from the file in TESTCAST_TOKEN_FILE",
    )
    group.addoption("--testcast-title", metavar="TITLE", help="title that viewers see (default: what is tested)")
    group.addoption("--testcast-project", metavar="NAME", help="project of the run: who may see it")
    group.addoption(
        "--testcast-label", metavar="NAME=VALUE", action="append", default=[], help="label of the run; repeatable"
    )
    group.addoption(
        "--testcast-score",
        action="store_true",
        help="end the run with a score, the share of tests that passed, also when some failed",
    )


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    """Begins the run, where the option is given; not in the workers of xdist, whose reports come to the controller.

    Raises:
        pytest.UsageError: the option cannot be used: a wrong address, project or label, a token that cannot be read,
            or packages of the suite with the names of testcast's.
    """
    url = config.getoption("--testcast", None)
    if not url or hasattr(config, "workerinput") or config.getoption("--collect-only", False):
        return
    _refuse_hidden(config.rootpath)
    from testcast.recording import pytest_session

    config.pluginmanager.register(pytest_session.begin(config, url), "testcast-session")


def _refuse_hidden(root: Path) -> None:
    for name in _PACKAGES:
        for place in (root, root / "src"):
            found = place / name
            if found.resolve() != (_HOME / name).resolve() and (found.is_dir() or found.with_suffix(".py").is_file()):
                raise pytest.UsageError(
                    f"--testcast: this suite has {found}, and testcast a package of that name: "
                    "`testcast run -- pytest` shows the session from a process of its own"
                )
