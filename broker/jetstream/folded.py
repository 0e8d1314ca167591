"""Which runs are stored, and how far the edges have folded them: asked by readers that have no edge at hand."""

from __future__ import annotations

from broker.contract import subjects
from broker.contract.errors import NotThere
from broker.jetstream.api import Streams
from broker.jetstream.survey import stored_subjects


async def folded_up_to(streams: Streams) -> int:
    """Returns a stream sequence: every event up to it is in its run's snapshot, unless the snapshot is gone.

    0 where nothing is known, because no edge has ever run.
    """
    try:
        info = await streams.api(f"CONSUMER.INFO.{subjects.EVENTS}.{subjects.PROJECTOR}")
    except NotThere as error:
        if not error.certain:
            raise
        return 0
    return int(info["ack_floor"]["stream_seq"])


async def stored_runs(streams: Streams) -> set[str]:
    """Returns the test ids under which messages are stored.

    Raises:
        NotThere: there is no stream of events.
    """
    found = await stored_subjects(streams, subjects.EVENTS, subjects.ALL_EVENTS)
    return {test_id for test_id in map(subjects.test_id_of, found) if test_id is not None}
