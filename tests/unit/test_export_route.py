"""An export whose proof ends while it is sent (ws_edge/api/export.py): it is cut off, and its place is free again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from types import SimpleNamespace
from typing import Any, Final, cast

import pytest

from broker.contract.errors import NotFound
from broker.export.source import WHOLE
from tests.model import VirtualLoop
from ws_edge.access import Action, NotAuthenticated, Principal
from ws_edge.access.records import token_proof
from ws_edge.api import export
from ws_edge.api.export import Proof, _Body
from ws_edge.fanout.proofs import OpenProofs

ID: Final = "4f9c2d3e-8a51-4c0b-9d57-2f1f6f0a7b11"
OTHER: Final = "4f9c2d3e-8a51-4c0b-9d57-2f1f6f0a7b12"


class Download:
    """An export that has as many pieces as its client takes: one, until `takes` is set."""

    def __init__(self, loop: VirtualLoop, who: Principal, *, revoked: bool = False) -> None:
        self.loop, self.who, self.ends = loop, who, 0
        self.now, self.sent = 1000.0, list[dict[str, Any]]()
        self.takes = asyncio.Event()
        self.open = OpenProofs(lambda: self.now)
        records = SimpleNamespace(has_ended=lambda _who: revoked)
        access = SimpleNamespace(authorize=self.authorize)
        node: Any = SimpleNamespace(hub=SimpleNamespace(proofs=self.open), records=records, access=access)
        self.proof = Proof(node, who, ID)

    def authorize(self, who: Principal, _action: Action, test_id: str) -> None:
        if "a" not in (who.projects or ()) and test_id not in who.shared_runs:
            raise NotFound(test_id)

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        for _ in range(3):
            yield b"piece"

    async def send(self, message: Any) -> None:
        self.sent.append(message)
        if message.get("body"):
            await self.takes.wait()

    def begin(self) -> asyncio.Task[None]:
        def end() -> None:
            self.ends += 1
            self.proof.release()

        async def receive() -> dict[str, Any]:
            await asyncio.Event().wait()
            return {}

        body = _Body(self.pieces(), self.proof, {}, "text/html", end)
        scope = {"type": "http", "asgi": {"spec_version": "2.3"}}
        task = self.loop.call(lambda: self.loop.create_task(body(scope, receive, self.send)))
        self.loop.run_for(1)
        made: asyncio.Task[None] = task
        return made

    @property
    def is_whole(self) -> bool:
        return self.sent[-1].get("more_body") is False


def the_token_is_revoked(download: Download) -> None:
    download.open.end(token_proof("t"))


def the_token_expires(download: Download) -> None:
    download.now += 60
    download.open.sweep()


def the_share_link_ends(download: Download) -> None:
    download.open.end(f"share.{ID}.s")


TOKEN: Final = Principal("ann", frozenset({"a"}), expires_at=1030.0, token_id="t")
SHARED: Final = Principal("x", frozenset(), shared_runs=frozenset({ID, OTHER}), share_ids=frozenset({f"{ID}.s"}))


@pytest.mark.parametrize(
    ("who", "ends"), [(TOKEN, the_token_is_revoked), (TOKEN, the_token_expires), (SHARED, the_share_link_ends)]
)
def test_it_is_cut_off_also_while_its_client_takes_nothing(
    loop: VirtualLoop, who: Principal, ends: Callable[[Download], None]
) -> None:
    download = Download(loop, who)
    task = download.begin()
    assert (len(download.sent), task.done()) == (2, False)
    loop.call(lambda: ends(download))
    loop.run_for(1)
    assert task.done() and task.exception() is None
    assert len(download.sent) == 2 and not download.is_whole, "a broken download, and no file that looks whole"
    assert (download.ends, download.open.statistics().held, download.open.given_up) == (1, 0, 0)


@pytest.mark.parametrize("who", [TOKEN, SHARED, Principal("anonymous")])
def test_otherwise_it_is_whole(loop: VirtualLoop, who: Principal) -> None:
    download = Download(loop, who)
    task = download.begin()
    loop.call(lambda: download.open.end(token_proof("somebody else's")))
    loop.call(lambda: download.open.end(f"share.{OTHER}.s"))
    loop.call(download.takes.set)
    loop.run_for(1)
    assert task.done() and download.is_whole
    assert (download.ends, download.open.statistics().held) == (1, 0)


def test_a_share_link_that_ends_takes_nothing_from_who_may_see_the_run_anyway(loop: VirtualLoop) -> None:
    download = Download(loop, TOKEN._replace(shared_runs=frozenset({ID}), share_ids=frozenset({f"{ID}.s"})))
    task = download.begin()
    loop.call(lambda: the_share_link_ends(download))
    loop.run_for(1)
    assert not task.done()
    loop.call(lambda: the_token_is_revoked(download))
    loop.run_for(1)
    assert task.done() and not download.is_whole


def test_one_that_was_revoked_before_it_began_is_refused(loop: VirtualLoop) -> None:
    with pytest.raises(NotAuthenticated, match="token_revoked"):
        Download(loop, TOKEN, revoked=True).proof.check()
    Download(loop, TOKEN).proof.check()


def test_a_proof_that_cannot_be_held_takes_no_place(loop: VirtualLoop, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_room(*_: object) -> None:
        raise RuntimeError("no room")

    monkeypatch.setattr(export, "_keys", lambda *_: ["at 192.0.2.1"])
    node: Any = SimpleNamespace(draining=False, hub=SimpleNamespace(proofs=SimpleNamespace(hold=no_room)))
    exports, request = export.Exports(), cast(Any, None)
    asked = export.Asked(ID, "json", WHOLE)
    answer = loop.call(lambda: loop.create_task(exports._answer(node, request, asked, TOKEN)))
    loop.run_for(1)
    assert "no room" in str(answer.exception())
    assert exports.statistics().under_way == 0 and not exports._by_key
