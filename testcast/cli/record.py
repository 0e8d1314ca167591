"""The command `run`: starts a command, records it as a run, and ends with its exit status."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final, NamedTuple

from broker.contract.errors import TestcastError
from testcast import config
from testcast.cli.server import Server
from testcast.cli.terminal import Terminal
from testcast.client.address import edge_url, page_url
from testcast.recording.command_run import CommandRun, Outcome
from testcast.recording.markers import Phases, ScoreReader
from testcast.recording.over_http import OverHttp
from testcast.recording.over_nats import OverNats
from testcast.recording.recorder import Recorder
from testcast.recording.sinks import About, Sink

EXIT_NOT_FOUND: Final = 127
EXIT_NOT_EXECUTABLE: Final = 126
"""As shells report them."""


class RunRequest(NamedTuple):
    """The options of `run`."""

    argv: tuple[str, ...]
    about: About
    phases: Phases
    score: ScoreReader | None
    use_pty: bool
    quiet: bool
    grace_s: float


def run(request: RunRequest, server: Server, terminal: Terminal) -> int:
    """Runs the command. Returns its exit status.

    Raises:
        BadInput: the address of the edge, or the token for it, cannot be used. Then nothing was started.
    """
    sink = _sink(request.about, server)
    turn = threading.Lock()

    def tell(text: str) -> None:
        with turn:
            terminal.note(f"testcast: {text}")

    def opened(test_id: str) -> None:
        if not request.quiet:
            tell(f"run {_where(test_id, server)}")

    def make(on_over: Callable[[TestcastError], None]) -> Recorder:
        return Recorder(sink, redacted=config.redactor().item, on_open=opened, on_over=on_over)

    command = CommandRun(make, request.phases, request.score, tell, grace_s=request.grace_s)
    try:
        return command.run(
            request.argv, lambda outcome: _tell_what_is_missing(outcome, request, tell), use_pty=request.use_pty
        )
    except FileNotFoundError:
        terminal.error(f"{request.argv[0]}: no such command")
        return EXIT_NOT_FOUND
    except OSError as error:
        terminal.error(f"{request.argv[0]} cannot be started: {error.strerror}")
        return EXIT_NOT_EXECUTABLE


def _sink(about: About, server: Server) -> Sink:
    if server.edge is not None:
        return OverHttp(edge_url(server.edge), about)
    assert server.broker is not None
    return OverNats(server.broker.nats_url, about, login=server.broker.login)


def _where(test_id: str, server: Server) -> str:
    edge = server.edge or config.public_edge()
    return f"{test_id}{server.options}" if edge is None else page_url(edge_url(edge), test_id)


def _tell_what_is_missing(outcome: Outcome, request: RunRequest, tell: Callable[[str], None]) -> None:
    recorded = outcome.recorded
    missing = "" if not recorded.missing else f"{recorded.missing:,} of {recorded.lines:,} lines were not stored"
    if recorded.test_id is None:
        tell(f"the run was not recorded ({recorded.error}): {missing or 'it had no output'}")
    elif recorded.over is not None:
        tell(f"{recorded.error}" + (f"; {missing}" if missing else ""))
    elif not recorded.complete:
        unstored = f"the end of run {recorded.test_id} was not stored ({recorded.error})"
        tell(unstored + (f"; {missing}" if missing else ""))
    elif missing:
        tell(f"{missing}: {recorded.error}")
    if not outcome.whole:
        tell("a process that the command has left behind keeps its output open: what it writes now is not recorded")
    if request.score is not None and request.score.score is None and outcome.status == 0:
        tell("--score-from: no line of the output has a score")
