"""What an edge's HTTP response to an RPC means for the caller."""

from __future__ import annotations

import orjson
import pytest

from broker.contract.errors import NotFound, TestcastError
from testcast.client.errors import ConnectionLost, EdgeRefused
from testcast.client.rpc import result_of

URL = "http://edge:8000"
RUN = "4f9c2d3e-8a51-4c0b-9d57-2f1f6f0a7b11"


def error(code: str, message: str = "the reason") -> bytes:
    return orjson.dumps({"error": {"code": code, "message": message}})


def test_a_result_is_returned() -> None:
    assert result_of(200, b'{"testId":"x"}', URL, None) == {"testId": "x"}


@pytest.mark.parametrize(
    ("status", "content", "raised", "words"),
    [
        (404, error("not_found"), NotFound, RUN),
        (400, error("invalid_params"), EdgeRefused, "the reason"),
        (503, error("broker_unavailable"), ConnectionLost, "is unavailable: the reason"),
        (502, error("broker_refused"), ConnectionLost, "is unavailable: the reason"),
        (503, error("not_ready"), ConnectionLost, "is unavailable: the reason"),
        (503, error("queue_full"), EdgeRefused, "the reason"),
        (502, b"<html>Bad Gateway</html>", ConnectionLost, "HTTP 502"),
        (503, b"", ConnectionLost, "HTTP 503"),
        (504, b'{"error":"timeout"}', ConnectionLost, "HTTP 504"),
        (200, b"<html>", EdgeRefused, "is not a testcast edge"),
        (200, b"[1]", EdgeRefused, "is not a testcast edge"),
        (404, b"not found", EdgeRefused, "is not a testcast edge"),
        (500, b'{"error":{}}', EdgeRefused, "refused"),
    ],
)
def test_every_other_response_is_an_error(status: int, content: bytes, raised: type[TestcastError], words: str) -> None:
    with pytest.raises(raised, match=words):
        result_of(status, content, URL, RUN)


def test_a_refusal_carries_its_code_and_status() -> None:
    with pytest.raises(EdgeRefused) as caught:
        result_of(422, error("blocked_url"), URL, None)
    assert (caught.value.code, caught.value.status, caught.value.by_caller) == ("blocked_url", 422, True)
    with pytest.raises(EdgeRefused) as caught:  # without a test id there is no run that could be missing
        result_of(404, error("not_found"), URL, None)
    assert caught.value.code == "not_found"
