"""Resolving the host names of games: bounded, with a deadline, and never in the event loop's own threads.

A look-up cannot be cancelled: its thread lasts until the system's resolver gives up, which may take half a minute. Each
has a daemon thread of its own, and the number of threads is bounded for the process and for each asker. Names that
nobody answers therefore stall only who asked for them.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
import threading
from collections import Counter
from collections.abc import Callable, Collection
from typing import Final, NamedTuple

from broker.contract.addresses import is_loopback_name
from broker.contract.errors import NotResolved
from broker.contract.url_policy import check_game_url, host_of, is_named, refuse_private

SUBMIT_DEADLINE_S: Final = 3.0
AT_ONCE: Final = 64
"""Threads of look-ups in one process. One that waits for an answer takes about 50 KB."""
AT_ONCE_EACH: Final = 8
"""The share of one asker. A page that loads from ten hosts has them resolved in two rounds."""
_LOOK_AGAIN_S: Final = 0.02
_LOOPBACK: Final = ["127.0.0.1", "::1"]

GetAddresses = Callable[[str, int], list[str]]
"""Host and port to IP addresses; may block. Raises `OSError`: `socket.gaierror` where there are none."""


class LookupStatistics(NamedTuple):
    """Where look-ups stand."""

    under_way: int
    """Threads that wait for the system's resolver."""
    refused: int
    """Look-ups that ended without an answer: too many under way, or none in time."""


def ask_the_system(host: str, port: int) -> list[str]:
    """What the system's resolver says, in its order, each address once. Blocks."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class Lookups:
    """Bounded look-ups. May be used from several event loops, by several askers.

    Args:
        get: asks the resolver.
        at_once: threads in all.
        each: threads for one asker.
    """

    def __init__(self, get: GetAddresses = ask_the_system, *, at_once: int = AT_ONCE, each: int = AT_ONCE_EACH) -> None:
        self._get = get
        self._at_once = at_once
        self._each = each
        self._lock = threading.Lock()
        self._under_way: Counter[str] = Counter()
        self._refused = 0

    def __repr__(self) -> str:
        return f"<Lookups {self.statistics()}>"

    def statistics(self) -> LookupStatistics:
        """The counts of now."""
        return LookupStatistics(self._under_way.total(), self._refused)

    async def addresses(self, host: str, port: int, asker: str, deadline_s: float) -> list[str]:
        """Returns the addresses of `host`. An IP address, and `localhost`, are answered without a look-up.

        Args:
            asker: whose share this look-up counts to.
            deadline_s: for all of it, the wait for a free thread included.

        Raises:
            NotResolved: no answer in time; nothing is known of the name.
            OSError: the resolver says that there is no such name.
        """
        with contextlib.suppress(ValueError):
            return [str(ipaddress.ip_address(host))]
        if is_loopback_name(host):
            return list(_LOOPBACK)
        try:
            async with asyncio.timeout(deadline_s):
                while not self._taken(asker):
                    await asyncio.sleep(_LOOK_AGAIN_S)
                return await self._look_up(host, port, asker)
        except TimeoutError:
            why = f"{host} could not be looked up in {deadline_s:g} s"
        except socket.gaierror as error:
            if error.errno not in (socket.EAI_AGAIN, socket.EAI_FAIL, socket.EAI_MEMORY, socket.EAI_SYSTEM):
                raise
            why = f"{host} could not be looked up: no name server answers"
        self._refused += 1
        raise NotResolved(f"{why}: try again in a few seconds")

    def _taken(self, asker: str) -> bool:
        with self._lock:
            free = self._under_way.total() < self._at_once and self._under_way[asker] < self._each
            if free:
                self._under_way[asker] += 1
            return free

    def _give_back(self, asker: str) -> None:
        with self._lock:
            self._under_way[asker] -= 1
            if not self._under_way[asker]:
                del self._under_way[asker]

    async def _look_up(self, host: str, port: int, asker: str) -> list[str]:
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[list[str]] = loop.create_future()

        def tell(found: list[str] | None, error: Exception | None) -> None:
            if answer.done():
                return  # nobody waits any more
            if error is not None:
                answer.set_exception(error)
            else:
                answer.set_result(found or [])

        def ask() -> None:
            found, failed = None, None
            try:
                found = self._get(host, port)
            except Exception as error:  # told to whom it concerns
                failed = OSError(str(error)) if isinstance(error, UnicodeError) else error
            finally:
                self._give_back(asker)
            with contextlib.suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(tell, found, failed)

        try:
            threading.Thread(target=ask, name="look-up", daemon=True).start()
        except RuntimeError:  # the system gives no thread
            self._give_back(asker)
            raise TimeoutError from None
        return await answer


_lookups: Final = Lookups()


async def check_for_submit(
    url: str,
    *,
    allow_private: bool,
    allowed_hosts: Collection[str] = (),
    setting_of: str = "the edge",
    asker: str = "",
    lookups: Lookups = _lookups,
) -> str:
    """Returns the address in its normal form if an agent may open it.

    A name that does not exist here passes: the agent may be on another network, and applies the same check. So does one
    of `allowed_hosts` that cannot be looked up here.

    Args:
        allowed_hosts: hosts that may be private all the same (`url_policy.allowed_host`).
        setting_of: the part whose setting `allow_private` is, for the message.
        asker: who submits, for the bound on look-ups: an IP address.

    Raises:
        GameUrlRefused: it is not an http(s) address, or it leads to a private address while that is not allowed.
        NotResolved: the name could not be looked up, so that nothing can be said of it.
    """
    normal = check_game_url(url)
    if not allow_private:
        host, port = host_of(normal)
        try:
            addresses = await lookups.addresses(host, port, asker, SUBMIT_DEADLINE_S)
        except OSError:
            return normal
        except NotResolved:
            if is_named(host, port, allowed_hosts):
                return normal
            raise
        refuse_private(host, addresses, setting_of, port=port, allowed_hosts=allowed_hosts)
    return normal
