"""What a model has answered, read as if an enemy had written it. Pure.

Of an answer three things are used: the id of an option that was offered, a number of frames within bounds, and a reason
of one bounded line for people. Everything else of it is dropped unread.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Final

import msgspec

from agent_worker.games.actions import Action
from agent_worker.games.model.prompt import MAX_REASON_CHARS, NONE, one_line
from agent_worker.games.play.seat import MAX_HOLD, Choice

_MAX_TOKENS: Final = 10_000_000
"""More than any model reads: a larger figure is not a count."""
_MAX_CONTENT_CHARS: Final = 64 * 1024
_FENCED: Final = re.compile(r"```(?:json)?\s*(\{.*?\})\s*```", re.DOTALL)


class WrongAnswer(Exception):
    """The endpoint has answered, and no choice can be read from it. The message has no word of the answer."""


class Usage(msgspec.Struct, frozen=True):
    """Tokens of one call, as the endpoint counts them."""

    prompt_tokens: Annotated[int, msgspec.Meta(ge=0, le=_MAX_TOKENS)] = 0
    completion_tokens: Annotated[int, msgspec.Meta(ge=0, le=_MAX_TOKENS)] = 0


class _Message(msgspec.Struct):
    content: str | None = None


class _Alternative(msgspec.Struct):
    message: _Message


class _Answer(msgspec.Struct):
    choices: list[_Alternative]


class _Counted(msgspec.Struct):
    usage: Usage | None = None


class _Chosen(msgspec.Struct):
    action: str
    frames: int = 8
    reason: str | None = None


def usage_of(body: bytes) -> Usage | None:
    """The tokens of a call; None where the endpoint tells none, or none that can be right."""
    try:
        return msgspec.json.decode(body, type=_Counted).usage
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return None


def choice_of(body: bytes, offered: Mapping[str, Action]) -> Choice:
    """Reads the body of an answer.

    Args:
        offered: the options by id.

    Returns:
        A choice whose action is one of `offered`, or none where the model made none.

    Raises:
        WrongAnswer: there is nothing to choose by.
    """
    try:
        alternatives = msgspec.json.decode(body, type=_Answer).choices
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        raise WrongAnswer("its answer is no chat completion") from None
    content = alternatives[0].message.content if alternatives else None
    if not content or not content.strip():
        raise WrongAnswer("its answer is empty")
    chosen = _chosen(content[:_MAX_CONTENT_CHARS])
    reason = one_line(chosen.reason or "", MAX_REASON_CHARS)
    if chosen.action == NONE:
        return Choice(None, reason=reason)
    if chosen.action not in offered:
        raise WrongAnswer("it chose what is not allowed")
    return Choice(offered[chosen.action], min(max(1, chosen.frames), MAX_HOLD), reason)


def _chosen(content: str) -> _Chosen:
    """The object in a text: the whole of it, or what stands in a fence, as models write that take no schema."""
    fenced = _FENCED.search(content)
    for text in (content, fenced[1] if fenced else None):
        if text is not None:
            try:
                return msgspec.json.decode(text, type=_Chosen)
            except (msgspec.MsgspecError, UnicodeError, RecursionError):
                continue
    raise WrongAnswer("its answer is not the JSON that was asked for")
