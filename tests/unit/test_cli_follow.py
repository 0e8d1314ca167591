"""How a followed run is shown, and the exit status for each way in which it ends."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

import orjson
import pytest

from testcast.cli.follow import Follow
from testcast.cli.terminal import Terminal
from testcast.client.errors import ConnectionLost
from testcast.client.events import Event, Item, Reset, State, Unreadable, Verdict

RUN = "4f9c2d3e-8a51-4c0b-9d57-2f1f6f0a7b11"
Captured = pytest.CaptureFixture[str]


def event(seq: int, kind: str = "progress", *, at_s: int = 0, **fields: Any) -> Event:
    raw = b'{"seq":%d}' % seq
    fields = {"message": f"m{seq}", "timestamp": at_s * 1000} | fields
    return Event(test_id=RUN, seq=seq, type=kind, raw=raw, **fields)  # type: ignore[arg-type]


class Source:
    """Delivers items and then ends, or raises."""

    def __init__(
        self, items: Sequence[Item], verdict: Verdict | None, error: Exception | None = None, test_id: str | None = RUN
    ) -> None:
        self.test_id = test_id
        self.verdict = verdict
        self.cancelled = False
        self._items = items
        self._error = error

    async def __aiter__(self) -> AsyncIterator[Item]:
        for item in self._items:
            yield item
        if self._error is not None:
            raise self._error


START = event(1, "status", at_s=10, status="running")
COMPLETE = event(3, "complete", at_s=75, data={"score": 78})
FAILED = event(3, "error", at_s=75, status="failed", message="The game\x07 crashed")


@pytest.mark.parametrize(
    ("end", "verdict", "status", "words"),
    [
        (COMPLETE, "completed", 0, "Score  78/100\n✓ Completed in 1:05\n"),
        (FAILED, "failed", 1, "✗ Failed in 1:05: The game\N{REPLACEMENT CHARACTER} crashed\n"),
    ],
)
async def test_the_verdict_is_the_exit_status(
    capsys: Captured, end: Event, verdict: Verdict, status: int, words: str
) -> None:
    assert await Follow(Terminal(), RUN).run(Source([START, event(2), end], verdict)) == status
    out, err = capsys.readouterr()
    assert out.endswith(f"\n\n{words}")
    assert err == ""


async def test_a_verdict_without_its_event_has_no_duration(capsys: Captured) -> None:
    """After a resume behind the end, and after a reset, which takes the start back."""
    assert await Follow(Terminal(), RUN).run(Source([], "completed")) == 0
    assert capsys.readouterr().out == "\n✓ Completed\n"
    assert await Follow(Terminal(), RUN).run(Source([START, Reset(RUN, "expired"), COMPLETE], "completed")) == 0
    assert capsys.readouterr().out.endswith("✓ Completed\n")


@pytest.mark.parametrize(
    ("test_id", "after", "hint"),
    [(RUN, 7, f"resume with: testcast tail {RUN} --after 7\n"), (RUN, None, ""), (None, 7, "")],
)
async def test_a_lost_connection_is_3_and_names_the_position(
    capsys: Captured, test_id: str | None, after: int | None, hint: str
) -> None:
    source = Source([], None, ConnectionLost("nothing answers", after), test_id)
    assert await Follow(Terminal(), test_id).run(source) == 3
    assert capsys.readouterr() == ("", f"error: nothing answers\n{hint}")


async def test_a_cancelled_run_is_told_without_its_event(capsys: Captured) -> None:
    source = Source([], "failed")
    source.cancelled = True
    assert await Follow(Terminal(), RUN).run(source) == 1
    assert "Cancelled" in capsys.readouterr().out


async def test_an_end_without_a_verdict_is_3(capsys: Captured) -> None:
    assert await Follow(Terminal(), RUN).run(Source([event(1)], None)) == 3
    assert "without a verdict" in capsys.readouterr().err


async def test_only_the_chosen_types_are_shown_and_the_summary_is_the_same(capsys: Captured) -> None:
    assert await Follow(Terminal(), RUN, types=["error"]).run(Source([START, event(2), COMPLETE], "completed")) == 0
    assert capsys.readouterr().out == "\nScore  78/100\n✓ Completed in 1:05\n"


async def test_json_is_what_viewers_receive_and_nothing_else(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    follow = Follow(Terminal(), RUN, json=True, types=["complete"])
    assert await follow.run(Source([START, Reset(RUN, "ahead", "e1"), COMPLETE], "completed")) == 0
    first, second = capfdbinary.readouterr().out.splitlines()
    assert orjson.loads(first) == {"type": "reset", "testId": RUN, "reason": "ahead", "epoch": "e1"}
    assert second == COMPLETE.raw


def test_a_lost_connection_is_told_once_and_so_is_its_return(capsys: Captured) -> None:
    follow = Follow(Terminal(), RUN)
    follow.on_state(State("live"))
    assert capsys.readouterr().err == ""
    follow.on_state(State("waiting", "connection refused", 3.2, 1, 0.9))
    follow.on_state(State("polling", "connection refused", 4.2, 2, 1.9))
    follow.on_state(State("live", waited_s=5.0))
    follow.on_state(State("live"))
    assert capsys.readouterr().err == "connection refused, waiting (3 s), attempt 1 in 1 s\nreconnected after 5 s\n"


async def test_a_cancelled_run_has_a_word_of_its_own(capsys: Captured) -> None:
    end = event(3, "error", at_s=75, status="failed", message="Cancelled", data={"code": "cancelled"})
    status = await Follow(Terminal(), RUN).run(Source([START, end], "failed"))
    assert status == 1
    out = capsys.readouterr().out
    assert "  cancelled  Cancelled" in out
    assert out.endswith("⊘ Cancelled after 1:05\n")


@pytest.mark.parametrize(
    ("told", "line"),
    [
        (Unreadable(RUN, 4, 1, {"it is not JSON": 1}), "1 event of this agent could not be read: it is not JSON"),
        (
            Unreadable(RUN, 4, 1203, {"b\x1b[2J\n": 3, "a": 1200}),
            "1,203 events of this agent could not be read: a (1,200); b (3)",
        ),
        (Unreadable(RUN, 4, 2, {}), "2 events of this agent could not be read"),
    ],
)
def test_unreadable_events_are_one_quiet_line(capsys: Captured, told: Unreadable, line: str) -> None:
    Follow(Terminal(), RUN).on_unreadable(told)
    assert capsys.readouterr().out == f"          skipped    {line}\n"
    Follow(Terminal(), RUN, json=True).on_unreadable(told)
    assert capsys.readouterr() == ("", f"{line}\n")


def test_refused_sockets_are_said_once(capsys: Captured) -> None:
    follow = Follow(Terminal(), RUN)
    for left_s in (30.0, 29.0):
        follow.on_state(State("polling", "WebSockets are refused (HTTP 426)", 1.0, 1, left_s, True))
    assert capsys.readouterr().err == "WebSockets are refused (HTTP 426): polling every 3 s instead\n"
