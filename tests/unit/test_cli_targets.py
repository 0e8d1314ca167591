"""Targets and addresses as they are typed, the delays between attempts, and the exit status of each error."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.contract.errors import BadInput, BrokerUnavailable, InvalidTestId, NotFound, QueueFull, TestcastError
from testcast.cli.targets import complete_game_url, parse_run, parse_target
from testcast.client.address import edge_url, is_local, page_url
from testcast.client.backoff import DELAYS_S, MAX_ATTEMPTS, delay_s, retry_after_s
from testcast.client.errors import ConnectionLost, EdgeRefused
from testcast.exit_codes import exit_status

RUN = "4f9c2d3e-8a51-4c0b-9d57-2f1f6f0a7b11"


@pytest.mark.parametrize(
    ("given", "edge", "test_id", "through"),
    [
        (None, None, None, None),
        ("all", None, None, None),
        (RUN, None, RUN, None),
        (RUN, "localhost:8000", RUN, "http://localhost:8000"),
        (RUN.upper(), None, RUN, None),
        (f" {RUN}\n", None, RUN, None),
        ("ALL", None, None, None),
        ("4F9C2d3e", None, "4f9c2d3e", None),
        ("4f9c2d3e-8a51-4", None, "4f9c2d3e-8a51-4", None),
        ("4f9c2d3e-", None, "4f9c2d3e-", None),
        ("last", None, "last", None),
        ("Last", "h", "last", "http://h"),
        ("http://h/tests/LAST", None, "last", "http://h"),
        ("http://h/tests/4f9c", None, "4f9c", "http://h"),
        ("https://h/testcast/", None, None, "https://h/testcast"),
        (f"https://h/testcast/tests/{RUN}", None, RUN, "https://h/testcast"),
        (f"https://h/a/b/tests/{RUN}", "https://h/a/b/", RUN, "https://h/a/b"),
        ("http://h:8000", None, None, "http://h:8000"),
        ("http://h:8000/", None, None, "http://h:8000"),
        (f"https://h/tests/{RUN}", None, RUN, "https://h"),
        (f"http://h:8000/tests/{RUN}/?x=1#y", "http://h:8000/", RUN, "http://h:8000"),
        (RUN, "h/testcast/", RUN, "http://h/testcast"),
        ("http://h/testcast/", None, None, "http://h/testcast"),
        (f"https://h/a/tests/b/tests/{RUN}", "https://h/a/tests/b", RUN, "https://h/a/tests/b"),
        (f"https://h/tests/tests/{RUN}", None, RUN, "https://h/tests"),
    ],
)
def test_a_target_is_an_id_all_or_a_page(
    given: str | None, edge: str | None, test_id: str | None, through: str | None
) -> None:
    assert parse_target(given, edge) == (test_id, through)


@pytest.mark.parametrize(
    "given",
    [
        "",
        "test.*.events",
        "../etc",
        f"http://h/tests/{RUN}x",
        f"{RUN}0",
        "4f9c2d3e8a51",
        "4f9c2d3-8",
        "4f9c-",
        "-4f9c",
        "nonsense",
        "\u0664f9c",
        "x" * 200,
    ],
)
def test_a_target_that_is_no_test_id_is_refused(given: str) -> None:
    with pytest.raises(InvalidTestId):
        parse_target(given, None)


@pytest.mark.parametrize(
    "given",
    [
        "http://h/other",
        f"http://h/tests/{RUN}/more",
        f"http://h/x/tests/{RUN}/tests/{RUN}",
        "ftp://h/",
        "http:///",
        "http://h:x/",
        "http://h/tests/",
        "http://h/tests",
    ],
)
def test_an_address_that_is_no_page_is_refused(given: str) -> None:
    with pytest.raises(BadInput):
        parse_target(given, None)


def test_two_different_edges_are_refused() -> None:
    with pytest.raises(BadInput, match="two edges"):
        parse_target("http://one:8000/", "http://two:8000")


@pytest.mark.parametrize(
    "given",
    [
        "",
        "http://",
        f"http://h/x/tests/{RUN}",
        "http://h/x#y",
        "http://h?x",
        "ws://h",
        "http://h:0",
        "http://h:99999",
        "http://h/#x",
    ],
)
def test_what_is_no_address_of_an_edge_is_refused(given: str) -> None:
    with pytest.raises(BadInput):
        edge_url(given)


def test_an_edge_may_be_below_a_path() -> None:
    assert edge_url("https://h/testcast/") == "https://h/testcast"
    assert page_url("https://h/testcast", RUN) == f"https://h/testcast/tests/{RUN}"


@pytest.mark.parametrize("given", ["all", "http://h/"])
def test_a_command_about_one_run_needs_one(given: str) -> None:
    with pytest.raises(BadInput, match="names no run"):
        parse_run(given, None)
    assert parse_run("4F9C", "h") == ("4f9c", "http://h")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("h/testcast", "http://h/testcast"),
        ("https://h:1/a/b/", "https://h:1/a/b"),
        ("localhost:8000/testcast/", "http://localhost:8000/testcast"),
        ("http://h/", "http://h"),
    ],
)
def test_the_address_of_an_edge_keeps_its_path(given: str, expected: str) -> None:
    assert edge_url(given) == expected


@pytest.mark.parametrize(
    ("typed", "completed"),
    [
        ("my-game.example", "https://my-game.example"),
        ("my-game.example:8080/x", "https://my-game.example:8080/x"),
        ("localhost:3000", "http://localhost:3000"),
        ("127.0.0.1/x", "http://127.0.0.1/x"),
        ("[::1]:80", "http://[::1]:80"),
        (" http://a ", "http://a"),
        ("ftp://a", "ftp://a"),
        ("javascript:alert(1)", "javascript:alert(1)"),
        ("", ""),
    ],
)
def test_a_game_without_a_scheme_gets_one(typed: str, completed: str) -> None:
    assert complete_game_url(typed) == completed


@pytest.mark.parametrize(
    ("url", "local"),
    [("http://127.0.0.1:1", True), ("http://localhost", True), ("http://[::1]:1", True), ("http://h", False)],
)
def test_this_machine_is_told_from_others(url: str, local: bool) -> None:
    assert is_local(url) is local


def test_the_delays_of_ten_attempts() -> None:
    longest = [delay_s(failures, 1.0) for failures in range(1, MAX_ATTEMPTS + 1)]
    assert longest == pytest.approx([1, 2, 4, 8, 16, 30, 30, 30, 30, 30])


@given(st.integers(1, 1000), st.floats(0, 1, exclude_max=True))
def test_a_delay_is_spread_over_a_fifth(failures: int, chance: float) -> None:
    full = DELAYS_S[min(failures, 6) - 1]
    assert 0.8 * full <= delay_s(failures, chance) <= full


@pytest.mark.parametrize(
    ("asked", "found"), [(1500, 1.5), (0, 0), (10**9, 60), (-1, None), ("5", None), (True, None), (None, None)]
)
def test_a_goodbye_is_obeyed_within_bounds(asked: object, found: float | None) -> None:
    assert retry_after_s(asked) == found


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (BadInput("x"), 2),
        (InvalidTestId("x"), 2),
        (NotFound(RUN), 2),
        (EdgeRefused("x", "invalid_params", 400), 2),
        (EdgeRefused("x", "not_found", 4404), 2),
        (EdgeRefused("x", "already_ended", 409), 1),
        (ConnectionLost("x"), 3),
        (BrokerUnavailable("x"), 3),
        (QueueFull("x"), 1),
        (TestcastError("x"), 1),
    ],
)
def test_every_error_has_its_exit_status(error: TestcastError, status: int) -> None:
    assert exit_status(error) == status
