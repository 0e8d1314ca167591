"""What is kept of a page's events (agent_worker/games/chromium/incidents.py, screencast.py, handle.py)."""

from __future__ import annotations

import pytest

from agent_worker.games.chromium.egress_proxy import Trouble
from agent_worker.games.chromium.incidents import MAX_INCIDENTS, IncidentLog, first_line, short_url
from agent_worker.games.chromium.page_state import Incident
from agent_worker.games.chromium.screencast import MAX_PICTURES, Screencast
from agent_worker.games.handle import GameJob, read_job
from broker.contract.errors import BadInput

REFUSED = Trouble("10.0.0.1", 80, "url_refused", "It is private.")
LOST = Trouble("a.example", 80, "connection_lost", "closed")


def test_only_errors_of_the_game_itself_are_kept_of_the_console() -> None:
    log = IncidentLog()
    log.console("log", "loading")
    log.console("error", "Failed to load resource: the server responded with a status of 404")
    log.console("error", "  first\nsecond\nthird")
    assert log.take() == [Incident("console", "first second")]


def test_requests_that_failed_for_a_reason_of_the_game() -> None:
    log = IncidentLog()
    for why in ("net::ERR_ABORTED", "net::ERR_TUNNEL_CONNECTION_FAILED", "net::ERR_BLOCKED_BY_CLIENT"):
        log.request_failed("http://a.example/x", why)
    log.response("http://a.example/x", 200, from_proxy=False)
    log.response("http://a.example/favicon.ico", 404, from_proxy=False)
    log.response("http://a.example/x", 502, from_proxy=True)
    assert log.take() == []
    log.request_failed("http://a.example/x", "net::ERR_FAILED")
    log.response("http://a.example/y", 404, from_proxy=False)
    assert [each.detail for each in log.take()] == [
        "http://a.example/x: net::ERR_FAILED",
        "http://a.example/y: HTTP 404",
    ]


def test_troubles_of_the_proxy_become_incidents_once() -> None:
    log = IncidentLog()
    assert log.trouble is None
    log.on_trouble(REFUSED)
    log.on_trouble(LOST)
    assert log.trouble is LOST
    log.note("dialog", "alert: x" * 100)
    dialog, refused, lost = log.take()
    assert (dialog.kind, len(dialog.detail)) == ("dialog", 400)
    assert refused == Incident("refused", "10.0.0.1:80: It is private.")
    assert lost == Incident("request", "a.example:80: closed")
    assert log.trouble is None and log.take() == []
    log.on_trouble(LOST)
    log.forget_troubles()
    assert log.trouble is None and log.take() == []


def test_a_page_that_floods_the_log_loses_the_oldest() -> None:
    log = IncidentLog()
    for number in range(MAX_INCIDENTS + 5):
        log.note("console", str(number))
    kept = log.take()
    assert (len(kept), kept[0].detail) == (MAX_INCIDENTS, "5")


def test_long_texts_are_cut() -> None:
    assert first_line("a\nb") == "a" and first_line(" \n") == "no reason given"
    assert len(first_line("x" * 999)) == 300
    assert short_url("u" * 160) == "u" * 160 and short_url("u" * 161) == "u" * 157 + "..."


def test_a_screencast_gives_what_came_since() -> None:
    cast = Screencast()
    assert cast.newest is None and cast.since(0) == []
    cast.add(b"1")
    seen = cast.count
    assert cast.since(seen) == []
    cast.add(b"2")
    cast.add(b"3")
    assert cast.since(seen) == [b"2", b"3"] and cast.newest == b"3"
    cast.clear()
    assert cast.newest is None and cast.since(seen) == []
    for number in range(MAX_PICTURES + 1):
        cast.add(b"%d" % number)
    assert cast.since(seen)[0] == b"1" and len(cast.since(seen)) == MAX_PICTURES


def test_a_job_is_read_with_its_defaults_and_checked() -> None:
    payload = b'{"gameUrl": "HTTPS://Game.Example", "title": " G ", "budgetSeconds": 7, "seed": 3}'
    job = read_job("id", payload)
    assert job == GameJob("id", "https://game.example/", 7, 3, "G")
    assert job.run_data == {"gameUrl": "https://game.example/", "title": "G"}


@pytest.mark.parametrize(
    ("payload", "code", "words"),
    [
        (b"{", "invalid_job", "The job cannot be read: "),
        (b'{"gameUrl": "https://a.example/", "title": "G", "seed": -1}', "invalid_job", "The job cannot be read: seed"),
        (b'{"gameUrl": "a.example", "title": "G"}', "invalid_url", "Give the whole address"),
        (b'{"gameUrl": "ftp://a.example/", "title": "G"}', "url_refused", "Only http and https"),
    ],
)
def test_a_job_that_cannot_be_read(payload: bytes, code: str, words: str) -> None:
    with pytest.raises(BadInput) as refused:
        read_job("id", payload)
    assert refused.value.code == code and refused.value.public_message.startswith(words)
