"""Where the command begins: Ctrl-C ends it without a traceback while its modules are still imported."""

import signal
from typing import NoReturn


def main() -> NoReturn:
    """Runs the command and exits with its status."""
    usual = signal.getsignal(signal.SIGINT)
    if usual is signal.default_int_handler:  # else it is ignored, and stays so
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from testcast.cli import main as command

    signal.signal(signal.SIGINT, usual)
    command.main()
