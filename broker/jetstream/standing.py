"""What a part looks for that makes no streams, and what is wrong with what it finds. Pure."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final, NamedTuple

from broker.config import StreamSettings
from broker.contract import subjects
from broker.jetstream.stream_config import changes, consumers, problem_of_consumer, problem_of_stream, streams

OF_AN_AGENT: Final = (subjects.EVENTS, subjects.JOBS, subjects.FRAMES)
OF_A_PUBLISHER: Final = (subjects.EVENTS, subjects.FRAMES)
_ASK: Final = "an operator makes it so with `testcast declare`"


class Look(NamedTuple):
    """A stream or consumer that a part needs."""

    name: str
    request: str
    """Asks for it."""
    wanted: dict[str, Any]
    stream: str = ""
    """Of a consumer."""


def looks(uses: Collection[str] | None, settings: StreamSettings) -> list[Look]:
    """Returns what a part looks for.

    Args:
        uses: the streams that it uses, with the workers' consumer where the queue is one of them. It asks about no
            other: its user may be denied that. None: every stream and consumer.
    """
    used = [each for each in streams(1, settings) if uses is None or each["name"] in uses]
    found = [Look(each["name"], f"STREAM.INFO.{each['name']}", each) for each in used]
    for stream, config in consumers():
        if uses is None or (stream in uses and stream == subjects.JOBS):
            name = config["durable_name"]
            found.append(Look(name, f"CONSUMER.INFO.{stream}.{name}", config, stream))
    return found


def problem(standing: dict[str, Any] | None, look: Look) -> str | None:
    """Returns why a part cannot use what stands, and what an operator does about it; None when it can.

    Args:
        standing: its configuration; None when it is not there.
    """
    if standing is None:
        return f"it does not exist, and this part makes none (TESTCAST_NATS_MANAGE_STREAMS=0): {_ASK}"
    if look.stream:
        return problem_of_consumer(look.stream, standing, look.wanted)
    wrong = problem_of_stream(standing, look.wanted)
    if wrong is None and (missing := changes(standing, look.wanted)):
        return f"it has to be changed ({'; '.join(map(str, missing))}): {_ASK}"
    return wrong
