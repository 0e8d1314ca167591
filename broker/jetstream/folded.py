"""Which runs are stored, and how far the edges have folded them: asked by readers that have no edge at hand."""

from __future__ import annotations

from broker.contract import subjects
from broker.contract.errors import NotThere
from broker.jetstream.api import Streams


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
    found: set[str] = set()
    seen = 0
    while True:
        query = {"subjects_filter": subjects.ALL_EVENTS, "offset": seen}
        info = await streams.api(f"STREAM.INFO.{subjects.EVENTS}", query)
        page = info["state"].get("subjects") or {}
        found |= {test_id for test_id in map(subjects.test_id_of, page) if test_id is not None}
        seen += len(page)
        if not page or seen >= int(info.get("total", 0)):
            return found
