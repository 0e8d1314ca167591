"""How a log record becomes a line: text for people, or a JSON object. Pure but for the clock of the record.

Nothing that a client, a game or a broker says can begin a line of its own or control a terminal: control characters,
line separators and the marks that turn the direction of text are escaped. What looks like a secret is removed, whoever
has put it there.
"""

from __future__ import annotations

import logging
import os
import re
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from types import TracebackType
from typing import Final

import orjson

from broker.log import INSTEAD, fields_of

MAX_MESSAGE_CHARS: Final = 8 * 1024
MAX_FIELD_CHARS: Final = 1024
MAX_TRACE_CHARS: Final = 16 * 1024
_HIDDEN: Final = "[secret]"
_UNSAFE: Final = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]"
)
"""Control characters (C0, DEL, C1), line and paragraph separators, invisible marks and marks of direction."""
_WORD: Final = re.compile(r"[\w.:/@+~-]+")
_TEST_ID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_SHORT: Final = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
_SECRETS: Final[tuple[tuple[re.Pattern[str], str], ...]] = (
    (re.compile(r"(?<=://)[^/\s?#@'\"]{1,512}@"), f"{_HIDDEN}@"),  # user and password of an address
    (re.compile(r"(?i)\b(bearer|basic)\s+[\w.~+/=-]{8,}"), rf"\1 {_HIDDEN}"),
    (re.compile(r"(?<![\w-])eyJ[\w-]{8,}\.[\w-]{4,}(?:\.[\w-]*)?"), _HIDDEN),  # JWS and JWE
    (re.compile(r"\bS[UAONCX][A-Z2-7]{50,60}\b"), _HIDDEN),  # the seed of an nkey
    (re.compile(r"(__Host-[\w-]{1,80}=)[^;,\s'\"]+"), rf"\1{_HIDDEN}"),
    (
        re.compile(
            r"(?i)([?&#;](?:access_|id_|refresh_)?(?:token|ticket|secret|share|password|code|state|nonce|jwt|api_?key)=)"
            r"[^&#\s'\"]+"
        ),
        rf"\1{_HIDDEN}",
    ),
)

ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None]


def cut(text: str, most: int) -> str:
    """The text, cut after `most` characters; its end says so."""
    return text if len(text) <= most else f"{text[:most]}… (cut, {len(text)} characters)"


def without_secrets(text: str) -> str:
    """The text without what looks like a token, a password or a query that has one."""
    for pattern, instead in _SECRETS:
        text = pattern.sub(instead, text)
    return text


def plain(text: str, most: int) -> str:
    """The text as it may be written into a log: valid Unicode, not too long, without secrets."""
    return without_secrets(cut(text, most).encode("utf-8", "backslashreplace").decode())


def one_line(text: str) -> str:
    """The text with everything escaped that could end a line or control a terminal."""
    return _UNSAFE.sub(lambda found: _SHORT.get(found[0]) or _code(found[0]), text)


def _code(character: str) -> str:
    number = ord(character)
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}"


def message_of(record: logging.LogRecord) -> str:
    """The record's message. One that cannot be formatted is shown as it is: a line is never lost."""
    try:
        return record.getMessage()
    except Exception as error:
        return f"{record.msg!s} ({type(error).__name__} with its arguments)"


def _value(value: object) -> object:
    if isinstance(value, bool | float) or value is None:
        return value
    if isinstance(value, int):
        return value if abs(value) < 2**63 else str(value)
    return plain(_text(lambda: str(value)), MAX_FIELD_CHARS)


def _text(make: Callable[[], str]) -> str:
    try:
        return make()
    except Exception as error:
        return f"<{type(error).__name__}>"


def _exception(record: logging.LogRecord) -> BaseException | None:
    return record.exc_info[1] if isinstance(record.exc_info, tuple) else None


def error_of(error: BaseException) -> str:
    """The exception's type and text."""
    return plain(f"{type(error).__name__}: {_text(lambda: str(error))}".removesuffix(": "), MAX_FIELD_CHARS)


def trace_of(error: BaseException) -> str:
    """The traceback, its middle left out where it is too long."""
    text = _text(lambda: "".join(traceback.format_exception(error, limit=-40)))
    if len(text) > MAX_TRACE_CHARS:
        half = MAX_TRACE_CHARS // 2
        text = f"{text[:half]}\n… (cut, {len(text)} characters)\n{text[-half:]}"
    return plain(text, MAX_TRACE_CHARS + 100).rstrip("\n")


def _with_run(fields: dict[str, object], record: logging.LogRecord) -> dict[str, object]:
    """The fields, with the run that the message names: every line about a run can be found by its id."""
    if "run" not in fields and isinstance(record.args, tuple):
        found = next((each for each in record.args if isinstance(each, str) and _TEST_ID.fullmatch(each)), None)
        if found is not None:
            fields["run"] = found
    return fields


def _quoted(value: str) -> str:
    return value if _WORD.fullmatch(value) else orjson.dumps(value).decode()


class JsonLines(logging.Formatter):
    """One JSON object a line.

    Args:
        part: what this process is: "edge", "agent", "supervisor", "broker", "up", "demo".
    """

    def __init__(self, part: str) -> None:
        super().__init__()
        self.always: dict[str, object] = {"part": part, "process": os.getpid()}
        """Fields of every line."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as a line, without its end."""
        fields = _with_run(fields_of(record), record)
        instead = fields.pop(INSTEAD, None)
        error = _exception(record)
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")[:-6] + "Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": plain(message_of(record) if instead is None else str(instead), MAX_MESSAGE_CHARS),
        }
        for name, value in {**self.always, **fields}.items():
            if value is not None and name not in line:
                line[name] = _value(value)
        if error is not None:
            line["error"], line["trace"] = error_of(error), trace_of(error)
        text = orjson.dumps(line).decode()
        return _UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)  # they stand in strings only


class TextLines(logging.Formatter):
    """A line for people, with the fields that its message does not show. A traceback follows, indented."""

    def __init__(self) -> None:
        super().__init__()
        self.always: dict[str, object] = {}
        """Fields of every line, which text leaves out: whoever reads it knows whose log it is."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as a line, without its end."""
        fields = fields_of(record)
        fields.pop(INSTEAD, None)
        message = one_line(plain(message_of(record), MAX_MESSAGE_CHARS))
        held = fields.pop("held", None)
        pairs = [(name, one_line(str(_value(value)))) for name, value in fields.items()]
        message += "".join(f" {name}={_quoted(value)}" for name, value in pairs if value and value not in message)
        if held is not None:
            message += f" ({held} similar lines not shown)"
        lines = [f"{self.formatTime(record)} {record.levelname} {record.name}: {message}"]
        error = _exception(record)
        if error is not None:
            lines += [f"  {one_line(each)}" for each in trace_of(error).split("\n")]
        return "\n".join(lines)
