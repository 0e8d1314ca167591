"""Which model plays, where it is, and what a run may spend on it. Pure: agent_worker/config.py reads the variables."""

from __future__ import annotations

import re
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from broker.contract.addresses import is_loopback_name, literal
from broker.contract.errors import InvalidSetting

URL: Final = "TESTCAST_AGENT_MODEL_URL"
NAME: Final = "TESTCAST_AGENT_MODEL"
KEY_FILE: Final = "TESTCAST_AGENT_MODEL_KEY_FILE"
TIMEOUT_S: Final = "TESTCAST_AGENT_MODEL_TIMEOUT_S"
CALLS: Final = "TESTCAST_AGENT_MODEL_CALLS"
TOKENS: Final = "TESTCAST_AGENT_MODEL_TOKENS"

DEFAULT_TIMEOUT_S: Final = 20.0
"""Small models on a machine of one's own take several seconds for a picture."""
MAX_TIMEOUT_S: Final = 120.0
DEFAULT_CALLS: Final = 40
MAX_CALLS: Final = 10_000
DEFAULT_TOKENS: Final = 100_000
"""What 40 calls with a picture take is less: some 1,500 tokens each."""
MIN_TOKENS: Final = 1000
MAX_TOKENS: Final = 100_000_000
MAX_KEY_CHARS: Final = 4096
_MAX_NAME_CHARS: Final = 128
_CALL: Final = "/chat/completions"
_KEY: Final = re.compile(r"[!-~]+")


class Key:
    """The key of an endpoint, which shows nothing of itself in logs, errors and reprs."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return "<Key>"

    __str__ = __repr__

    def header(self) -> str:
        """The value of `Authorization`."""
        return f"Bearer {self._text}"

    def is_told_in(self, text: str) -> bool:
        """Whether a text has the key in it, or a piece of it of 8 characters."""
        pieces = {self._text[at : at + 8] for at in range(max(1, len(self._text) - 7))}
        return any(piece in text for piece in pieces)


class ModelSettings(NamedTuple):
    """A model and what one run may spend on it."""

    url: str
    """Where calls go to: the endpoint's address with `/chat/completions`."""
    name: str
    """What the endpoint calls the model."""
    key: Key | None = None
    timeout_s: float = DEFAULT_TIMEOUT_S
    """For one choice, all tries included."""
    calls: int = DEFAULT_CALLS
    """Requests that a run may make, repeated ones included."""
    tokens: int = DEFAULT_TOKENS
    """Tokens that a run may use, as the endpoint counts them, in and out. The call that goes beyond it is the last."""


def model_settings(
    url: str, name: str, key: bytes | None, timeout_s: float, calls: int, tokens: int
) -> ModelSettings | None:
    """Checks the settings of a model.

    Args:
        url: empty: no model plays.
        key: the content of the key's file; None: no file is named.

    Raises:
        InvalidSetting: they make no sense; the message names the variable, and never shows the key.
    """
    if not url:
        for variable, given in ((NAME, name), (KEY_FILE, key)):
            if given:
                raise InvalidSetting(f"{variable}: it needs {URL}, the address of the model's endpoint")
        return None
    call, host, secure = _checked(url)
    if not name:
        raise InvalidSetting(f"{NAME}: it is missing, and {URL} is set: which model is to play?")
    if len(name) > _MAX_NAME_CHARS or not name.isprintable():
        raise InvalidSetting(f"{NAME}: expected at most {_MAX_NAME_CHARS} printable characters, got {name[:200]!r}")
    if key is not None and not secure and not _is_loopback(host):
        raise InvalidSetting(f"{URL}: a key ({KEY_FILE}) is sent to https:// addresses only, or to loopback")
    return ModelSettings(call, name, None if key is None else _key(key), timeout_s, calls, tokens)


def _checked(url: str) -> tuple[str, str, bool]:
    """Where calls go to, its host, and whether the way there is encrypted. No error shows the address: a query or a
    password may be in it."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise InvalidSetting(f"{URL}: it is not an address like https://models.example/v1") from None
    if parts.scheme not in ("http", "https") or not host or not url.isascii() or not url.isprintable() or " " in url:
        raise InvalidSetting(f"{URL}: it is not an address like https://models.example/v1")
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise InvalidSetting(f"{URL}: it has no user, password, query or fragment: {KEY_FILE} names the key's file")
    path = parts.path.rstrip("/").removesuffix(_CALL) + _CALL
    return f"{parts.scheme}://{parts.netloc}{path}", host, parts.scheme == "https"


def _is_loopback(host: str) -> bool:
    try:
        address = literal(f"[{host}]" if ":" in host else host)
    except ValueError:
        return False
    return is_loopback_name(host) or (address is not None and (address == "::1" or address.startswith("127.")))


def _key(content: bytes) -> Key:
    text = content.decode("latin-1").strip()
    if len(text) > MAX_KEY_CHARS or not _KEY.fullmatch(text):
        raise InvalidSetting(f"{KEY_FILE}: the file is not one key: 1 to {MAX_KEY_CHARS} characters without a space")
    return Key(text)
