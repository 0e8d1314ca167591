"""The endpoint of a model: one question, one answer. The only file that calls it.

A call goes to the address of the settings and nowhere else: no redirect is followed, and neither proxies nor logins of
the environment are used. Of an answer at most `MAX_ANSWER_BYTES` are read, as they come: nothing is unpacked. What an
endpoint says of an error is not read at all, since it may repeat the key.
"""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
import ssl
from functools import cache
from types import TracebackType
from typing import Any, Final, Literal, Self

import httpx
import msgspec

from agent_worker.games.model.answer import WrongAnswer, choice_of, usage_of
from agent_worker.games.model.breaker import Breaker
from agent_worker.games.model.budget import Budget
from agent_worker.games.model.prompt import Question, question
from agent_worker.games.model.settings import ModelSettings
from agent_worker.games.play.seat import Choice, View
from broker.retry import Backoff
from broker.version import VERSION

MAX_ANSWER_BYTES: Final = 256 * 1024
"""A choice has some 100 bytes; models that think aloud add some 10 KB."""
MAX_ANSWER_TOKENS: Final = 2000
"""Of which a choice takes 40: the rest is for models that think first."""
MAX_RETRIES: Final = 2
RESTS: Final = "its endpoint has failed and is given a rest"
_FIRST_PAUSE_S: Final = 0.25
_LONGEST_PAUSE_S: Final = 2.0
_PASSING: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Statuses after which the same call may succeed."""
_NOT_UNDERSTOOD: Final = frozenset({400, 422})
"""Statuses of a request with a field that the endpoint does not know."""
_DIALECTS: Final = (
    ("max_completion_tokens", "json_schema"),
    ("max_tokens", "json_schema"),
    ("max_tokens", "json_object"),
    ("max_tokens", None),
)
"""How to bound an answer's length and to ask for its form, the best first: endpoints differ in what they take."""

_log = logging.getLogger("testcast.model")


Fault = Literal["passing", "lasting", "none"]


class ModelTrouble(Exception):
    """No choice came of a call. The message says why, in the agent's own words.

    Attributes:
        fault: whose it is: "passing", the endpoint's; "lasting", the endpoint's or the settings', and another call will
            not go better; "none", nobody's, such as a budget that is used up.
        asked: whether the endpoint was called at all.
    """

    def __init__(self, message: str, fault: Fault = "passing", asked: bool = True) -> None:
        super().__init__(message)
        self.fault = fault
        self.asked = asked


class _Passing(Exception):
    """The same call may succeed in a moment."""


class _NotUnderstood(Exception):
    """The endpoint does not take the request in this dialect."""


class Endpoint:
    """One model, for all runs of a worker. Not more than one call for each run at a time.

    Raises:
        RuntimeError: it is used outside of `async with`.
    """

    def __init__(self, settings: ModelSettings) -> None:
        self.settings = settings
        self.breaker = Breaker()
        self._http: httpx.AsyncClient | None = None
        self._dialect = 0
        self._rng = random.Random()

    def __repr__(self) -> str:
        return f"<Endpoint {self.settings.name} {self.breaker.state}>"

    async def __aenter__(self) -> Self:
        self._http = httpx.AsyncClient(
            verify=_certificates(), trust_env=False, follow_redirects=False, timeout=self.settings.timeout_s
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._http is not None:
            await self._http.aclose()
            self._http = None

    @property
    def rests(self) -> bool:
        """Whether it has failed and is not called for a while."""
        return not self.breaker.would_call(asyncio.get_running_loop().time())

    async def ask(self, view: View, budget: Budget) -> Choice:
        """Asks for a choice; what it takes comes off `budget`. It lasts `timeout_s` at most, or what is left of the
        run's time.

        Returns:
            One of the view's options, or none where the model made no choice.

        Raises:
            ModelTrouble: no choice came.
        """
        clock = asyncio.get_running_loop().time
        if not self.breaker.may_call(clock()):
            raise ModelTrouble(RESTS, "none", asked=False)
        try:
            choice = await self._in_time(view, budget)
        except ModelTrouble as trouble:
            self._note(trouble, clock())
            raise
        except BaseException:
            self.breaker.abandoned(clock())
            raise
        self.breaker.succeeded()
        key = self.settings.key
        if key is not None and key.is_told_in(choice.reason):
            return Choice(choice.action, choice.hold)
        return choice

    def _note(self, trouble: ModelTrouble, now_s: float) -> None:
        if trouble.fault == "none":
            self.breaker.abandoned(now_s)
            return
        self.breaker.failed(now_s, trouble.fault == "lasting")
        if self.breaker.state == "open":
            _log.warning("the endpoint of the model %s is given a rest: %s", self.settings.name, trouble)

    async def _in_time(self, view: View, budget: Budget) -> Choice:
        asked = question(view, secrets.token_hex(8))
        timeout_s = min(self.settings.timeout_s, view.left_s)
        try:
            async with asyncio.timeout(timeout_s):
                body = await self._answer(asked, budget)
        except TimeoutError:
            fault: Fault = "passing" if timeout_s >= self.settings.timeout_s else "none"  # the run's time is short
            raise ModelTrouble(f"no answer within {timeout_s:.3g} s", fault) from None
        budget.add(usage_of(body))
        try:
            return choice_of(body, asked.offered)
        except WrongAnswer as error:
            raise ModelTrouble(str(error)) from None

    async def _answer(self, asked: Question, budget: Budget) -> bytes:
        """The body of an answer, in the first dialect that the endpoint takes."""
        for dialect in range(self._dialect, len(_DIALECTS)):
            try:
                body = await self._with_retries(self._request(asked, dialect), budget)
            except _NotUnderstood:
                continue
            self._dialect = dialect
            return body
        self._dialect = 0
        raise ModelTrouble("it takes no such request: 400 or 422, with and without a schema", "lasting")

    async def _with_retries(self, content: bytes, budget: Budget) -> bytes:
        backoff = Backoff(_FIRST_PAUSE_S, _LONGEST_PAUSE_S, self._rng)
        while True:
            if not budget.take_call():
                raise ModelTrouble(budget.spent or "nothing is left", "none")
            try:
                return await self._call(content)
            except _Passing as error:
                if backoff.tries >= MAX_RETRIES:
                    raise ModelTrouble(str(error)) from None
                await asyncio.sleep(backoff.next())

    def _request(self, asked: Question, dialect: int) -> bytes:
        bound, form = _DIALECTS[dialect]
        body: dict[str, Any] = {"model": self.settings.name, "messages": asked.messages, bound: MAX_ANSWER_TOKENS}
        if form == "json_schema":
            schema = {"name": "choice", "strict": True, "schema": asked.schema}
            body["response_format"] = {"type": form, "json_schema": schema}
        elif form is not None:
            body["response_format"] = {"type": form}
        return msgspec.json.encode(body)

    async def _call(self, content: bytes) -> bytes:
        """One request."""
        if self._http is None:
            raise RuntimeError("the endpoint is not open")
        headers = {
            "content-type": "application/json",
            "accept": "application/json",
            "accept-encoding": "identity",
            "user-agent": f"testcast/{VERSION}",
        }
        if self.settings.key is not None:
            headers["authorization"] = self.settings.key.header()
        try:
            async with self._http.stream("POST", self.settings.url, content=content, headers=headers) as answer:
                _judge(answer.status_code)
                return await _bounded(answer)
        except httpx.TimeoutException:
            raise ModelTrouble(f"no answer within {self.settings.timeout_s:g} s") from None
        except httpx.ConnectError:
            raise _Passing("no connection to it") from None
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError) as error:
            raise _Passing(f"its answer broke off ({type(error).__name__})") from None
        finally:
            self._http.cookies.clear()


@cache
def _certificates() -> ssl.SSLContext:
    """`SSL_CERT_FILE` names an authority of one's own."""
    return httpx.create_ssl_context()


def _judge(status: int) -> None:
    """Returns if an answer is worth reading."""
    if 200 <= status < 300:
        return
    if 300 <= status < 400:
        raise ModelTrouble(f"it answered {status}, and redirects are not followed", "lasting")
    if status in _NOT_UNDERSTOOD:
        raise _NotUnderstood
    if status in _PASSING:
        raise _Passing(f"it answered {status}")
    raise ModelTrouble(f"it answered {status}" + (": is the key right?" if status in (401, 403) else ""), "lasting")


async def _bounded(answer: httpx.Response) -> bytes:
    if answer.headers.get("content-encoding", "identity").strip().lower() not in ("", "identity"):
        raise ModelTrouble("its answer is packed, which nobody has asked for")
    body = bytearray()
    async for piece in answer.aiter_raw():
        body += piece
        if len(body) > MAX_ANSWER_BYTES:
            raise ModelTrouble(f"its answer has more than {MAX_ANSWER_BYTES // 1024} KiB")
    return bytes(body)
