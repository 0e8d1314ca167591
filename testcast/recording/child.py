"""A command as a child process: its output goes where it would go without us, and to a recorder.

One thread reads each stream. It writes the same bytes to this process's stream first, so that the child is held up
where a slow terminal or a full pipe would hold it up anyway. The child is in a process group of its own, which signals
are sent to.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import select
import struct
import subprocess
import termios
import threading
import tty
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final, Literal

Stream = Literal["stdout", "stderr"]
Take = Callable[[Stream, bytes], None]
"""Called with what a stream brings, in its thread; with b"" at its end."""

_READ_BYTES: Final = 64 * 1024
_LEFT_OPEN_S: Final = 2.0
"""For the rest of the output when the command has ended. A process that it left behind may keep the pipe open."""
_USUAL_SIZE: Final = (24, 80)
_OURS: Final[dict[Stream, int]] = {"stdout": 1, "stderr": 2}


class Child:
    """A running command.

    Args:
        argv: the command and its arguments.
        take: gets its output.
        on_exit: called in a thread when it has ended.
        use_pty: it gets a terminal, whose output is one stream, and keys are passed on to it.

    Raises:
        OSError: it cannot be started.
    """

    def __init__(self, argv: Sequence[str], take: Take, on_exit: Callable[[], None], *, use_pty: bool = False) -> None:
        self._take = take
        self._terminal = -1
        """The other side of the command's terminal; -1: it has none."""
        sources: dict[Stream, int]
        if use_pty:
            self._process, self._terminal = _on_a_terminal(argv)
            sources = {"stdout": self._terminal}
        else:
            self._process, out, err = _on_pipes(argv)
            sources = {"stdout": out, "stderr": err}
        self.pid = self._process.pid
        self._readers = [
            threading.Thread(target=self._read, args=each, name=f"testcast-{each[0]}", daemon=True)
            for each in sources.items()
        ]
        for each in self._readers:
            each.start()
        threading.Thread(target=self._wait, args=(on_exit,), name="testcast-child", daemon=True).start()

    def __repr__(self) -> str:
        return f"<Child {self.pid} status={self.status}>"

    @property
    def status(self) -> int | None:
        """The exit status as a shell has it: 128 and the number of the signal that has ended it. None: it runs."""
        code = self._process.returncode
        return None if code is None else code if code >= 0 else 128 - code

    @property
    def ended_by(self) -> int:
        """The signal that has ended it; 0: none."""
        return max(0, -(self._process.returncode or 0))

    def signal(self, number: int) -> None:
        """Sends a signal to the command and the processes that it has started."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)

    @property
    def has_processes(self) -> bool:
        """Whether the command, or a process of its group, is there."""
        try:
            os.killpg(self.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            return True
        return True

    def resized(self) -> None:
        """The terminal of this process has another size: the command's gets it, too."""
        if self._terminal >= 0:
            _copy_size(self._terminal)

    def pass_keys_on(self) -> None:
        """Begins to pass on what is typed. Only with a terminal of its own."""
        threading.Thread(target=self._pass_on, name="testcast-keys", daemon=True).start()

    def _pass_on(self) -> None:
        while data := _some(0):
            if not _write(self._terminal, data):
                return
        _write(self._terminal, b"\x04")  # Ctrl-D: the end of what is typed

    def drain(self) -> bool:
        """Waits for the rest of the output when the command has ended. Returns whether all of it has come."""
        for each in self._readers:
            each.join(_LEFT_OPEN_S)
        return not any(each.is_alive() for each in self._readers)

    def _wait(self, on_exit: Callable[[], None]) -> None:
        self._process.wait()
        on_exit()

    def _read(self, stream: Stream, source: int) -> None:
        ours: int | None = _OURS[stream]
        while data := _some(source):
            if ours is not None and not _write(ours, data):
                ours = None
                if source != self._terminal:  # nobody reads: the command finds that out, as without us
                    os.close(source)
                    self._take(stream, data)
                    break
            self._take(stream, data)
        self._take(stream, b"")


def _some(source: int) -> bytes:
    try:
        return os.read(source, _READ_BYTES)
    except OSError:  # a terminal whose last program has ended
        return b""


def _write(target: int, data: bytes) -> bool:
    """Writes all of it. Returns False where nobody reads it."""
    left = memoryview(data)
    while left:
        try:
            left = left[os.write(target, left) :]
        except BlockingIOError:
            select.select([], [target], [])
        except OSError:
            return False
    return True


def _on_pipes(argv: Sequence[str]) -> tuple[subprocess.Popen[bytes], int, int]:
    # A terminal stays ours: a process of another group that reads from it would be stopped.
    stdin = subprocess.DEVNULL if os.isatty(0) else None
    (out, out_end), (err, err_end) = os.pipe(), os.pipe()
    try:
        return subprocess.Popen(argv, stdin=stdin, stdout=out_end, stderr=err_end, process_group=0), out, err
    except BaseException:
        os.close(out)
        os.close(err)
        raise
    finally:
        os.close(out_end)
        os.close(err_end)


def _on_a_terminal(argv: Sequence[str]) -> tuple[subprocess.Popen[bytes], int]:
    ours, theirs = pty.openpty()
    _copy_size(ours)

    def adopt() -> None:
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    try:
        # The terminal becomes the session's own. No other thread runs yet that could hold a lock across the fork.
        process = subprocess.Popen(
            argv, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True, preexec_fn=adopt
        )
    except BaseException:
        os.close(ours)
        raise
    finally:
        os.close(theirs)
    return process, ours


def _copy_size(terminal: int) -> None:
    for each in (0, 1, 2):
        with contextlib.suppress(OSError):
            size = fcntl.ioctl(each, termios.TIOCGWINSZ, bytes(8))
            if any(size[:4]):
                fcntl.ioctl(terminal, termios.TIOCSWINSZ, size)
                return
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", *_USUAL_SIZE, 0, 0))


@contextmanager
def raw_keys() -> Iterator[None]:
    """While it is open, every key goes to the command, also Ctrl-C. Where nobody types, it does nothing."""
    if not os.isatty(0):
        yield
        return
    before = termios.tcgetattr(0)
    try:
        tty.setraw(0)
        yield
    finally:
        termios.tcsetattr(0, termios.TCSADRAIN, before)
