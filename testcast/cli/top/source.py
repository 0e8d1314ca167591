"""Fetches pages of metrics. What goes wrong becomes a sentence that says what to do."""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Iterable
from typing import Final
from urllib.parse import urlsplit

import httpx

from broker.contract.errors import BadInput
from broker.metrics.reading import Sample, samples_of
from testcast.cli.text import printable
from testcast.cli.top.overview import Source
from testcast.cli.top.scrapes import Scrape
from testcast.client.address import SCHEME

TIMEOUT_S: Final = 5.0
"""A page takes milliseconds, that of many processes at most two seconds."""
LATE_S: Final = 15.0
"""For so long a page that was read is shown although the next one does not come."""
MAX_BYTES: Final = 8 << 20
"""An edge's page has about 20 KiB."""
_ACCEPT: Final = "text/plain;version=0.0.4"
_TURN_ON: Final = "turn metrics on with TESTCAST_METRICS_PORT=9464; `testcast up` and `demo` do so by themselves"
_HTML: Final = re.compile(rb"\s*<(!doctype|html|\?xml|head|body)", re.IGNORECASE)


class NoPage(Exception):
    """There is no page. The text says why, and what to do."""


def metrics_url(given: str) -> str:
    """The address of a page: `http` and `/metrics` are the defaults.

    Raises:
        BadInput: `given` is no address.
    """
    text = given.strip()
    if not SCHEME.match(text):
        text = f"http://{text}"
    try:
        address = urlsplit(text)
        port = address.port
    except ValueError as error:
        raise BadInput(f"{given!r} is not the address of metrics: {error}") from None
    if address.scheme not in ("http", "https") or not address.hostname or port == 0 or not text.isprintable():
        raise BadInput(f"{given!r} is not the address of metrics: expected one like http://127.0.0.1:9464/metrics")
    return address._replace(path="/metrics" if address.path in ("", "/") else address.path, fragment="").geturl()


def name_of(url: str) -> str:
    """What is shown of an address: no user, no password, and of the path only what is unusual."""
    address = urlsplit(url)
    path = "" if address.path == "/metrics" else address.path
    return printable(address.netloc.rpartition("@")[2] + path)


class Fetched:
    """One source, and how its page is fetched. `update` is called by one task at a time.

    Args:
        url: as `metrics_url` returns it.
        http: closed by whoever made it.
    """

    def __init__(self, url: str, http: httpx.AsyncClient, timeout_s: float = TIMEOUT_S) -> None:
        self.source = Source(name_of(url))
        self._url = url
        self._http = http
        self._timeout_s = timeout_s

    def __repr__(self) -> str:
        return f"<Fetched {self.source.name}>"

    async def update(self) -> None:
        """Fetches the page once; afterwards the source has it, or the reason why there is none."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._timeout_s):
                page = await self._page()
            self.source.history.add(Scrape(loop.time(), _read(page)))
            self.source.error, self.source.late = "", False
        except NoPage as error:
            self.source.error = str(error)
        except TimeoutError:
            newest = self.source.history.newest
            self.source.late = newest is not None and loop.time() - newest.at_s < LATE_S
            self.source.error = "" if self.source.late else f"no answer within {self._timeout_s:g} s"

    async def _page(self) -> bytes:
        try:
            async with self._http.stream("GET", self._url, headers={"Accept": _ACCEPT}) as answer:
                _check_status(answer, urlsplit(self._url).path)
                page = bytearray()
                async for part in answer.aiter_bytes(1 << 16):
                    page += part
                    if len(page) > MAX_BYTES:
                        raise NoPage(f"the answer is larger than {MAX_BYTES >> 20} MiB: this is no page of metrics")
        except (httpx.InvalidURL, httpx.StreamError, UnicodeError) as error:
            raise NoPage(f"the address or the answer is malformed: {printable(str(error))}") from None
        except httpx.TimeoutException:
            raise TimeoutError from None
        except httpx.HTTPError as error:
            raise NoPage(_why(error)) from None
        if _HTML.match(page):
            raise NoPage(f"a web page, and no metrics: these have a port of their own; {_TURN_ON}")
        return bytes(page)


def client(urls: Iterable[str]) -> httpx.AsyncClient:
    """The client for all of these addresses. Proxies of the environment are used, but not for this machine."""
    verify = any(each.startswith("https:") for each in urls)  # reading the system's CAs takes a while
    local = httpx.AsyncHTTPTransport(verify=verify)
    mounts = {f"all://{host}": local for host in ("127.0.0.1", "localhost", "[::1]")}
    return httpx.AsyncClient(timeout=TIMEOUT_S, mounts=mounts, verify=verify)


def _check_status(answer: httpx.Response, path: str) -> None:
    """Raises NoPage: it is none of success."""
    if answer.status_code in (401, 403):
        raise NoPage(f"not allowed ({answer.status_code}): give a user, as in http://user:password@host/metrics")
    if answer.status_code == httpx.codes.NOT_FOUND:
        raise NoPage(f"nothing at {printable(path)} (404): metrics are at /metrics on a port of their own; {_TURN_ON}")
    if answer.has_redirect_location:
        where = printable(answer.headers["location"])[:80]
        raise NoPage(f"moved to {where} ({answer.status_code}): give that address")
    if not answer.is_success:
        raise NoPage(f"the server answers {answer.status_code}: its log says why")


def _read(page: bytes) -> dict[str, list[Sample]]:
    try:
        samples = samples_of(page.decode("utf-8"))
    except ValueError:  # UnicodeDecodeError too
        raise NoPage("not a page of metrics: it is not in the text format of Prometheus") from None
    if not any(name.startswith("testcast_") for name in samples):
        raise NoPage("metrics, but none of testcast's: another program answers there")
    return samples


def _why(error: httpx.HTTPError) -> str:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLError):
            return f"no TLS with it: {printable(cause.reason or str(cause))}"
        cause = cause.__cause__ or cause.__context__
    if isinstance(error, httpx.ConnectError):
        words = printable(str(error))
        why = "nothing listens there" if "refused" in words or "attempts failed" in words else words
        return f"{why}: {_TURN_ON}"
    return f"the connection broke: {printable(str(error)) or type(error).__name__}"
