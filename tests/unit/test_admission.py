"""Admission: limits per node and per address, and the rate of handshakes."""

from __future__ import annotations

from ws_edge.transport.admission import Admission


def test_a_node_has_a_limit_and_leaving_makes_room() -> None:
    admission = Admission(2, 0, 0)
    assert admission.enter("a", 0.0) is None
    assert admission.enter("b", 0.0) is None
    refused = admission.enter("c", 0.0)
    assert refused is not None and refused.code == "node_full" and refused.retry_after_s > 0
    admission.leave("a")
    assert admission.enter("c", 0.0) is None
    assert (admission.open, admission.refused) == (2, 1)


def test_an_address_has_a_limit_of_its_own() -> None:
    admission = Admission(100, 2, 0)
    assert [admission.enter("a", 0.0), admission.enter("a", 0.0)] == [None, None]
    refused = admission.enter("a", 0.0)
    assert refused is not None and refused.code == "address_full" and "TRUSTED_PROXIES" in refused.message
    assert admission.enter("b", 0.0) is None
    admission.leave("a")
    assert admission.enter("a", 0.0) is None


def test_handshakes_have_a_rate_and_a_burst() -> None:
    admission = Admission(10_000, 0, 10)
    admitted = sum(admission.enter("a", 100.0) is None for _ in range(100))
    assert admitted == 20
    refused = admission.enter("a", 100.05)
    assert refused is not None and refused.code == "too_fast"
    assert sum(admission.enter("a", 101.0) is None for _ in range(100)) == 10
    assert sum(admission.enter("a", 200.0) is None for _ in range(100)) == 20, "a long pause earns no larger burst"


def test_an_address_without_sockets_is_forgotten() -> None:
    admission = Admission(10, 1, 0)
    for number in range(1000):
        assert admission.enter(f"{number}", 0.0) is None
        admission.leave(f"{number}")
    assert "addresses=0" in repr(admission)
