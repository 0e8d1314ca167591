"""Several messages of one subject that a stream stores together or not at all: its atomic batches.

All of them travel at once, so that a backlog takes one answer of the broker, however long it is.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from typing import Final

from broker.contract.ports import Unstored
from broker.jetstream.answers import read_answer
from broker.jetstream.api import EXPECTED_LAST_HEADER, MSG_ID_HEADER
from broker.jetstream.client import Outgoing, raw_headers
from broker.jetstream.connection import Connection

NUMBER_HEADER: Final = "Nats-Batch-Sequence"
"""A message's place in its batch, from 1. It is stored with the message."""
_ID_HEADER: Final = "Nats-Batch-Id"
_END_HEADER: Final = "Nats-Batch-Commit"


async def store(
    nats: Connection,
    subject: str,
    messages: Sequence[tuple[Unstored, Mapping[str, str]]],
    *,
    expected_last: int,
    timeout_s: float = 3.0,
) -> int:
    """Publishes messages, each with further headers. Returns the sequence of the last one once all of them are stored;
    they have consecutive ones.

    Raises:
        WrongLastSequence: the subject's last sequence is not `expected_last`. None of them is stored.
        BrokerRefused: refused for another reason: the stream takes no batches, it has as many under way as it takes, or
            one of the messages is stored already. None of them is stored.
        BrokerUnavailable: no acknowledgement; they may be stored all the same.
    """
    batch_id = secrets.token_hex(8)
    headers = [
        {**further, MSG_ID_HEADER: message.msg_id, _ID_HEADER: batch_id, NUMBER_HEADER: str(number)}
        for number, (message, further) in enumerate(messages, 1)
    ]
    headers[0][EXPECTED_LAST_HEADER] = str(expected_last)
    await nats.publish_many(
        [
            Outgoing(subject, message.payload, headers=raw_headers(those))
            for (message, _), those in zip(messages[:-1], headers[:-1], strict=True)
        ]
    )
    end = headers[-1] | {_END_HEADER: "1"}
    reply = await nats.request(subject, messages[-1][0].payload, headers=end, timeout_s=timeout_s)
    return int(read_answer(reply.data, subject)["seq"])
