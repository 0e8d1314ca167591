"""Sets the log of a process up. Every process of testcast begins here; `log_lines` has the formats."""

from __future__ import annotations

import io
import logging
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final

from broker import config
from broker.log import about
from broker.log_lines import JsonLines, TextLines

if TYPE_CHECKING:
    from broker.config import LogSettings

OURS: Final = "testcast"
"""The parent of all loggers of this project."""
_TALKATIVE: Final = ("httpx", "httpcore", "httpx2", "httpcore2", "hpack", "urllib3")
"""They write down each address that they ask."""
_log = logging.getLogger(OURS)


class _Handler(logging.StreamHandler[Any]):
    """The one handler of a process. A record that cannot be written is dropped: there is nowhere to say so."""

    formatter: JsonLines | TextLines

    def handleError(self, record: logging.LogRecord) -> None:
        """Nothing may be written between the lines."""


def configure(part: str, settings: LogSettings | None = None, *, file: Path | None = None) -> None:
    """Sets the log up, again if it was before. Libraries below level INFO stay silent: some write secrets down there.

    Args:
        part: what this process is: "edge", "agent", "supervisor", "broker", "up", "demo".
        settings: None: as the environment says.
        file: where lines are appended; None: the standard error stream.

    Raises:
        InvalidSetting: `TESTCAST_LOG_FORMAT` or `TESTCAST_LOG_LEVEL` makes no sense. The log is set up all the same,
            with the defaults.
        OSError: the file cannot be written.
    """
    try:
        chosen = settings or config.logs()
    except Exception:
        _install(part, config.LogSettings(), file)
        raise
    _install(part, chosen, file)


def _install(part: str, settings: LogSettings, file: Path | None) -> None:
    root = logging.getLogger()
    for before in [each for each in root.handlers if isinstance(each, _Handler)]:
        root.removeHandler(before)
        if before.stream is not sys.stderr:
            before.stream.close()
    is_json = settings.format == "json"
    if file is None:
        stream: Any = sys.stderr
        if is_json and isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")  # whatever the locale says
    else:
        file.parent.mkdir(parents=True, exist_ok=True)
        stream = file.open("a", encoding="utf-8", errors="backslashreplace")
    handler = _Handler(stream)
    handler.setFormatter(JsonLines(part) if is_json else TextLines())
    root.addHandler(handler)
    level = getattr(logging, settings.level.upper())
    root.setLevel(max(level, logging.INFO))
    _log.setLevel(level)
    for each in _TALKATIVE:
        logging.getLogger(each).setLevel(logging.WARNING)
    logging.captureWarnings(True)
    if is_json:
        sys.excepthook = _uncaught
        threading.excepthook = _uncaught_in_thread


def always(**fields: object) -> None:
    """Every line of this process has these fields from now on."""
    for each in logging.getLogger().handlers:
        if isinstance(each, _Handler):
            each.formatter.always.update(fields)


def fatal(program: str, error: object, fields: Mapping[str, object] | None = None) -> None:
    """Says why the process ends: `program: error` on the standard error stream, a line where the log is JSON."""
    if any(
        isinstance(each, _Handler) and isinstance(each.formatter, JsonLines) for each in logging.getLogger().handlers
    ):
        _log.critical("%s: %s", program, error, extra=about(**(fields or {})))
    else:
        print(f"{program}: {error}", file=sys.stderr)  # noqa: T201  # a person reads it


def _uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
        return
    _log.critical("the process ends", exc_info=(kind, error, trace))


def _uncaught_in_thread(args: threading.ExceptHookArgs) -> None:
    if args.exc_value is not None and not isinstance(args.exc_value, SystemExit):
        _log.critical("a thread has ended", exc_info=args.exc_value)
