"""What the attacks of a game share: listeners that nothing may reach, and pages that try everything they can."""

from __future__ import annotations

import json
import selectors
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from agent_worker.games.chromium.page import Page
from tests.harness import until

_MDNS = ("224.0.0.251", 5353)


class Traps:
    """Listens on UDP and TCP of loopback, IPv4 and IPv6, and notes each packet and each connection."""

    def __init__(self) -> None:
        self.caught: list[str] = []
        """`udp4 20 bytes`, `tcp6 connection`, `mdns 45 bytes`, in the order in which they came."""
        self._selector = selectors.DefaultSelector()
        self._stop = threading.Event()
        self.port = 0
        for _ in range(50):
            with suppress(OSError):  # the port is taken in another family
                self.port = self._listen()
                break
        assert self.port, "no port is free in every family; is there IPv6 on loopback?"
        self._listen_to_multicast()

    def _listen(self) -> int:
        first = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        first.bind(("127.0.0.1", 0))
        port = int(first.getsockname()[1])
        self._add(first, "udp4")
        for family, kind, name in (
            (socket.AF_INET6, socket.SOCK_DGRAM, "udp6"),
            (socket.AF_INET, socket.SOCK_STREAM, "tcp4"),
            (socket.AF_INET6, socket.SOCK_STREAM, "tcp6"),
        ):
            trap = socket.socket(family, kind)
            trap.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            trap.bind(("::1" if family is socket.AF_INET6 else "127.0.0.1", port))
            if kind is socket.SOCK_STREAM:
                trap.listen(64)
            self._add(trap, name)
        return port

    def _listen_to_multicast(self) -> None:
        multicast = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        multicast.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with suppress(OSError):  # a machine without a network, or with a responder of its own
            multicast.bind(("", _MDNS[1]))
            group = struct.pack("4s4s", socket.inet_aton(_MDNS[0]), socket.inet_aton("0.0.0.0"))
            multicast.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, group)
        self._add(multicast, "mdns")

    def _add(self, trap: socket.socket, name: str) -> None:
        trap.setblocking(False)
        self._selector.register(trap, selectors.EVENT_READ, name)

    def watch(self) -> None:
        """Notes what comes, until `close`."""
        while not self._stop.is_set():
            for key, _ in self._selector.select(0.05):
                trap = key.fileobj
                assert isinstance(trap, socket.socket)
                with suppress(BlockingIOError):
                    if trap.type is socket.SOCK_DGRAM:
                        packet, sender = trap.recvfrom(65536)
                        if key.data != "mdns" or _is_own(sender[0]):  # others on the network ask the group as well
                            self.caught.append(f"{key.data} {packet[:80]!r}")
                    else:
                        trap.accept()[0].close()
                        self.caught.append(f"{key.data} connection")

    def close(self) -> None:
        """Ends `watch`, and closes all traps."""
        self._stop.set()
        for key in list(self._selector.get_map().values()):
            assert isinstance(key.fileobj, socket.socket)
            key.fileobj.close()
        self._selector.close()


def _is_own(address: str) -> bool:
    """Whether this machine has the address."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return False
    return True


@contextmanager
def traps() -> Iterator[Traps]:
    """Traps that watch."""
    made = Traps()
    thread = threading.Thread(target=made.watch)
    thread.start()
    try:
        yield made
    finally:
        made._stop.set()
        thread.join()
        made.close()


def page_that_does(script: str, **names: object) -> str:
    """A page that runs `script`, made of `attempt(name, () => promise)`, and writes down what came of each."""
    given = "".join(f"const {name} = {json.dumps(value)};" for name, value in names.items())
    return f"""<!doctype html><meta charset=utf-8><title>attack</title><body><h1>a game</h1><script>{given}
window.came = {{}}; const running = [];
const within = (ms, promise) => Promise.race([promise, new Promise((done) => setTimeout(done, ms, "no end"))]);
function attempt(name, act, ms = 1800) {{
  running.push(within(ms, Promise.resolve().then(act)).then(
    (value) => {{ came[name] = String(value); }}, (error) => {{ came[name] = "error: " + error; }}));
}}
{script}
Promise.all(running).then(() => {{ window.all_came = true; }});
</script>"""


async def outcome(page: Page, url: str) -> dict[str, str]:
    """Opens a page of `page_that_does`; returns what came of its attempts, by name."""
    await page.open(url, 20)

    async def done() -> bool:
        return bool(await page._page.evaluate("window.all_came === true"))

    await until(done, within_s=60)
    came: dict[str, str] = await page._page.evaluate("window.came")
    return came
