"""Why a watch lost its socket, and whether it tries again."""

from __future__ import annotations

import pytest
from websockets.datastructures import Headers
from websockets.exceptions import InvalidHeader, InvalidMessage, InvalidProxy, InvalidStatus, InvalidUpgrade, InvalidURI
from websockets.frames import Close
from websockets.http11 import Response

from broker.contract.errors import NotFound
from testcast.client.errors import EdgeRefused
from testcast.client.watch import Watch, closed_reason, failure_reason, refuses_sockets

RUN = "4f9c2d3e-8a51-4c0b-9d57-2f1f6f0a7b11"


def answered(status: int) -> InvalidStatus:
    return InvalidStatus(Response(status, "", Headers()))


@pytest.mark.parametrize(
    ("close", "reason"),
    [
        (None, "the connection broke"),
        (Close(1012, "draining"), "the edge is restarting"),
        (Close(1000, ""), "the edge closed the connection (1000)"),
        (Close(1011, "internal"), "the edge closed the connection (1011)"),
        (Close(4500, ""), "the edge closed the connection (4500)"),
    ],
)
def test_after_these_closes_it_tries_again(close: Close | None, reason: str) -> None:
    assert closed_reason(close, RUN) == reason


def test_after_a_44xx_it_does_not() -> None:
    with pytest.raises(NotFound):
        closed_reason(Close(4404, ""), RUN)
    with pytest.raises(EdgeRefused, match="too many subscriptions") as caught:
        closed_reason(Close(4429, "too many subscriptions"), RUN)
    assert (caught.value.code, caught.value.status) == ("refused", 4429)
    with pytest.raises(EdgeRefused, match=r"refused the connection \(4400\)"):
        closed_reason(Close(4400, ""), RUN)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (TimeoutError(), "the edge does not respond"),
        (ConnectionRefusedError(111, "Connect call failed"), "connection refused"),
        (OSError("no route to host"), "no route to host"),
        (OSError(), "OSError"),
        (answered(503), "the edge answers HTTP 503"),
        (answered(429), "the edge answers HTTP 429"),
        (answered(408), "the edge answers HTTP 408"),
        (answered(425), "the edge answers HTTP 425"),
        (answered(403), "WebSockets are refused (HTTP 403)"),
        (answered(404), "WebSockets are refused (HTTP 404)"),
        (answered(200), "WebSockets are refused (HTTP 200)"),
    ],
)
def test_after_these_failures_it_tries_again(error: Exception, reason: str) -> None:
    assert failure_reason(error) == reason


@pytest.mark.parametrize("error", [InvalidURI("ws://", "no host"), InvalidProxy("proxy", "no host")])
def test_after_these_it_does_not(error: Exception) -> None:
    with pytest.raises(EdgeRefused):
        failure_reason(error)


@pytest.mark.parametrize(
    ("error", "refused"),
    [
        *((answered(status), True) for status in (200, 301, 400, 401, 403, 404, 405, 426)),
        *((answered(status), False) for status in (408, 425, 429, 500, 502, 503)),
        (InvalidUpgrade("Upgrade", "h2c"), True),
        (InvalidHeader("Sec-WebSocket-Accept"), True),
        (InvalidMessage("not HTTP"), False),
        (TimeoutError(), False),
        (OSError(), False),
    ],
)
def test_a_refused_upgrade_is_told_from_an_edge_that_is_away(error: Exception, refused: bool) -> None:
    assert refuses_sockets(error) is refused


def test_a_new_watch_says_what_it_is() -> None:
    watch = Watch("http://127.0.0.1:8000", RUN, after=7)
    assert watch.statistics() == (7, 0, 0, 0, 0, 0)
    assert repr(watch) == f"<Watch http://127.0.0.1:8000 {RUN} position=7 failures=0>"
