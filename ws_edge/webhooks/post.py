"""One try of a webhook: the name is looked up once, its addresses are judged, and one of exactly these is called.

A name whose addresses change between the judgement and the connection (DNS rebinding) gains nothing. No redirect is
followed.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Mapping
from functools import cache, partial
from typing import Final, NamedTuple

import httpx

from broker.contract.addresses import address_allowed, never_reached
from broker.contract.errors import NotResolved
from broker.contract.url_policy import host_of
from broker.local.name_resolution import Lookups
from ws_edge.webhooks.settings import Webhook

TRY_S: Final = 15.0
"""For all of a try. The lease of an entry is a minute."""
_LOOK_UP_S: Final = 5.0
_LOOK_UPS_EACH: Final = 2
"""Of one webhook at the same time; a thread may last for half a minute. All webhooks together stay below `AT_ONCE`."""
_GONE: Final = 410
_lookups: Final = Lookups(each=_LOOK_UPS_EACH)

Resolver = Callable[[str, int], Awaitable[list[str]]]
"""Host and port to IP addresses. Raises `OSError` or `NotResolved`."""


class Tried(NamedTuple):
    """What came of a try."""

    ok: bool
    said: str
    """In a few words, without the address: it may be a secret."""
    final: bool = False
    """The receiver wants no more of it."""


async def post(webhook: Webhook, content: bytes, headers: Mapping[str, str], resolver: Resolver | None = None) -> Tried:
    """Sends a message once. Never raises for what the receiver does."""
    try:
        async with asyncio.timeout(TRY_S):
            return await _post(webhook, content, headers, resolver or partial(_look_up, asker=webhook.name))
    except TimeoutError:
        return Tried(False, f"no answer within {TRY_S:g} s")


async def _look_up(host: str, port: int, *, asker: str) -> list[str]:
    """Each webhook has a share of the look-ups: a name that nobody answers holds up only who asks for it."""
    return await _lookups.addresses(host, port, asker, _LOOK_UP_S)


async def _post(webhook: Webhook, content: bytes, headers: Mapping[str, str], resolver: Resolver) -> Tried:
    host, port = host_of(webhook.url)
    try:
        addresses = await resolver(host, port)
    except (OSError, NotResolved):
        return Tried(False, "its host's name could not be looked up")
    if (refused := judge(addresses, allow_private=webhook.allow_private)) is not None:
        return Tried(False, refused)
    said = "no connection"
    async with httpx.AsyncClient(verify=_certificates(), trust_env=False, timeout=TRY_S) as http:
        for address in addresses:
            url = httpx.URL(webhook.url)
            request = http.build_request(
                "POST",
                url.copy_with(host=address),
                content=content,
                headers={**headers, "host": url.netloc.decode("ascii"), "user-agent": "testcast"},
                extensions={"sni_hostname": host},
            )
            try:
                answer = await http.send(request, stream=True)  # its body is nothing that anybody reads
            except (httpx.ConnectError, httpx.ConnectTimeout):
                continue
            except (httpx.HTTPError, httpx.InvalidURL) as error:
                said = f"no answer ({type(error).__name__})"
                break
            await answer.aclose()
            return _judged(answer.status_code)
    return Tried(False, said)


def judge(addresses: list[str], *, allow_private: bool) -> str | None:
    """Why none of the addresses may be called; None: each may. Metadata services and link local never."""
    if not addresses:
        return "its host has no address"
    for address in addresses:
        if not address_allowed(address) and not (allow_private and not never_reached(address)):
            how = "which is never called" if allow_private else "and `allow_private` is not set"
            return f"its host leads to {address}, a private address, {how}"
    return None


def _judged(status: int) -> Tried:
    if 200 <= status < 300:
        return Tried(True, f"answered {status}")
    if 300 <= status < 400:
        return Tried(False, f"answered {status}: redirects are not followed")
    return Tried(False, f"answered {status}", final=status == _GONE)


@cache
def _certificates() -> ssl.SSLContext:
    """Read once: it takes 20 ms of the loop. `SSL_CERT_FILE` names an authority of one's own."""
    return httpx.create_ssl_context()
