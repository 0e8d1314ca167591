"""Runs a command and records it: `testcast run`. Its exit status is the command's."""

from __future__ import annotations

import contextlib
import os
import queue
import re
import shlex
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any, Final, NamedTuple

from broker.clock import now_ms
from broker.contract.errors import TestcastError
from broker.contract.events import Event
from testcast.recording.batches import Entry, entry
from testcast.recording.child import Child, Stream, raw_keys
from testcast.recording.markers import Phases, ScoreReader
from testcast.recording.recorder import Recorded, Recorder
from testcast.recording.redaction import Redactor
from testcast.recording.splitter import Line, Splitter

GRACE_S: Final = 10.0
"""Between SIGTERM and SIGKILL, when a run was cancelled."""
_POLL_S: Final = 0.2
_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
_INTERRUPTS_TO_KILL: Final = 3
_SECRET_NAME: Final = re.compile(r"passw|secret|token|api[-_]?key|credential|authorization", re.IGNORECASE)
_NO_NAME: Final = re.compile(r"[\s:;&?/]")
_SECRET_INSIDE: Final = re.compile(
    rf"""((?:{_SECRET_NAME.pattern})[\w-]*["']?\s*[:=]\s*["']?|\s--?[\w-]*(?:{_SECRET_NAME.pattern})[\w-]*\s+["']?)"""
    r"""(?:(?:bearer|basic)\s+)?[^\s"'&;]+|\b(bearer\s+)[^\s"'&;]+""",
    re.IGNORECASE,
)
"""In an argument of several words, such as a header or a line for a shell."""
_USER_IN_URL: Final = re.compile(r"(\w+://)[^/\s@]*@")
_MAX_TITLE_CHARS: Final = 120


class Outcome(NamedTuple):
    """How a command ended, and what of it was recorded."""

    status: int
    """As a shell has it."""
    recorded: Recorded
    whole: bool
    """All of its output has come. A process that it left behind may still write."""


def _hidden(found: re.Match[str]) -> str:
    return f"{found[1] or found[2]}***"


def shown_command(argv: Sequence[str], redactor: Redactor | None = None) -> str:
    """The command line as a title. The values of options, headers and variables whose name says that they are secret
    are left out, and so is what the redactor knows."""
    shown: list[str] = []
    hide_next = False
    for each in argv:
        name, equals, _ = each.partition("=")
        secret = _SECRET_NAME.search(name) is not None and (name.startswith("-") or bool(equals))
        simple = not _NO_NAME.search(name)
        told = each if redactor is None else redactor.text(each)
        told = _SECRET_INSIDE.sub(_hidden, _USER_IN_URL.sub(r"\1***@", told))
        shown.append("***" if hide_next else f"{name}=***" if secret and equals and simple else told)
        hide_next = secret and not equals and simple
    text = " ".join(each if each == "***" or each.endswith("=***") else shlex.quote(each) for each in shown)
    text = " ".join(text.split())
    return text if len(text) <= _MAX_TITLE_CHARS else text[: _MAX_TITLE_CHARS - 1] + "…"


class _Output:
    """Turns the bytes of both streams into lines and phases. Called from the threads that read them."""

    def __init__(self, recorder: Recorder, phases: Phases, score: ScoreReader | None) -> None:
        self._recorder, self._phases, self._score = recorder, phases, score
        self._splitters: dict[Stream, Splitter] = {"stdout": Splitter(), "stderr": Splitter()}
        self._turn = threading.Lock()
        self.lines: dict[Stream, int] = {"stdout": 0, "stderr": 0}

    def take(self, stream: Stream, data: bytes) -> None:
        splitter = self._splitters[stream]
        lines = splitter.feed(data) if data else splitter.finish()
        with self._turn:  # a phase and the lines around it stay in order
            self.lines[stream] += len(lines)
            self._recorder.put([item for line in lines for item in self._items(line, stream)])

    def _items(self, line: Line, stream: Stream) -> Iterator[Entry | Event]:
        if self._score is not None:
            self._score.read(line.text)
        started = self._phases.mark(line.text)
        if started is not None:
            yield started.event(now_ms())
            return
        if (started := self._phases.match(line.text)) is not None:
            yield started.event(now_ms())
        yield entry(line, stream, now_ms())


class CommandRun:
    """One command, from its start to its end.

    Args:
        make_recorder: makes the run's recorder, given what is to be called when the run takes no more events.
        phases: the run's phases.
        score: reads the score from the output; None: the run has none.
        tell: says something to the person at the terminal, in any thread.
        grace_s: between SIGTERM and SIGKILL, when the run was cancelled.
    """

    def __init__(
        self,
        make_recorder: Callable[[Callable[[TestcastError], None]], Recorder],
        phases: Phases,
        score: ScoreReader | None,
        tell: Callable[[str], None],
        *,
        grace_s: float = GRACE_S,
    ) -> None:
        self._happened: queue.SimpleQueue[int | TestcastError | None] = queue.SimpleQueue()
        """What the main thread waits for: a signal, the end of the run, and None for the end of the command."""
        self._recorder = make_recorder(self._happened.put)
        self._output = _Output(self._recorder, phases, score)
        self._phases, self._score, self._tell, self._grace_s = phases, score, tell, grace_s
        self._kill_at_s = float("inf")
        self._interrupts = 0
        self._stopped_by: int | None = None

    def run(self, argv: Sequence[str], report: Callable[[Outcome], None], *, use_pty: bool = False) -> int:
        """Runs the command and returns its exit status. To be called in the main thread, before any other is started.

        Args:
            report: says how it went. Ctrl-C does not interrupt it.

        Raises:
            OSError: it cannot be started; then there is no run.
        """
        began_s = time.monotonic()
        first = self._phases.first()
        if first is not None:
            self._recorder.put([first.event(now_ms())])
        with self._signals(use_pty):
            child = Child(argv, self._output.take, lambda: self._happened.put(None), use_pty=use_pty)
            self._recorder.start()
            with raw_keys() if use_pty else contextlib.nullcontext():
                if use_pty:
                    child.pass_keys_on()
                self._wait(child)
                whole = child.drain()
            self._end_group(child)
            status = child.status
            assert status is not None
            end = self._end_of(child, status, argv, time.monotonic() - began_s)
            recorded = self._recorder.finish(end, on_wait=self._tell_waiting, hurry=self._is_hurried)
            report(Outcome(status, recorded, whole))
        return status

    @contextmanager
    def _signals(self, use_pty: bool) -> Iterator[None]:
        def note(number: int, _frame: FrameType | None) -> None:
            self._happened.put(number)

        wanted = (*_SIGNALS, signal.SIGWINCH) if use_pty else _SIGNALS
        before = {each: signal.signal(each, note) for each in wanted if signal.getsignal(each) != signal.SIG_IGN}
        try:
            yield
        finally:
            for each, handler in before.items():
                signal.signal(each, handler)

    def _wait(self, child: Child) -> None:
        """Returns when the command has ended."""
        while True:
            try:
                happened = self._happened.get(timeout=_POLL_S)
            except queue.Empty:
                if time.monotonic() >= self._kill_at_s:
                    child.signal(signal.SIGKILL)
                continue
            if happened is None:
                return
            if isinstance(happened, TestcastError):
                self._cancel(child, happened)
            elif happened == signal.SIGWINCH:
                child.resized()
            else:
                self._forward(child, happened)

    def _forward(self, child: Child, number: int) -> None:
        self._stopped_by = number
        if number == signal.SIGINT:
            self._interrupts += 1
            if self._interrupts >= _INTERRUPTS_TO_KILL:
                number = signal.SIGKILL
        child.signal(number)

    def _cancel(self, child: Child, error: TestcastError) -> None:
        self._tell(f"{error.message}: the command is stopped")
        child.signal(signal.SIGTERM)
        self._kill_at_s = time.monotonic() + self._grace_s

    def _end_group(self, child: Child) -> None:
        """After a cancel, what the command has started ends with it."""
        while self._kill_at_s < float("inf") and child.has_processes:
            if time.monotonic() >= self._kill_at_s:
                child.signal(signal.SIGKILL)
                return
            time.sleep(_POLL_S / 4)

    def _tell_waiting(self) -> None:
        self._tell("waiting until everything is stored; Ctrl-C ends that")

    def _is_hurried(self) -> bool:
        """Whether a person does not want to wait for what is not stored."""
        with contextlib.suppress(queue.Empty):
            return self._happened.get_nowait() in (signal.SIGINT, signal.SIGTERM)
        return False

    def _end_of(self, child: Child, status: int, argv: Sequence[str], took_s: float) -> Event:
        metrics: Mapping[str, Any] = {
            "exitCode": status,
            "seconds": round(took_s, 1),
            "lines": self._output.lines["stdout"],
            "errorLines": self._output.lines["stderr"],
        }
        name = os.path.basename(argv[0])  # noqa: PTH119  # of a command, not of a path of ours
        if status == 0:
            score = None if self._score is None else self._score.score
            data = {"exitCode": 0, "metrics": metrics} | ({} if score is None else {"score": score})
            said = f"{name} has ended with status 0"
            return Event(type="complete", message=said, timestamp=now_ms(), phase=None, data=data)
        killed, stopped = child.ended_by, self._stopped_by
        if stopped is not None:
            code, said = "interrupted", f"{name} was stopped by {_name(stopped)}"
        elif killed:
            code, said = "signal", f"{name} was ended by {_name(killed)}"
        else:
            code, said = "exit_status", f"{name} has ended with status {status}"
        data = {"code": code, "exitCode": status, "metrics": metrics}
        return Event(type="error", status="failed", message=said, timestamp=now_ms(), data=data)


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
