"""A network of the test's own: what an engine does to it, no other process of this machine notices."""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

_CLONE_NEWNET: Final = 0x40000000
_SIOCGIFFLAGS: Final = 0x8913
_SIOCSIFFLAGS: Final = 0x8914
_IFF_UP: Final = 1


@contextmanager
def own_network() -> Iterator[None]:
    """This thread and what it starts meanwhile are in a new network namespace, which has a loopback interface alone.

    An engine makes and removes bridges. Every Chromium of the machine that sees an interface come or go breaks off what
    it is loading (ERR_NETWORK_CHANGED), and the tests of the page that run beside this one fail.

    Raises:
        OSError: this user may make none.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        if libc.unshare(_CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "no network namespace can be made")
        try:
            _raise_loopback()
            yield
        finally:
            assert libc.setns(before, _CLONE_NEWNET) == 0, "the thread stays in the other network"
    finally:
        os.close(before)


def _raise_loopback() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        asked = struct.pack("16sh14x", b"lo", 0)
        name, flags = struct.unpack("16sh14x", fcntl.ioctl(any_socket, _SIOCGIFFLAGS, asked))
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sh14x", name, flags | _IFF_UP))
