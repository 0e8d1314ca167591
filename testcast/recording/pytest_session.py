"""One test session of pytest as a run. `pytest_testcast/__init__.py` makes it where `--testcast` is given.

Hooks run in pytest's main thread and only put lines into a queue. Whatever fails in one of them ends the recording, and
is told once at the end.
"""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import urlsplit

import pytest

from broker.clock import now_ms
from broker.config import redacted
from broker.contract.errors import TestcastError
from broker.contract.events import PHASES, Event
from broker.contract.labels import parse_labels
from testcast import config as settings
from testcast.client.address import edge_url, page_url
from testcast.recording.over_http import OverHttp
from testcast.recording.over_nats import OverNats
from testcast.recording.recorder import RECORDER_THREAD, Recorded, Recorder
from testcast.recording.reports import MAX_FAILURES, Outcome, Result, Tally, failure_event, line_of
from testcast.recording.sinks import About, Sink, checked

if TYPE_CHECKING:
    from _pytest.terminal import TerminalReporter

PHASE_TITLES: Final = ("Collecting", "Testing", "Finishing")
_MAX_TITLE_CHARS: Final = 120
_MAX_REASON_CHARS: Final = 300
_HTTP: Final = ("http", "https")
_LOGGERS: Final = (
    *("httpx", "httpcore.connection", "httpcore.http11", "httpcore.http2", "httpcore.proxy", "asyncio"),
    *("testcast.run", "testcast.nats", "testcast.topology"),
)
"""What is written to in the recorder's thread."""
F = TypeVar("F", bound=Callable[..., None])


def begin(config: pytest.Config, url: str) -> SessionRecorder:
    """Returns what records the session, already at work.

    Raises:
        pytest.UsageError: an option cannot be used.
    """
    try:
        about = About(
            config.getoption("--testcast-title") or settings.redactor().text(_title(config)),
            config.getoption("--testcast-project"),
            parse_labels(config.getoption("--testcast-label")),
            PHASE_TITLES,
        )
        sink: Sink
        if urlsplit(url).scheme in _HTTP:
            sink = OverHttp(edge_url(url), checked(about))
        else:
            broker = settings.broker(url)
            sink = OverNats(broker.nats_url, checked(about), login=broker.login)
    except TestcastError as error:
        raise pytest.UsageError(f"--testcast: {error.message.removeprefix('TESTCAST_NATS_URL: ')}") from None
    except ValueError as error:
        raise pytest.UsageError(f"--testcast: {redacted(url)} is not an address: {error}") from None
    for each in _LOGGERS:
        logging.getLogger(each).addFilter(_is_of_the_suite)
    return SessionRecorder(sink, url, score_asked=config.getoption("--testcast-score"))


def _is_of_the_suite(record: logging.LogRecord) -> bool:
    """Leaves what the recorder's thread logs out of the logs that tests look at."""
    return record.threadName != RECORDER_THREAD


def _title(config: pytest.Config) -> str:
    """pytest and what it was asked to test, without the options: they may be long, and name other machines."""
    text = " ".join(["pytest", *map(str, config.args)]) if config.args_source is not config.ArgsSource.TESTPATHS else ""
    text = text or f"pytest in {config.rootpath.name}"
    return text if len(text) <= _MAX_TITLE_CHARS else text[: _MAX_TITLE_CHARS - 1] + "…"


def _harmless(hook: F) -> F:
    """The hook, which never fails the session."""

    @functools.wraps(hook)
    def guarded(self: SessionRecorder, *args: Any, **kwargs: Any) -> None:
        if self.trouble:
            return
        try:
            hook(self, *args, **kwargs)
        except Exception as error:
            self.trouble = f"{type(error).__name__}: {error}"

    return guarded  # type: ignore[return-value]


class SessionRecorder:
    """A plugin of pytest for one session.

    Args:
        sink: where the events go.
        url: as it was given.
        score_asked: the run ends with a score.
    """

    def __init__(self, sink: Sink, url: str, *, score_asked: bool) -> None:
        self.trouble = ""
        """Why the recording has ended; empty while it goes on."""
        self._url, self._score_asked = url, score_asked
        self._tally = Tally()
        self._began_s = time.monotonic()
        self._phase = 0
        self._failures = 0
        self._interrupted = ""
        self._session: pytest.Session | None = None
        self._finished: Recorded | None = None
        self._recorder = Recorder(sink, redacted=settings.redactor().item)
        self._recorder.start()
        self._enter(1)

    def __repr__(self) -> str:
        return f"<SessionRecorder {self._recorder!r} {self._tally!r}>"

    def _enter(self, phase: int) -> None:
        if phase > self._phase:
            self._phase = phase
            title, data = PHASE_TITLES[phase - 1], {"phases": list(PHASE_TITLES)}
            phase_name = PHASES[phase - 1]
            self._recorder.put(
                [Event(type="status", status="running", phase=phase_name, message=title, timestamp=now_ms(), data=data)]
            )

    # -- the tests ---------------------------------------------------------------------------------------------------

    @_harmless
    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """A file that cannot be collected is an error of the session."""
        if report.failed:
            self._bad(Result(report.nodeid or "collection", "error", 0.0, report.longreprtext))
        elif report.skipped:
            self._tally.note("skipped")
            self._recorder.put([line_of(Result(report.nodeid, "skipped", 0.0, _reason(report.longrepr)), now_ms())])

    @_harmless
    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Tests were collected here; with xdist, by its workers."""
        if session.items:
            self._collected(len(session.items))

    @pytest.hookimpl(optionalhook=True)
    @_harmless
    def pytest_xdist_node_collection_finished(self, node: object, ids: Sequence[str]) -> None:
        """A worker of xdist has collected the tests: all of them collect the same."""
        self._collected(len(ids))

    def _collected(self, count: int) -> None:
        if not self._tally.expected:
            self._tally.expected = count
            self._enter(2)
            tests = "1 test" if count == 1 else f"{count:,} tests"
            data = {"collected": count}
            said = Event(type="progress", message=f"{tests} collected", timestamp=now_ms(), data=data)
            self._recorder.put([said])

    @_harmless
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """A part of a test has ended: its setup, itself, or its teardown."""
        if self._recorder.over is not None:
            self._stop(self._recorder.over)
            return
        outcome = _outcome(report)
        if outcome is None:
            return
        text = report.longreprtext if outcome in ("failed", "error") else _reason(report)
        result = Result(report.nodeid, outcome, report.duration, text)
        if outcome in ("failed", "error"):
            self._bad(result)
            return
        self._tally.note(outcome)
        self._recorder.put([line_of(result, now_ms())])

    def _bad(self, result: Result) -> None:
        self._tally.note(result.outcome)
        self._failures += 1
        with_text = self._failures <= MAX_FAILURES
        self._recorder.put([failure_event(result, None, now_ms()) if with_text else line_of(result, now_ms())])

    def pytest_sessionstart(self, session: pytest.Session) -> None:
        """Remembers the session, which a cancelled run ends after the test that runs."""
        self._session = session

    def _stop(self, over: TestcastError) -> None:
        """The run was cancelled, or taken over: so ends the session."""
        if self._session is None or self._interrupted:
            return
        self._interrupted = f"testcast: {over.message}"
        self._session.shouldstop = self._interrupted
        if self._session.config.pluginmanager.hasplugin("dsession"):  # xdist looks at nothing of the session
            raise self._session.Interrupted(self._interrupted)

    # -- the end -----------------------------------------------------------------------------------------------------

    @_harmless
    def pytest_keyboard_interrupt(self, excinfo: pytest.ExceptionInfo[BaseException]) -> None:
        """Ctrl-C, or `pytest.exit`."""
        self._interrupted = f"interrupted: {excinfo.exconly()}"[:_MAX_REASON_CHARS]

    @_harmless
    def pytest_internalerror(self, excrepr: object) -> None:
        """pytest itself has failed, or a plugin."""
        last = (str(excrepr).strip().splitlines() or ["?"])[-1]
        self._interrupted = f"internal error: {last}"[:_MAX_REASON_CHARS]

    @pytest.hookimpl(tryfirst=True)
    @_harmless
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        """Ends the run, and waits until it is stored."""
        self._finish(int(exitstatus), session)

    def _finish(self, status: int, session: pytest.Session | None) -> None:
        if self._finished is not None:
            return
        self._enter(3)
        took_s = time.monotonic() - self._began_s
        stopped = self._interrupted
        if session is not None:
            stopped = stopped or str(session.shouldfail or session.shouldstop or "")
        end = end_of(self._tally, status, stopped, took_s, score_asked=self._score_asked)
        self._finished = self._recorder.finish(end)

    def pytest_terminal_summary(self, terminalreporter: TerminalReporter) -> None:
        """Says where the run is, and once what of it is not there."""
        recorded = self._finished
        if recorded is None or recorded.test_id is None:
            why = self.trouble or ("it did not begin" if recorded is None else recorded.error)
            terminalreporter.write_line(f"testcast: the session was not recorded: {why}", yellow=True)
            return
        is_edge = urlsplit(self._url).scheme in _HTTP
        where = page_url(edge_url(self._url), recorded.test_id) if is_edge else recorded.test_id
        terminalreporter.write_line(f"testcast: {where}")
        if not recorded.complete or recorded.missing:
            what = f"{recorded.missing:,} lines" if recorded.missing else "its end"
            terminalreporter.write_line(f"testcast: not stored: {what} ({recorded.error})", yellow=True)

    @_harmless
    def pytest_unconfigure(self) -> None:
        """Where the session has not come to its end, the run ends here."""
        self._interrupted = self._interrupted or "pytest has ended before its session"
        self._finish(int(pytest.ExitCode.INTERNAL_ERROR), None)


def end_of(tally: Tally, status: int, stopped: str, took_s: float, *, score_asked: bool) -> Event:
    """The last event of a session.

    Args:
        status: pytest's exit status.
        stopped: why the session has ended before its time; empty when it has not.
    """
    words = tally.words() or "no tests ran"
    metrics = tally.metrics(took_s)
    finished = status in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED)
    if status == pytest.ExitCode.OK or (score_asked and finished and tally.score is not None):
        data: dict[str, Any] = {"exitCode": status, "metrics": metrics}
        if score_asked and tally.score is not None:
            data["score"] = tally.score
        return Event(type="complete", message=words, timestamp=now_ms(), data=data)
    code = {
        int(pytest.ExitCode.TESTS_FAILED): "tests_failed",
        int(pytest.ExitCode.INTERRUPTED): "interrupted",
        int(pytest.ExitCode.INTERNAL_ERROR): "internal_error",
        int(pytest.ExitCode.USAGE_ERROR): "usage_error",
        int(pytest.ExitCode.NO_TESTS_COLLECTED): "no_tests",
    }.get(status, "exit_status")
    said = f"{words}; {stopped}" if stopped else words
    data = {"code": code, "exitCode": status, "metrics": metrics}
    return Event(type="error", status="failed", message=said, timestamp=now_ms(), data=data)


def _outcome(report: pytest.TestReport) -> Outcome | None:
    """What a report says, in pytest's words; None for what is no line of its own, such as a setup that went well."""
    if hasattr(report, "wasxfail") and report.when == "call":
        return "xfailed" if report.skipped else "xpassed" if report.passed else "failed"
    if report.failed:
        return "failed" if report.when == "call" else "error"
    if report.skipped:
        return "xfailed" if hasattr(report, "wasxfail") else "skipped"
    return "passed" if report.when == "call" else None


def _reason(report: Any) -> str:
    """Why a test was skipped, or is expected to fail."""
    if (expected := getattr(report, "wasxfail", None)) is not None:
        return str(expected)
    longrepr = getattr(report, "longrepr", report)
    if isinstance(longrepr, tuple) and len(longrepr) == 3:
        return str(longrepr[2]).removeprefix("Skipped: ")
    return ""
