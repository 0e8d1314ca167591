"""The settings of webhooks, from the text of the file that `TESTCAST_WEBHOOKS` names. Pure.

No error repeats an address or a secret: addresses of chat programs are secrets themselves.
"""

from __future__ import annotations

import base64
import binascii
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple, get_args

import orjson

from broker.contract.errors import BadInput, InvalidSetting
from broker.contract.projects import parse_project
from broker.contract.url_policy import check_game_url

SETTING: Final = "TESTCAST_WEBHOOKS"
Format = Literal["testcast", "slack"]
FORMATS: Final[tuple[Format, ...]] = get_args(Format)
ENDS: Final = ("completed", "failed", "cancelled")
"""The statuses of a run that a webhook can be told of."""
MAX_WEBHOOKS: Final = 32
RETRY_S: Final = (5.0, 30.0, 120.0, 600.0, 1800.0, 3600.0, 7200.0, 14400.0, 28800.0)
"""After each failure: ten tries in 15.5 hours."""
MAX_RETRIES: Final = 20
MAX_RETRIES_S: Final = 24 * 3600
"""In all: less than an entry of the bucket lives."""
_LEAST_SECRET_BYTES: Final = 16
_PREFIX: Final = b"whsec_"
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}", re.ASCII)
_KEYS: Final = frozenset(
    {"name", "url", "url_file", "secret_file", "format", "projects", "on", "allow_private", "retry_s"}
)

ReadSecret = Callable[[str], bytes]
"""Reads a secret file by its path. Raises `InvalidSetting`."""


class Webhook(NamedTuple):
    """Where to tell of the ends of runs, and of which."""

    name: str
    url: str
    secret: bytes | None
    """Signs each message; None: nothing does."""
    form: Format
    projects: frozenset[str] | None
    """None: all projects."""
    on: frozenset[str]
    allow_private: bool
    """Private and loopback addresses may be called."""
    retry_s: tuple[float, ...]

    def __repr__(self) -> str:
        return f"<Webhook {self.name}>"


def parse(text: bytes, *, is_json: bool, read_secret: ReadSecret) -> tuple[Webhook, ...]:
    """Reads the file.

    Raises:
        InvalidSetting: it cannot be understood; the message names the webhook and the key.
    """
    try:
        document = orjson.loads(text) if is_json else tomllib.loads(text.decode())
    except (orjson.JSONDecodeError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidSetting(f"{SETTING}: the file is no {'JSON' if is_json else 'TOML'}: {error}") from None
    given = document.get("webhooks") if isinstance(document, dict) else None
    if not isinstance(given, list) or not given or len(document) != 1:
        raise InvalidSetting(f"{SETTING}: the file has no list `webhooks`, or something beside it")
    if len(given) > MAX_WEBHOOKS:
        raise InvalidSetting(f"{SETTING}: at most {MAX_WEBHOOKS} webhooks, and the file has {len(given)}")
    found = tuple(_webhook(each, number, read_secret) for number, each in enumerate(given, 1))
    names = [each.name for each in found]
    if twice := sorted({each for each in names if names.count(each) > 1}):
        raise InvalidSetting(f"{SETTING}: two webhooks have the name {twice[0]!r}")
    return found


def _webhook(given: Any, number: int, read_secret: ReadSecret) -> Webhook:
    name = given.get("name") if isinstance(given, dict) else None
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise InvalidSetting(f"{SETTING}: webhook {number}: `name` is not 1 to 32 of a-z, 0-9, _ and -")

    def wrong(what: str) -> InvalidSetting:
        return InvalidSetting(f"{SETTING}: webhook {name!r}: {what}")

    if unknown := sorted(set(given) - _KEYS):
        raise wrong(f"`{str(unknown[0])[:40]}` is no key of a webhook")
    form = given.get("format", "testcast")
    if form not in FORMATS:
        raise wrong(f"`format` is not one of {', '.join(FORMATS)}")
    secret = _secret(given, wrong, read_secret)
    if secret is None and form == "testcast":
        raise wrong("`secret_file` is missing: messages of this format are signed")
    private = given.get("allow_private", False)
    if not isinstance(private, bool):
        raise wrong("`allow_private` is neither true nor false")
    url = _url(given, wrong, read_secret)
    return Webhook(
        name, url, secret, form, _projects(given, wrong), _ends(given, wrong), private, _retry_s(given, wrong)
    )


Wrong = Callable[[str], InvalidSetting]


def _text_of(given: Mapping[str, Any], key: str, wrong: Wrong) -> str | None:
    value = given.get(key)
    if value is not None and (not isinstance(value, str) or not value.strip()):
        raise wrong(f"`{key}` is not a text")
    return value


def _read(given: Mapping[str, Any], key: str, wrong: Wrong, read_secret: ReadSecret) -> bytes | None:
    path = _text_of(given, key, wrong)
    if path is None:
        return None
    try:
        return bytes(read_secret(path))
    except InvalidSetting as error:
        raise wrong(f"`{key}`: {error.message.removeprefix(f'{SETTING}: ')}") from None


def _url(given: Mapping[str, Any], wrong: Wrong, read_secret: ReadSecret) -> str:
    if ("url" in given) == ("url_file" in given):
        raise wrong("give either `url` or `url_file`")
    key = "url" if "url" in given else "url_file"
    url = _text_of(given, "url", wrong)
    if url is None:
        try:
            url = (_read(given, "url_file", wrong, read_secret) or b"").decode("ascii").strip()
        except UnicodeDecodeError:
            raise wrong("`url_file` holds no address") from None
    try:
        return check_game_url(url).partition("#")[0]
    except BadInput as error:
        if error.code == "url_refused":
            raise wrong(f"`{key}` is no http or https address without a name and password") from None
        raise wrong(f"`{key}` is no address of the form https://host/path") from None


def _secret(given: Mapping[str, Any], wrong: Wrong, read_secret: ReadSecret) -> bytes | None:
    """`whsec_` and base64, as Standard Webhooks writes secrets, or any bytes."""
    content = _read(given, "secret_file", wrong, read_secret)
    if content is None:
        return None
    if content.startswith(_PREFIX):
        try:
            content = base64.b64decode(content.removeprefix(_PREFIX), validate=True)
        except binascii.Error:
            raise wrong("`secret_file`: behind whsec_ stands no base64") from None
    if len(content) < _LEAST_SECRET_BYTES:
        raise wrong(
            f"`secret_file`: the secret has {len(content)} bytes, and at least {_LEAST_SECRET_BYTES} are needed"
        )
    return content


def _texts(given: Mapping[str, Any], key: str, wrong: Wrong) -> list[str] | None:
    value = given.get(key)
    if value is None:
        return None
    if not isinstance(value, list) or not value or not all(isinstance(each, str) for each in value):
        raise wrong(f"`{key}` is not a list of texts")
    return value


def _projects(given: Mapping[str, Any], wrong: Wrong) -> frozenset[str] | None:
    names = _texts(given, "projects", wrong)
    try:
        return None if names is None else frozenset(map(parse_project, names))
    except BadInput as error:
        raise wrong(f"`projects`: {error.message}") from None


def _ends(given: Mapping[str, Any], wrong: Wrong) -> frozenset[str]:
    ends: Sequence[str] = _texts(given, "on", wrong) or ("completed", "failed")
    if not set(ends) <= set(ENDS):
        raise wrong(f"`on` names something else than {', '.join(ENDS)}")
    return frozenset(ends)


def _retry_s(given: Mapping[str, Any], wrong: Wrong) -> tuple[float, ...]:
    value = given.get("retry_s", list(RETRY_S))
    numbers = isinstance(value, list) and all(isinstance(each, int | float) and each is not True for each in value)
    if not numbers or len(value) > MAX_RETRIES or not all(each >= 0.1 for each in value) or sum(value) > MAX_RETRIES_S:
        raise wrong(f"`retry_s` is not a list of at most {MAX_RETRIES} pauses in seconds, of 24 hours in all")
    return tuple(map(float, value))
