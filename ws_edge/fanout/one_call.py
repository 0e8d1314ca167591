"""One frame to many sockets: by one system call (io_uring) where the kernel allows it, by one each where it does not.

Up to a quarter of what a delivery costs is the way into the kernel and back, and Python's part in it. A ring holds a
request for each viewer of a group instead, and one call hands all of them over. Each is done before the call returns:
the kernel copies the frame into the socket, or says that it has no room (`MSG_DONTWAIT`). Only what did not succeed is
answered.

Sources: io_uring(7), io_uring_setup(2), io_uring_enter(2), and the kernel's header for the layout of what is shared.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import logging
import mmap
import os
import socket
import struct
import sys
import weakref
from array import array
from collections.abc import Callable, Sequence
from typing import Final

Unwritten = Sequence[tuple[int, int]]
"""Places of those that were not sent the whole frame, with the number of bytes that the kernel took."""
WriteAll = Callable[["array[int]", bytes], Unwritten]
"""Writes a frame to each of these descriptors without blocking; -1 stands for one that is not to be written to."""

REQUESTS: Final = 512
"""Of one call: room for a group of viewers."""
FEW: Final = 16
"""For fewer the preparations of a call take longer than calls for each."""
MOST_BYTES: Final = 64 * 1024
"""Of a frame: with larger ones copying takes so long that the way into the kernel does not count."""
MOST_FAILURES: Final = 10
"""Calls one after the other of which the kernel has taken nothing: then it is not asked any more."""

_SETUP, _ENTER = 425, 426
"""Numbers of the system calls on x86-64, ARM and RISC-V."""
_SETUP_CQSIZE, _SETUP_SUBMIT_ALL, _SETUP_SINGLE_ISSUER, _SETUP_DEFER_TASKRUN = 1 << 3, 1 << 7, 1 << 12, 1 << 13
_OFFSET_OF_REQUESTS: Final = 0x10000000
_SEND, _SKIP_SUCCESS = 26, 1 << 6
_MSG_DONTWAIT, _MSG_WAITALL, _MSG_NOSIGNAL = 0x40, 0x100, 0x4000
"""`MSG_WAITALL` makes a short write a failure, which is answered; nothing waits because of `MSG_DONTWAIT`."""
_PARAMETERS: Final = struct.Struct("<4I 24x 8I 8x 8I 8x")
"""Entries, entries for answers, flags, …, then where in the shared memory the parts of both rings are."""
_REQUEST: Final = struct.Struct("<BBHiQQIIQ24x")
"""Operation, flags, priority, descriptor, offset, address, length, flags of `send`, what its answer is known by."""
_ANSWER: Final = struct.Struct("<QiI")
_WORDS: Final = _REQUEST.size // 4
_NOT_HERE: Final = (errno.EPERM, errno.EACCES, errno.ENOSYS, errno.EINVAL)
"""What kernels answer that have no io_uring, or not this kind, or do not allow it."""
_log = logging.getLogger("testcast.edge")


def one_by_one(fds: array[int], frame: bytes) -> Unwritten:
    """Writes to each by a call of its own."""
    write, size = os.write, len(frame)
    unwritten = []
    for place, fd in enumerate(fds):
        if fd < 0:
            unwritten.append((place, 0))
            continue
        try:
            sent = write(fd, frame)
        except OSError:  # full, or gone: the transport waits, or finds the same error
            sent = 0
        if sent != size:
            unwritten.append((place, sent))
    return unwritten


def way_to_write(io_uring: bool) -> WriteAll:
    """The cheapest one that there is here. For the thread that asks only.

    Args:
        io_uring: whether it may be used.
    """
    if not io_uring:
        return one_by_one
    try:
        way = OneCall()
    except OSError as error:
        level = logging.INFO if error.errno in _NOT_HERE else logging.WARNING
        _log.log(level, "a system call for each viewer: no io_uring here (%s)", error.strerror or error)
        return one_by_one
    _log.info("one system call for many viewers (io_uring)")
    return way


class OneCall:
    """Writes to many by one call. For the thread that has made it only.

    Raises:
        OSError: the kernel has no io_uring that can do this (before Linux 6.1), or does not allow it, as the seccomp
            profiles of container engines do.
    """

    def __init__(self) -> None:
        if sys.platform != "linux" or sys.byteorder != "little":
            raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
        self._syscall = ctypes.CDLL(None, use_errno=True).syscall
        flags = _SETUP_CQSIZE | _SETUP_SUBMIT_ALL | _SETUP_SINGLE_ISSUER | _SETUP_DEFER_TASKRUN
        parameters = ctypes.create_string_buffer(_PARAMETERS.pack(REQUESTS, 2 * REQUESTS, flags, 0, *[0] * 16))
        self._fd = self._syscall(_SETUP, REQUESTS, parameters)
        if self._fd < 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))
        weakref.finalize(self, os.close, self._fd)
        _, _, _, _, *offsets = _PARAMETERS.unpack_from(parameters)
        head, tail, _, _, _, _, order, _ = offsets[:8]
        answers_head, answers_tail, _, _, _, answers, _, _ = offsets[8:]
        protection, sharing = mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_SHARED | mmap.MAP_POPULATE
        size = max(order + 4 * REQUESTS, answers + 2 * REQUESTS * _ANSWER.size)
        rings = mmap.mmap(self._fd, size, sharing, protection)
        requests = mmap.mmap(self._fd, REQUESTS * _REQUEST.size, sharing, protection, offset=_OFFSET_OF_REQUESTS)
        self._frame = ctypes.create_string_buffer(MOST_BYTES)
        how = _MSG_DONTWAIT | _MSG_WAITALL | _MSG_NOSIGNAL
        for place in range(REQUESTS):
            fields = (_SEND, _SKIP_SUCCESS, 0, -1, 0, ctypes.addressof(self._frame), 0, how, place)
            _REQUEST.pack_into(requests, place * _REQUEST.size, *fields)
        self._fds = memoryview(requests).cast("B").cast("i")[1::_WORDS]
        self._sizes = memoryview(requests).cast("B").cast("I")[6::_WORDS]
        words = memoryview(rings)[: size & ~3].cast("I")
        self._head, self._tail = words[head // 4 : head // 4 + 1], words[tail // 4 : tail // 4 + 1]
        self._order = words[order // 4 : order // 4 + REQUESTS]
        self._answers_head = words[answers_head // 4 : answers_head // 4 + 1]
        self._answers_tail = words[answers_tail // 4 : answers_tail // 4 + 1]
        self._answers = memoryview(rings)[answers : answers + 2 * REQUESTS * _ANSWER.size]
        self._places = memoryview(array("I", range(REQUESTS)))
        self._size = 0
        self._failures = 0
        self._try_it()

    def __repr__(self) -> str:
        return f"<OneCall fd={self._fd}>"

    def __call__(self, fds: array[int], frame: bytes) -> Unwritten:
        """Writes a frame to each of these descriptors."""
        count, size = len(fds), len(frame)
        if count > REQUESTS or size > MOST_BYTES or count - fds.count(-1) < FEW or self._failures >= MOST_FAILURES:
            return one_by_one(fds, frame)
        done, unwritten = self._write(fds, frame)
        if done < count:  # the kernel had no memory for more requests
            unwritten += [(done + place, sent) for place, sent in one_by_one(fds[done:], frame)]
            self._failures = 0 if done else self._failures + 1
            if self._failures == MOST_FAILURES:
                _log.warning("from now on a system call for each viewer: io_uring takes no more requests")
        else:
            self._failures = 0
        return unwritten

    def _write(self, fds: array[int], frame: bytes) -> tuple[int, list[tuple[int, int]]]:
        """Writes to as many as the kernel takes requests for. Returns how many, and what did not succeed of these.

        Whatever an earlier call has left, because something was raised in it, is forgotten first.
        """
        count, size = len(fds), len(frame)
        if size != self._size:
            self._sizes[:] = memoryview(array("I", [size]) * REQUESTS)
            self._size = size
        ctypes.memmove(self._frame, frame, size)
        self._fds[:count] = memoryview(fds)
        head = self._head[0]
        begin = head % REQUESTS
        first = min(count, REQUESTS - begin)
        self._order[begin : begin + first] = self._places[:first]
        self._order[: count - first] = self._places[first:count]
        self._answers_head[0] = self._answers_tail[0]
        self._tail[0] = (head + count) & 0xFFFFFFFF
        done = max(0, self._syscall(_ENTER, self._fd, count, 0, 0, None, 0))
        return done, self._failed()

    def _failed(self) -> list[tuple[int, int]]:
        """Takes the answers, which come for what did not succeed."""
        at, end = self._answers_head[0], self._answers_tail[0]
        failed = []
        while at != end:
            place, sent, _ = _ANSWER.unpack_from(self._answers, at % (2 * REQUESTS) * _ANSWER.size)
            failed.append((place, max(0, sent)))
            at = (at + 1) & 0xFFFFFFFF
        return failed

    def _try_it(self) -> None:
        """Sends more than a socket holds.

        Raises:
            OSError: what the kernel says of it is not what happened. All depends on that: no answer is a whole frame.
        """
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.setblocking(False)
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, MOST_BYTES // 4)
            told: list[tuple[int, list[tuple[int, int]]]] = []
            sent = 0
            while not told or (told[-1] == (1, []) and len(told) < 100):
                told.append(self._write(array("i", [ours.fileno()]), bytes(MOST_BYTES)))
                sent += MOST_BYTES if told[-1] == (1, []) else sum(part for _, part in told[-1][1])
            theirs.setblocking(False)
            got = 0
            with contextlib.suppress(BlockingIOError):
                while piece := len(theirs.recv(MOST_BYTES)):
                    got += piece
        part = sent % MOST_BYTES
        if told[-1] != (1, [(0, part)]) or not part or got != sent:
            raise OSError(errno.EPROTO, f"{got} bytes came of {sent} that were said to be sent")
