"""Signals that whoever started this process has switched off, as `nohup` does with SIGHUP.

A shell without job control does it with SIGINT for what it runs in the background.
"""

from __future__ import annotations

import signal
from collections.abc import Iterable


def not_ignored(numbers: Iterable[signal.Signals]) -> list[signal.Signals]:
    """Returns those of the signals that are not ignored. Only these may get a handler: an ignored one stays ignored.

    Ask before a handler of one's own is installed.
    """
    return [number for number in numbers if signal.getsignal(number) is not signal.SIG_IGN]


def block_ignored() -> None:
    """Blocks the ignored signals of a terminal, for the sake of children that are started later.

    Some programs (Node.js, which drives the browser) set every signal to its default when they start, and leave a
    blocked one blocked.
    """
    numbers = {signal.SIGHUP, signal.SIGINT, signal.SIGQUIT}
    signal.pthread_sigmask(signal.SIG_BLOCK, numbers - set(not_ignored(numbers)))
