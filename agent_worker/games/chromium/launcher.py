"""Runs in place of Chromium, puts up the walls around it, and then becomes Chromium. Standard library only.

`python -I -S launcher.py <walls as JSON> <program> <arguments of Chromium>`; confinement.py writes that line. The
walls: `run` (directory of this run), `uid` (user to become, null to stay), `network` (whether to try for a network of
its own), `limits` (resource name to bound). What came of it is sent to the socket `channel` in the run's directory:
`{"pid", "network"}`, and with a network of its own a listening socket, which is then the only way out of it.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import resource
import signal
import socket
import struct
import sys
from typing import Any, Final

_CLONE_NEWUSER: Final = 0x10000000
_CLONE_NEWNET: Final = 0x40000000
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS = 1, 4, 38
_SIOCSIFFLAGS: Final = 0x8914
_IFF_UP: Final = 0x1
_BACKLOG: Final = 128
_FIRST_OTHER_FILE: Final = 5
"""0 to 2 are the output, 3 and 4 the pipes of the driver."""

_libc = ctypes.CDLL(None, use_errno=True)


def _unshare(flags: int) -> bool:
    return bool(_libc.unshare(flags) == 0)


def _become(uid: int) -> None:
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)


def _own_network_of_a_user() -> bool:
    """A network namespace inside a user namespace, which needs no privilege where the kernel allows it at all."""
    uid, gid = os.getuid(), os.getgid()
    _libc.prctl(_PR_SET_DUMPABLE, 1, 0, 0, 0)  # a change of user takes it away, and with it /proc/self
    if not _unshare(_CLONE_NEWUSER | _CLONE_NEWNET):
        return False
    for name, text in (("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1")):
        file = os.open(f"/proc/self/{name}", os.O_WRONLY)
        os.write(file, text.encode())
        os.close(file)
    return True


def _listener() -> socket.socket:
    """Loopback of the new network, up, with a socket that listens on it."""
    listening = socket.socket()
    fcntl.ioctl(listening, _SIOCSIFFLAGS, struct.pack("16sh22x", b"lo", _IFF_UP))
    listening.bind(("127.0.0.1", 0))
    listening.listen(_BACKLOG)
    return listening


def main() -> None:
    """See the module. Raises what went wrong: Chromium is not started then, and the message is in its output."""
    walls: dict[str, Any] = json.loads(sys.argv[1])
    run, uid = walls["run"], walls["uid"]
    channel = socket.socket(socket.AF_UNIX)
    channel.connect(f"{run}/channel")
    for name, bound in walls["limits"].items():
        resource.setrlimit(getattr(resource, name), (bound, bound))
    listening: list[socket.socket] = []
    if walls["network"] and uid is not None and _unshare(_CLONE_NEWNET):
        listening = [_listener()]
    if uid is not None:
        _become(uid)
    if walls["network"] and not listening and _own_network_of_a_user():
        listening = [_listener()]
    told = json.dumps({"pid": os.getpid(), "network": bool(listening)}).encode()
    socket.send_fds(channel, [told], [each.fileno() for each in listening])
    _libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    os.chdir(run)
    os.closerange(_FIRST_OTHER_FILE, os.sysconf("SC_OPEN_MAX"))
    own = f"--user-data-dir={run}/profile"
    argv = [own if each.startswith("--user-data-dir=") else each for each in sys.argv[2:]]
    os.execv(argv[0], argv)


if __name__ == "__main__":
    main()
