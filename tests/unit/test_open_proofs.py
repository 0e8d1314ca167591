"""When the proofs of open sockets end: buckets by second, swept with a clock that is passed in."""

from __future__ import annotations

import random

from tests.access_stand_ins import Clock
from ws_edge.fanout.proofs import GRACE_S, OpenProofs, ProvedSocket


class Socket:
    """Writes down what it is told."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.told: list[tuple[float, str]] = []

    def _note(self, what: str) -> None:
        self.told.append((self._clock.now, what))

    def proof_ended(self, code: str, grace_ms: int) -> None:
        assert grace_ms == GRACE_S * 1000
        self._note(code)

    def share_ended(self, proof: str) -> None:
        self._note(proof)

    def close(self, code: int, reason: str) -> None:
        self._note(str(code))


def test_a_socket_is_told_at_the_end_and_closed_after_the_grace() -> None:
    clock = Clock(1000.5)
    proofs, socket, forever = OpenProofs(clock), Socket(clock), Socket(clock)
    proofs.hold(socket, 1010.2, ())
    proofs.hold(forever, None, ("token",))
    proofs.hold(Socket(clock), None, ())
    assert proofs.statistics() == (2, 0)
    for _ in range(200):
        clock.now += 0.25
        proofs.sweep()
    assert socket.told == [(1011.0, "token_expired"), (1036.0, "4401")]
    assert forever.told == []
    proofs.release(socket)
    proofs.release(socket)
    assert proofs.statistics() == (1, 0)


def test_another_proof_ends_the_grace() -> None:
    clock = Clock(1000.0)
    proofs, socket = OpenProofs(clock), Socket(clock)
    proofs.hold(socket, 1001.0, ("first",))
    clock.now = 1002.0
    proofs.sweep()
    assert proofs.statistics() == (1, 1)
    proofs.hold(socket, 2000.0, ("second",))
    clock.now = 1500.0
    proofs.sweep()
    proofs.end("first")
    assert [what for _, what in socket.told] == ["token_expired"] and proofs.statistics() == (1, 0)
    proofs.end("second")
    proofs.end("second")
    clock.now = 1600.0
    proofs.sweep()
    assert [what for _, what in socket.told] == ["token_expired", "token_revoked", "4401"]


def test_the_end_of_a_proof_meets_those_that_have_it() -> None:
    clock = Clock(1000.0)
    proofs = OpenProofs(clock)
    sockets = [Socket(clock) for _ in range(10)]
    for number, socket in enumerate(sockets):
        proofs.hold(socket, 5000.0, (f"token {number % 2}", f"share.run.{number}"))
    proofs.end("token 1")
    proofs.end("share.run.4")
    proofs.end("unknown")
    told = [[what for _, what in socket.told] for socket in sockets]
    assert told == [
        ["share.run.4"] if number == 4 else ["token_revoked"] * (number % 2) for number in range(len(sockets))
    ]


def test_a_clock_that_jumps_ends_everything_once_and_nothing_early() -> None:
    clock = Clock(1000.0)
    proofs, early, late = OpenProofs(clock), Socket(clock), Socket(clock)
    proofs.hold(early, 1500.0, ())
    proofs.hold(late, 1e9, ())
    clock.now = 900.0  # set back
    proofs.sweep()
    assert not early.told
    clock.now = 50_000.0  # the machine was halted
    proofs.sweep()
    proofs.sweep()
    assert [what for _, what in early.told] == ["token_expired"] and not late.told
    clock.now += GRACE_S + 1
    proofs.sweep()
    assert [what for _, what in early.told] == ["token_expired", "4401"]
    proofs.hold(early, 10.0, ())  # it has expired long ago
    clock.now += 1
    proofs.sweep()
    assert early.told[-1][1] == "token_expired"


class Counting(dict[int, set[ProvedSocket]]):
    """Counts look-ups."""

    looks = 0

    def __contains__(self, key: object) -> bool:
        self.looks += 1
        return super().__contains__(key)


def test_a_sweep_looks_at_seconds_and_not_at_sockets() -> None:
    clock, rng = Clock(1000.0), random.Random(7)
    proofs = OpenProofs(clock)
    sockets = [Socket(clock) for _ in range(10_000)]
    for number, socket in enumerate(sockets):
        proofs.hold(socket, 5000.0 + rng.random() * 3600, (f"token {number}",))
    seconds = Counting(proofs._by_second)
    proofs._by_second = seconds
    for _ in range(400):
        clock.now += 0.25
        proofs.sweep()
    assert seconds.looks == 100, "one for each second that has passed"
    for socket in sockets[::2]:
        proofs.release(socket)
    clock.now = 5000.0
    while clock.now < 9000.0:
        clock.now += 1
        proofs.sweep()
    ended = [socket.told for socket in sockets]
    assert all([what for _, what in told] == ["token_expired", "4401"] for told in ended[1::2])
    assert not any(ended[::2])
    for socket in sockets:
        proofs.release(socket)
    assert proofs.statistics() == (0, 0) and not proofs._by_second and not proofs._by_proof
