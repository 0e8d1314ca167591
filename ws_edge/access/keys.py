"""Where the public keys of tokens come from: a file, or an https address.

Both keep the keys that they have while the source is broken or away, and say so in the log. A key that is taken out of
the set does not count any more once the set is read again.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final, NamedTuple, Protocol
from urllib.parse import urlsplit

import httpx

from broker.contract.errors import InvalidSetting
from broker.contract.token_keys import MAX_KEYS_BYTES, NO_KEYS, KeySet, MalformedKeys, parse_keys
from broker.log import RateLimited
from broker.retry import Backoff
from ws_edge.access.files import read_file
from ws_edge.access.settings import KEYS

Clock = Callable[[], float]

_LOOK_S: Final = 1.0
"""Between two looks at a file's time of change."""
_REFRESH_S: Final = 600.0
"""Between two fetches of keys that are known."""
_UNKNOWN_S: Final = 10.0
"""Between two fetches because of tokens whose key is not known: anyone can send those."""
_OLDEST_S: Final = 24 * 3600.0
"""Keys that could not be fetched again for this long count no more: a withdrawn key would be good for ever."""
_FETCH_TIMEOUT_S: Final = 5.0
_RETRY_S: Final = (5.0, 60.0)
_LOG_S: Final = 60.0
_log = logging.getLogger("testcast.access")


class KeyStatistics(NamedTuple):
    """What a source of keys has done since its start."""

    keys: int
    reads: int
    failures: int


class Keys(Protocol):
    """A source of public keys. All of it is called in the event loop."""

    version: int
    """Another number after every change of the keys."""

    @property
    def read(self) -> bool:
        """Whether keys have been read since the start: before that nobody's token can be checked."""

    def current(self) -> KeySet:
        """The keys that count now. Does not block."""

    @property
    def may_learn(self) -> bool:
        """Whether `learn` would look for keys that are not known yet."""

    async def learn(self) -> None:
        """Looks for keys that are not known yet. Never raises; returns at once where a look is not due."""

    async def run(self) -> None:
        """Keeps the keys current until it is cancelled."""

    def statistics(self) -> KeyStatistics:
        """The figures of this moment."""


class SecretOnly:
    """No public keys: tokens are checked with a secret."""

    version = 0
    read = True
    may_learn = False

    def current(self) -> KeySet:
        """None."""
        return NO_KEYS

    async def learn(self) -> None:
        """Nothing to look for."""

    async def run(self) -> None:
        """Nothing to keep."""
        await asyncio.Event().wait()

    def statistics(self) -> KeyStatistics:
        """Nothing."""
        return KeyStatistics(0, 0, 0)


def read_keys(path: Path) -> KeySet:
    """The keys in a file, at the start.

    Raises:
        InvalidSetting: it cannot be read, is no set of public keys, or holds none that is of use.
    """
    keys = _read(path)
    if not keys.keys:
        raise InvalidSetting(f"{KEYS}: {path} holds no public key of Ed25519, P-256 or RSA (2048 bits or more)")
    return keys


def _read(path: Path) -> KeySet:
    try:
        return parse_keys(read_file(KEYS, path, MAX_KEYS_BYTES + 1))
    except MalformedKeys as error:
        raise InvalidSetting(f"{KEYS}: {path}: {error.message}") from None


class KeyFile:
    """Keys in a file, which is read again when it changes.

    Args:
        path: a JWKS file.
        clock: a monotonic clock, seconds.

    Raises:
        InvalidSetting: as `read_keys` does.
    """

    read = True
    may_learn = False

    def __init__(self, path: Path, clock: Clock = time.monotonic) -> None:
        self.version = 0
        self._path = path
        self._clock = clock
        self._state = self._look()
        self._keys = read_keys(path)
        self._next_look = clock() + _LOOK_S
        self._trouble = RateLimited(_log, _LOG_S)
        self._reads, self._failures = 1, 0

    def __repr__(self) -> str:
        return f"<KeyFile {self._path} {self._keys!r}>"

    def statistics(self) -> KeyStatistics:
        """The figures of this moment."""
        return KeyStatistics(len(self._keys.keys), self._reads, self._failures)

    def current(self) -> KeySet:
        """The keys, after a look at the file once a second."""
        now = self._clock()
        if now >= self._next_look:
            self._next_look = now + _LOOK_S
            state = self._look()
            if state != self._state:
                self._state = state
                self._read_again()
        return self._keys

    def _look(self) -> tuple[int, ...] | None:
        """What changes when the file does; None while there is none."""
        try:
            found = self._path.stat()
        except OSError:
            return None
        return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)

    def _read_again(self) -> None:
        self._reads += 1
        try:
            keys = _read(self._path)
        except InvalidSetting as error:
            self._failures += 1
            self._trouble.warning("the keys of tokens stay as they were: %s", error.message)
            return
        if keys.keys != self._keys.keys:
            self._keys = keys
            self.version += 1
            _log.info("the keys of tokens have changed: %s holds %d of use", self._path, len(keys.keys))

    async def learn(self) -> None:
        """A file is looked at anyway."""

    async def run(self) -> None:
        """A file is looked at when a token comes."""
        await asyncio.Event().wait()


async def fetch(address: str, tls: ssl.SSLContext | None = None) -> bytes:
    """Fetches a set of keys.

    No redirect is followed, and no proxy, netrc or other environment variable counts: the address alone says whom the
    edge trusts. The answer is not decompressed, so that its size is what arrives.

    Raises:
        httpx.HTTPError, OSError, TimeoutError: nothing that answers.
        MalformedKeys: the answer is too large, compressed, or not 200.
    """
    transport = httpx.AsyncHTTPTransport(verify=tls if tls is not None else _certificates(), trust_env=False)
    http = httpx.AsyncClient(transport=transport, timeout=_FETCH_TIMEOUT_S, follow_redirects=False, trust_env=False)
    headers = {"accept": "application/json", "accept-encoding": "identity"}
    async with asyncio.timeout(_FETCH_TIMEOUT_S), http, http.stream("GET", address, headers=headers) as answer:
        if answer.status_code != httpx.codes.OK:
            raise MalformedKeys(f"the answer is HTTP {answer.status_code}, and not 200 with the keys")
        if answer.headers.get("content-encoding", "identity") != "identity":
            raise MalformedKeys("the answer is compressed, though not asked for")
        content = b""
        async for piece in answer.aiter_raw():
            content += piece
            if len(content) > MAX_KEYS_BYTES:
                raise MalformedKeys(f"the answer is larger than {MAX_KEYS_BYTES} bytes")
        return content


def _certificates() -> ssl.SSLContext:
    """What this machine trusts. OpenSSL itself reads SSL_CERT_FILE, for a CA of one's own."""
    return ssl.create_default_context()


class KeyAddress:
    """Keys at an https address, fetched regularly, and when a token names one that is not known.

    Args:
        address: of a JWKS.
        fetch: fetches it.
        clock: a monotonic clock, seconds.
    """

    def __init__(
        self, address: str, fetch: Callable[[str], Awaitable[bytes]] = fetch, clock: Clock = time.monotonic
    ) -> None:
        self.version = 0
        self._address = address
        self._fetch_from = fetch
        self._clock = clock
        self._keys = NO_KEYS
        self.read = False
        self._fetched_at: float | None = None
        self._next_for_unknown = float("-inf")
        self._fetching: asyncio.Task[bool] | None = None
        self._host = urlsplit(address).hostname
        self._trouble = RateLimited(_log, _LOG_S)
        self._reads, self._failures = 0, 0

    def __repr__(self) -> str:
        return f"<KeyAddress {self._host} {self._keys!r}>"

    def statistics(self) -> KeyStatistics:
        """The figures of this moment."""
        return KeyStatistics(len(self._keys.keys), self._reads, self._failures)

    def current(self) -> KeySet:
        """The keys as they were last fetched; none once they are too old."""
        if self._fetched_at is not None and self._clock() - self._fetched_at > _OLDEST_S:
            self._fetched_at = None
            self._change(NO_KEYS)
        return self._keys

    @property
    def may_learn(self) -> bool:
        """Whether a fetch is under way or allowed now."""
        return self._fetching is not None or self._clock() >= self._next_for_unknown

    async def learn(self) -> None:
        """Waits for one fetch, which all who ask meanwhile share."""
        if self.may_learn:
            await self._refresh()

    async def run(self) -> None:
        """Fetches the keys regularly until it is cancelled, and sooner again after a failure."""
        backoff = Backoff(*_RETRY_S)
        while True:
            if await self._refresh():
                backoff = Backoff(*_RETRY_S)
                await asyncio.sleep(_REFRESH_S)
            else:
                await asyncio.sleep(backoff.next())

    async def _refresh(self) -> bool:
        """Fetches the keys, once for all who wait. Returns whether it worked. Who stops to wait does not stop it."""
        if self._fetching is None:
            self._fetching = asyncio.get_running_loop().create_task(self._fetch(), name="access keys")
        return await asyncio.shield(self._fetching)

    async def _fetch(self) -> bool:
        self._reads += 1
        try:
            keys = parse_keys(await self._fetch_from(self._address))
        except (httpx.HTTPError, httpx.InvalidURL, OSError, TimeoutError, MalformedKeys) as error:
            self._failures += 1
            why = str(error) or type(error).__name__
            self._trouble.warning("the keys of tokens cannot be fetched from %s: %s", self._host, why)
            return False
        else:
            self._fetched_at = self._clock()
            self.read = True
            self._change(keys)
            return True
        finally:
            self._fetching = None
            self._next_for_unknown = self._clock() + _UNKNOWN_S

    def _change(self, keys: KeySet) -> None:
        """Uses these keys from now on. No other form of the same keys makes what is remembered void."""
        if keys.keys != self._keys.keys:
            self._keys = keys
            self.version += 1
            _log.info("the keys of tokens have changed: %s has %d of use", self._host, len(keys.keys))
