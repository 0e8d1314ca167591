"""The RPC of an edge over HTTP.

test_id = await submit("http://127.0.0.1:8000", "https://my-game.example/")
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from http import HTTPStatus
from types import TracebackType
from typing import Any, Final, NamedTuple

import httpx
import msgspec
import orjson

from broker import tracing
from broker.config import given as variables
from broker.contract.errors import BadInput
from broker.contract.ids import parse_test_id
from broker.contract.labels import as_texts
from broker.contract.snapshot import ListStatus, Snapshot
from testcast.client.address import edge_url
from testcast.client.errors import ConnectionLost, EdgeRefused, refused
from testcast.client.proxies import VARIABLES, Proxy, proxy_for
from testcast.client.token import Credentials, Token

_TIMEOUT_S: Final = 10.0
_CERTIFICATES: Final = ("SSL_CERT_FILE", "SSL_CERT_DIR")
_UNAVAILABLE_STATUSES: Final = (502, 503, 504)
"""What a proxy answers while the edge behind it does not."""
_UNAVAILABLE_CODES: Final = ("broker_unavailable", "broker_refused", "not_ready")
"""What an edge answers while it has no broker."""


class Download(NamedTuple):
    """A file that is under way."""

    headers: Mapping[str, str]
    pieces: AsyncIterator[bytes]


async def _pieces(answer: httpx.Response, url: str) -> AsyncGenerator[bytes, None]:
    try:
        async for piece in answer.aiter_bytes():
            yield piece
    except httpx.HTTPError as error:
        raise ConnectionLost(f"the edge at {url} has cut the answer off: {error or type(error).__name__}") from None


class RpcClient:
    """A client of an edge's RPC. It is an async context manager and keeps one HTTP connection open.

    Args:
        url: like "http://127.0.0.1:8000".
        token: says who calls; None: from the file that `TESTCAST_TOKEN_FILE` names, if it names one.

    Raises:
        BadInput: `url` is not an edge address, a proxy variable has no usable value, or the token cannot be used there.
    """

    def __init__(self, url: str, token: Token | Credentials | None = None) -> None:
        self.url = edge_url(url)
        self.credentials = token if isinstance(token, Credentials) else Credentials(self.url, token)
        self._proxy = proxy_for(self.url, variables(VARIABLES))
        self._http = httpx.AsyncClient(timeout=_TIMEOUT_S, transport=transport(self.url, self._proxy))

    def __repr__(self) -> str:
        return f"<RpcClient {self.url}{' closed' if self._http.is_closed else ''}>"

    async def __aenter__(self) -> RpcClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.aclose()

    async def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Calls `method` and returns its result. Parameters that are None are left out.

        Raises:
            NotFound: the edge knows no such run.
            EdgeRefused: the edge refuses the call; `code` and the message say why.
            ConnectionLost: nothing answers at the address, or the edge is unavailable for the moment.
        """
        given = {name: value for name, value in params.items() if value is not None}
        try:
            answer = await self._sent("POST", f"/rpc/{method}", tracing.headers(), json=given)
        except httpx.HTTPError as error:
            raise _no_answer(self.url, self._proxy, error) from None
        self._refuse_proxy(answer.status_code)
        return result_of(answer.status_code, answer.content, self.url, given.get("testId"))

    async def list_tests(
        self, limit: int, status: str | None, etag: str | None, labels: Mapping[str, str] | None = None
    ) -> tuple[dict[str, Any] | None, str | None]:
        """Returns the result of `listTests` and its ETag; None for the result when it has not changed since `etag`.

        Raises:
            EdgeRefused, ConnectionLost: as `call` does.
        """
        params: dict[str, Any] = {"limit": limit} | ({} if status is None else {"status": status})
        if labels:
            params["labels"] = as_texts(labels)
        headers = {} if etag is None else {"If-None-Match": etag}
        try:
            answer = await self._sent("GET", "/rpc/listTests", params=params, headers=headers)
        except httpx.HTTPError as error:
            raise _no_answer(self.url, self._proxy, error) from None
        if answer.status_code == 304:
            return None, etag
        self._refuse_proxy(answer.status_code)
        return result_of(answer.status_code, answer.content, self.url, None), answer.headers.get("etag")

    @asynccontextmanager
    async def download(self, path: str, params: Mapping[str, str | int]) -> AsyncGenerator[Download, None]:
        """Asks for a file of the edge, and gives its content as it comes.

        Args:
            path: below the edge's address, with a slash at its beginning.

        Raises:
            EdgeRefused, ConnectionLost: as `call` does; the pieces raise `ConnectionLost` where the answer is cut off.
        """
        try:
            answer = await self._sent("GET", path, stream=True, params=dict(params))
        except httpx.HTTPError as error:
            raise _no_answer(self.url, self._proxy, error) from None
        try:
            self._refuse_proxy(answer.status_code)
            if answer.status_code != HTTPStatus.OK:
                result_of(answer.status_code, await answer.aread(), self.url, None)
                raise EdgeRefused(f"the edge answers {answer.status_code}", "bad_answer", answer.status_code)
            yield Download(answer.headers, _pieces(answer, self.url))
        finally:
            await answer.aclose()

    async def _sent(
        self, verb: str, path: str, headers: Mapping[str, str] | None = None, *, stream: bool = False, **more: Any
    ) -> httpx.Response:
        """Sends a request and returns the answer, with `stream` before its body has come. A token that is refused is
        looked for again, once.

        Redirects are not followed, so that the token goes nowhere else.

        Raises:
            EdgeRefused: the edge refuses the token, or wants one.
            httpx.HTTPError: nothing answers.
        """
        given = headers or {}
        answer = await self._send_once(verb, path, given, stream, more)
        if answer.status_code == HTTPStatus.UNAUTHORIZED and self.credentials.renew():
            await answer.aclose()
            answer = await self._send_once(verb, path, given, stream, more)
        if answer.status_code == HTTPStatus.UNAUTHORIZED:
            raise unauthenticated(await answer.aread(), self.credentials)
        return answer

    async def _send_once(
        self, verb: str, path: str, headers: Mapping[str, str], stream: bool, more: Mapping[str, Any]
    ) -> httpx.Response:
        signed = {**headers, **self.credentials.headers()}
        return await self._http.send(
            self._http.build_request(verb, self.url + path, headers=signed, **more), stream=stream
        )

    def _refuse_proxy(self, status: int) -> None:
        if status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED and self._proxy is not None:
            raise EdgeRefused(f"the proxy of {self._proxy.variable} asks for a user and a password", "proxy", status)


def unauthenticated(content: bytes, credentials: Credentials) -> EdgeRefused:
    """The error for an answer with the status 401.

    Args:
        content: the answer's body. One that is not of an edge comes from a proxy that wants a login of its own.
    """
    try:
        message = str(orjson.loads(content)["error"]["message"])
    except (orjson.JSONDecodeError, KeyError, TypeError):
        message = "what is in front of the edge wants a login"
    return EdgeRefused(f"{message}; {credentials.advice()}", "unauthenticated", HTTPStatus.UNAUTHORIZED)


def transport(url: str, proxy: Proxy | None) -> httpx.AsyncHTTPTransport:
    """Connections of httpx: the proxy is chosen here, and certificates are read only where they are used.

    Raises:
        BadInput: the certificates that `SSL_CERT_FILE` or `SSL_CERT_DIR` names cannot be read.
    """
    plain = url.startswith("http://") and (proxy is None or proxy.url.startswith("http://"))
    try:
        return httpx.AsyncHTTPTransport(proxy=None if proxy is None else proxy.url, verify=not plain)
    except OSError as error:  # ssl.SSLError too
        names = " or ".join(variables(_CERTIFICATES)) or "the system's certificates"
        raise BadInput(f"{names} cannot be read: {error}") from None


def _no_answer(url: str, proxy: Proxy | None, error: httpx.HTTPError) -> ConnectionLost:
    through = "" if proxy is None else f" through the proxy of {proxy.variable}"
    return ConnectionLost(f"no edge answers at {url}{through}: {error or type(error).__name__}")


def result_of(status: int, content: bytes, url: str, test_id: str | None) -> dict[str, Any]:
    """Returns the result in an HTTP response to an RPC.

    Args:
        status: the HTTP status.
        content: the response's body.
        url: the edge's address, for the error.
        test_id: the run that the call was about, None for none.

    Raises:
        NotFound, EdgeRefused, ConnectionLost: as `RpcClient.call` does.
    """
    try:
        body = orjson.loads(content)
    except orjson.JSONDecodeError:
        body = None
    if 200 <= status < 300 and isinstance(body, dict):
        return body
    error = body.get("error") if isinstance(body, dict) else None
    if not isinstance(error, dict):
        if status in _UNAVAILABLE_STATUSES:
            raise ConnectionLost(f"no edge answers at {url}: HTTP {status}")
        raise EdgeRefused(f"the server at {url} is not a testcast edge (HTTP {status})", "bad_answer", 0)
    code, message = str(error.get("code", "error")), str(error.get("message", "refused"))
    if code in _UNAVAILABLE_CODES:
        raise ConnectionLost(f"the edge at {url} is unavailable: {message}")
    raise refused(code, message, status, test_id)


async def submit(
    edge: str,
    game_url: str,
    *,
    title: str | None = None,
    budget_seconds: float | None = None,
    seed: int | None = None,
    project: str | None = None,
    labels: Mapping[str, str] | None = None,
    token: Token | None = None,
) -> str:
    """Submits a game to be tested.

    Args:
        edge: the edge's address, like "http://127.0.0.1:8000".
        game_url: the game's address, http or https.
        title: the title that viewers see; the game's address when None.
        budget_seconds: how long the agent may play, 5 to 600; 60 when None.
        seed: the seed of the agent's random choices; drawn when None.
        project: the run's project; when None, `default`, or the only one that the edge lets you use.
        labels: names and values to find the run by, such as `{"commit": "abc"}`; at most 16.
        token: says who submits: a token, or a function that returns one, which is asked again before it expires; None:
            from the file that `TESTCAST_TOKEN_FILE` names, if it names one.

    Returns:
        The test id, for `watch`.

    Raises:
        BadInput: `edge` is not an edge address, or a proxy variable has no usable value.
        EdgeRefused: the edge refuses the game; `code` and the message say why.
        ConnectionLost: nothing answers at `edge`.
    """
    async with RpcClient(edge, token) as rpc:
        options = {"title": title, "budgetSeconds": budget_seconds, "seed": seed, "project": project}
        answer = await rpc.call("submitTest", gameUrl=game_url, **options, labels=dict(labels or {}) or None)
    return str(answer["testId"])


async def list_runs(
    edge: str,
    *,
    status: ListStatus | None = None,
    game_url: str | None = None,
    labels: Mapping[str, str] | None = None,
    limit: int = 50,
    token: Token | None = None,
) -> list[Snapshot]:
    """The newest runs that an edge knows, the newest first.

    Args:
        edge: the edge's address, like "http://127.0.0.1:8000".
        status: only runs in this status; None: all. A run that a person has ended is "cancelled", not "failed".
        game_url: only runs of this game; None: of any.
        labels: only runs that have all of these labels.
        limit: the most runs, 1 to 200.
        token: as for `submit`.

    Raises:
        BadInput: `edge` is not an edge address.
        EdgeRefused: the edge refuses the parameters.
        ConnectionLost: nothing answers at `edge`, or it has not reached its broker yet.
    """
    async with RpcClient(edge, token) as rpc:
        texts = as_texts(labels or {}) or None
        answer = await rpc.call("listTests", limit=limit, status=status, gameUrl=game_url, labels=texts)
    return [msgspec.convert(each, Snapshot) for each in answer["tests"]]


async def get_run(edge: str, test_id: str, *, token: Token | None = None) -> Snapshot:
    """What an edge knows of a run: status, phase, score, metrics, the newest message.

    Args:
        edge: the edge's address, like "http://127.0.0.1:8000".
        test_id: the run.
        token: as for `submit`.

    Raises:
        InvalidTestId, BadInput: `test_id` is not a test id, or `edge` is not an edge address.
        NotFound: the edge knows no such run, or does not show it to you.
        EdgeRefused, ConnectionLost: as `list_runs`.
    """
    async with RpcClient(edge, token) as rpc:
        answer = await rpc.call("getTest", testId=parse_test_id(test_id))
    return msgspec.convert(answer["test"], Snapshot)


async def cancel_run(edge: str, test_id: str, *, token: Token | None = None) -> None:
    """Ends a run that is queued or running, as cancelled. Its agent stops.

    Args:
        edge: the edge's address, like "http://127.0.0.1:8000".
        test_id: the run.
        token: as for `submit`.

    Raises:
        InvalidTestId, BadInput: `test_id` is not a test id, or `edge` is not an edge address.
        NotFound: the edge knows no such run, or does not show it to you.
        EdgeRefused: the run has ended already (`already_ended`), or you may not cancel it.
        ConnectionLost: as `list_runs`.
    """
    async with RpcClient(edge, token) as rpc:
        await rpc.call("cancelTest", testId=parse_test_id(test_id))
