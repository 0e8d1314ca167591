"""Signals that whoever started this process has switched off, as `nohup` does with SIGHUP.

A shell without job control does it with SIGINT for what it runs in the background.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterable
from typing import Any


def not_ignored(numbers: Iterable[signal.Signals]) -> list[signal.Signals]:
    """Returns those of the signals that are not ignored. Only these may get a handler: an ignored one stays ignored.

    Ask before a handler of one's own is installed.
    """
    return [number for number in numbers if signal.getsignal(number) is not signal.SIG_IGN]


class ShieldingLoop(asyncio.SelectorEventLoop):
    """An event loop whose child processes do not get a terminal's signals that this process ignores.

    Some programs (Node.js, which drives the browser) set every signal to its default when they start. They get a
    session of their own, which no signal to this process's group reaches.
    """

    async def subprocess_exec(self, protocol_factory: Any, *args: Any, **kwargs: Any) -> Any:
        """As the base class does it."""
        terminal = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT)
        if len(not_ignored(terminal)) < len(terminal):
            kwargs["start_new_session"] = True
        return await super().subprocess_exec(protocol_factory, *args, **kwargs)
