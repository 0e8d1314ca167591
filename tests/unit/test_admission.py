"""The door: limits per node and address, the rate of handshakes, whose word about the address counts."""

from __future__ import annotations

import ipaddress

import pytest

from ws_edge.transport.admission import Admission, client_address

TRUSTED = [ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("::1/128")]


def test_a_node_has_a_limit_and_leaving_makes_room() -> None:
    door = Admission(2, 0, 0)
    assert door.enter("a", 0.0) is None
    assert door.enter("b", 0.0) is None
    refused = door.enter("c", 0.0)
    assert refused is not None and refused.code == "node_full" and refused.retry_after_s > 0
    door.leave("a")
    assert door.enter("c", 0.0) is None
    assert (door.open, door.refused) == (2, 1)


def test_an_address_has_a_limit_of_its_own() -> None:
    door = Admission(100, 2, 0)
    assert [door.enter("a", 0.0), door.enter("a", 0.0)] == [None, None]
    refused = door.enter("a", 0.0)
    assert refused is not None and refused.code == "address_full" and "TRUSTED_PROXIES" in refused.message
    assert door.enter("b", 0.0) is None
    door.leave("a")
    assert door.enter("a", 0.0) is None


def test_handshakes_have_a_rate_and_a_burst() -> None:
    door = Admission(10_000, 0, 10)
    let_in = sum(door.enter("a", 100.0) is None for _ in range(100))
    assert let_in == 20
    refused = door.enter("a", 100.05)
    assert refused is not None and refused.code == "too_fast"
    assert sum(door.enter("a", 101.0) is None for _ in range(100)) == 10
    assert sum(door.enter("a", 200.0) is None for _ in range(100)) == 20, "the burst does not pile up"


def test_who_has_left_is_forgotten() -> None:
    door = Admission(10, 1, 0)
    for number in range(1000):
        assert door.enter(f"{number}", 0.0) is None
        door.leave(f"{number}")
    assert "addresses=0" in repr(door)


@pytest.mark.parametrize(
    ("peer", "forwarded", "expected"),
    [
        ("8.8.8.8", None, "8.8.8.8"),
        ("8.8.8.8", "1.1.1.1", "8.8.8.8"),  # not a proxy of ours: its word does not count
        ("10.0.0.1", None, "10.0.0.1"),
        ("10.0.0.1", "1.1.1.1", "1.1.1.1"),
        ("10.0.0.1", "6.6.6.6, 1.1.1.1", "1.1.1.1"),  # what the viewer wrote itself does not count
        ("10.0.0.1", "1.1.1.1, 10.0.0.2", "1.1.1.1"),  # two proxies of ours
        ("10.0.0.1", " , ", "10.0.0.1"),
        ("10.0.0.1", "nonsense", "nonsense"),
        ("::1", "2001:db8::1", "2001:db8::1"),
    ],
)
def test_whose_word_counts(peer: str, forwarded: str | None, expected: str) -> None:
    assert client_address(peer, forwarded, TRUSTED) == expected
