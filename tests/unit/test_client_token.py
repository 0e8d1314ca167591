"""The token of a client: where it comes from, when it is looked for again, and where it is sent."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from broker.contract.errors import BadInput
from testcast.client.errors import EdgeRefused
from testcast.client.rpc import RpcClient
from testcast.client.token import INSECURE, NO_TOKEN, VARIABLE, Credentials
from testcast.client.viewer import Viewer
from tests.tokens import NOW, a_token, claims

EDGE = "https://edge.example"


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (VARIABLE, INSECURE):
        monkeypatch.delenv(name, raising=False)


def ending_in(seconds: float, name: str = "ann") -> str:
    return a_token(body=claims(exp=NOW + seconds, sub=name))


def test_a_token_of_the_environment_is_read_from_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "token").write_text("the-token\n")
    assert Credentials(EDGE).headers() == {}
    monkeypatch.setenv(VARIABLE, str(tmp_path / "token"))
    assert Credentials(EDGE).headers() == {"Authorization": "Bearer the-token"}
    assert Credentials(EDGE, NO_TOKEN).headers() == {}
    assert Credentials(EDGE, "another").headers() == {"Authorization": "Bearer another"}
    monkeypatch.setenv(VARIABLE, str(tmp_path / "nothing"))
    with pytest.raises(BadInput, match=f"{VARIABLE}.*cannot be read"):
        Credentials(EDGE)


@pytest.mark.parametrize("text", ["", "two words", "a\r\nX-Evil: 1", "tökén", "x" * 8193, "a,b"])
def test_what_is_no_token_is_not_sent(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "token").write_text(text)
    monkeypatch.setenv(VARIABLE, str(tmp_path / "token"))
    with pytest.raises(BadInput, match="gives no token") as refused:
        Credentials(EDGE)
    assert not text or text not in refused.value.message
    with pytest.raises(BadInput, match="gives no token"):
        Credentials(EDGE, lambda: text).headers()


def test_a_function_is_asked_when_a_token_is_needed_and_before_it_expires() -> None:
    now, given = NOW, iter([ending_in(3600), ending_in(7200)])
    credentials = Credentials(EDGE, lambda: next(given), lambda: now)
    first = credentials.current()
    now += 3600 - 61
    assert credentials.current() == first and not credentials.ends_soon
    now += 2
    assert credentials.ends_soon
    assert credentials.current() != first
    assert not credentials.ends_soon


def test_a_file_that_is_away_for_a_moment_costs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, now = tmp_path / "token", NOW
    file.write_text(ending_in(50))
    monkeypatch.setenv(VARIABLE, str(file))
    credentials = Credentials(EDGE, None, lambda: now)
    first = credentials.current()
    file.unlink()
    now += 20
    assert credentials.current() == first
    file.write_text(ending_in(500))
    assert credentials.current() == first, "the next look is due in 10 s"
    now += 11
    assert credentials.current() == ending_in(500)


REFUSED = [
    "http://edge.example",
    "http://192.0.2.1:8000",
    "http://10.0.0.1",
    "http://0.0.0.0:8000",
    "http://edge.localhost",
    "http://localhost.example",
    "http://127.0.0.1.example",
    "http://[::ffff:192.0.2.1]",
    "http://[2001:db8::1]",
]
LOOPBACK = [
    "http://127.0.0.1:8000",
    "http://127.8.9.1",
    "http://localhost:1",
    "http://[::1]",
    "http://[::ffff:127.0.0.1]",
]


@pytest.mark.parametrize("edge", REFUSED)
def test_plain_http_beyond_this_machine_gets_no_token(edge: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BadInput, match="not sent") as refused:
        Credentials(edge, "the-token")
    assert "the-token" not in refused.value.message
    Credentials(edge, NO_TOKEN)
    monkeypatch.setenv(INSECURE, "1")
    assert Credentials(edge, "the-token").given


@pytest.mark.parametrize("edge", [*LOOPBACK, EDGE])
def test_other_addresses_get_it(edge: str) -> None:
    assert Credentials(edge, "the-token").headers() == {"Authorization": "Bearer the-token"}


def test_nothing_shows_a_token() -> None:
    assert "the-token" not in repr(Credentials(EDGE, "the-token"))


Answer = Callable[[httpx.Request], httpx.Response]


def a_client(answer: Answer, token: str | Callable[[], str] | None) -> RpcClient:
    rpc = RpcClient(EDGE, token)
    rpc._http = httpx.AsyncClient(transport=httpx.MockTransport(answer))
    return rpc


def only(good: str) -> Answer:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.headers.get("authorization") == f"Bearer {good}":
            return httpx.Response(200, json={"tests": []})
        return httpx.Response(401, json={"error": {"code": "unauthenticated", "message": "who are you"}})

    return answer


async def test_a_token_that_is_refused_is_looked_for_again_once() -> None:
    asked: Iterator[str] = iter(["old", "new"])
    async with a_client(only("new"), lambda: next(asked)) as rpc:
        assert await rpc.call("listTests") == {"tests": []}
        assert (await rpc.list_tests(1, None, None))[0] == {"tests": []}


@pytest.mark.parametrize("token", [None, "old", lambda: "old"])
async def test_a_refusal_says_what_to_do(token: str | Callable[[], str] | None) -> None:
    async with a_client(only("new"), token) as rpc:
        with pytest.raises(EdgeRefused) as refused:
            await rpc.call("listTests")
    assert (refused.value.code, refused.value.status) == ("unauthenticated", 401)
    assert refused.value.message.startswith("who are you; ")
    assert ("--token-file" if token is None else "testcast token inspect") in refused.value.message


async def test_a_redirect_gets_nothing() -> None:
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.host)
        return httpx.Response(307, headers={"location": "https://evil.example/rpc/listTests"})

    async with a_client(answer, "the-token") as rpc:
        with pytest.raises(EdgeRefused):
            await rpc.call("listTests")
    assert asked == ["edge.example"]


@pytest.mark.parametrize("code", ["token_expired", "token_revoked"])
def test_a_viewer_is_told_that_its_token_ends(code: str) -> None:
    viewer = Viewer(None)
    effects = viewer.receive(f'{{"type":"error","data":{{"code":"{code}","graceMs":25000}}}}')
    assert effects.renew
    with pytest.raises(EdgeRefused) as refused:
        viewer.receive('{"type":"error","data":{"code":"unauthenticated"},"message":"no"}')
    assert refused.value.status == 4401
