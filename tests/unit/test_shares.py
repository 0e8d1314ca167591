"""Share links, and the records behind all proofs, with a clock and a bucket in memory."""

from __future__ import annotations

import asyncio
from typing import Final

import pytest

from broker.contract.errors import BadInput, BrokerUnavailable, NotFound
from tests.access_stand_ins import (
    ANN,
    OTHER,
    ROOT,
    RUN,
    SESSION_KEY,
    START_S,
    Clock,
    MemoryBucket,
    access_of,
    begin,
    cookie_of,
    follow,
    headers,
    share,
    tokens,
)
from tests.harness import until
from ws_edge.access import AccessDenied, Action, NotAuthenticated, Undecided
from ws_edge.access.cookies import SESSION, clear_cookie, share_cookie
from ws_edge.access.proofs import ProofAccess
from ws_edge.access.records import Records, token_proof
from ws_edge.access.shares import MAX_OPENED, MAX_PER_RUN, MAX_PER_SUBJECT, Shares

NEW: Final = "ffffffff-0000-4000-8000-000000000001"


# -- share links ------------------------------------------------------------------------------------------------------


async def test_a_share_link_shows_one_run_and_nothing_else() -> None:
    access = access_of(tokens())
    _, secret, cookie = await share(access)
    assert len(secret) == 43
    visitor = access.identify(headers(cookie=cookie))
    access.authorize(visitor, Action.WATCH, RUN)
    for action in Action:
        if action is not Action.WATCH:
            with pytest.raises(AccessDenied):
                access.authorize(visitor, action, RUN)
        with pytest.raises(AccessDenied):
            access.authorize(visitor, action, None)
        with pytest.raises(NotFound):
            access.authorize(visitor, action, OTHER)
    assert access.shares is not None
    with pytest.raises(AccessDenied):
        await access.shares.make(visitor, RUN, 600)


async def test_the_secret_is_stored_nowhere_and_the_link_ends_in_time() -> None:
    clock, bucket = Clock(), MemoryBucket()
    access = access_of(tokens(), bucket, clock)
    share_id, secret, cookie = await share(access, for_s=600)
    key = f"share.{RUN}.{share_id}"
    assert set(bucket.values) == {key} and bucket.ttls[key] == 600
    assert secret.encode() not in (bucket.values[key] or b"")
    clock.now += 599
    assert access.identify(headers(cookie=cookie)).shared_runs == {RUN}
    clock.now += 1
    assert access.shares is not None
    with pytest.raises(NotFound):
        access.shares.open(RUN, secret)
    with pytest.raises(NotAuthenticated):
        access.identify(headers(cookie=cookie))
    assert access.wrong_cookies(headers(cookie=cookie)) == [clear_cookie(share_cookie(RUN))]


async def test_whatever_is_wrong_with_a_link_is_answered_alike() -> None:
    access = access_of(tokens())
    share_id, secret, _ = await share(access)
    shares = access.shares
    assert shares is not None
    ended = await shares.make(ANN, RUN, 600)
    await shares.end(RUN, ended.share.share_id)
    answers = []
    for test_id, given in ((OTHER, secret), (RUN, "x" * 43), (RUN, ""), (RUN, ended.secret), (RUN, share_id)):
        with pytest.raises(NotFound) as caught:
            shares.open(test_id, given)
        answers.append((caught.value.code, caught.value.message.replace(OTHER, RUN)))
    assert len(set(answers)) == 1
    assert shares.open(RUN, secret)[0].share_id == share_id


async def test_a_link_that_has_ended_ends_what_it_has_opened_on_every_edge() -> None:
    bucket = MemoryBucket()
    one, two = access_of(tokens(), bucket), access_of(tokens(), bucket)
    following = [await follow(each.records, bucket) for each in (one, two)]
    told: list[str] = []
    two.records.on_end.append(told.append)
    share_id, _, cookie = await share(one)
    visitor = two.identify(headers(cookie=cookie))
    two.authorize(visitor, Action.WATCH, RUN)
    assert one.shares is not None
    await one.shares.end(RUN, share_id)
    assert told == [f"share.{RUN}.{share_id}"]
    with pytest.raises(NotFound):
        two.authorize(visitor, Action.WATCH, RUN)
    with pytest.raises(NotAuthenticated):
        two.identify(headers(cookie=cookie))
    asked = bucket.asked
    with pytest.raises(NotAuthenticated):
        await two.identify_later(headers(cookie=cookie))
    assert bucket.asked == asked, "the end of a link is remembered: nothing is asked"
    for task in following:
        task.cancel()


async def test_a_link_made_on_another_edge_a_moment_ago_is_asked_for() -> None:
    bucket = MemoryBucket()
    one, two = access_of(tokens(), bucket), access_of(tokens(), bucket)
    _, _, cookie = await share(one)
    with pytest.raises(Undecided):
        two.identify(headers(cookie=cookie))
    assert (await two.identify_later(headers(cookie=cookie))).shared_runs == {RUN}
    assert two.identify(headers(cookie=cookie)).shared_runs == {RUN}


async def test_share_cookies_add_to_a_session_and_to_nobody_in_particular() -> None:
    access = access_of(tokens())
    _, _, cookie = await share(access, OTHER)
    signed_in = access.identify(headers(cookie=f"{begin(access)}; {cookie}"))
    assert (signed_in.subject, *signed_in.shared_runs) == ("ann", OTHER)
    access.authorize(signed_in, Action.WATCH, OTHER)
    access.authorize(signed_in, Action.CANCEL, RUN)
    with pytest.raises(AccessDenied):
        access.authorize(signed_in, Action.CANCEL, OTHER)
    with pytest.raises(NotAuthenticated):  # a session that is wrong is not saved by a link
        access.identify(headers(cookie=f"{SESSION}=x; {cookie}"))
    wrong = cookie[:-4] + "AAAA"
    with pytest.raises(NotAuthenticated):
        access.identify(headers(cookie=f"{begin(access)}; {wrong}"))
    moved = cookie.replace(OTHER, RUN)
    with pytest.raises(NotAuthenticated, match="another test"):
        access.identify(headers(cookie=moved))


async def test_a_run_has_a_hundred_links_at_most_however_fast_they_are_made() -> None:
    access = access_of(tokens())
    shares = access.shares
    assert shares is not None
    made = await asyncio.gather(*(shares.make(ANN, RUN, 600) for _ in range(130)), return_exceptions=True)
    assert sum(isinstance(each, BadInput) for each in made) == 130 - MAX_PER_RUN
    await shares.end(RUN, access.records.shares_of(RUN)[0].share_id)
    await shares.make(ANN, RUN, 600)
    assert isinstance(shares, Shares)
    with pytest.raises(NotFound):
        await shares.end(RUN, "ff")


async def test_nobody_fills_the_memory_of_all_edges(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ws_edge.access.shares.MAX_PER_SUBJECT", 5)
    assert MAX_PER_SUBJECT == 1000
    access = access_of(tokens())
    shares = access.shares
    assert shares is not None
    for number in range(5):
        await shares.make(ANN, f"00000000-0000-4000-8000-{number:012}", 600)
    with pytest.raises(BadInput, match="you have made"):
        await shares.make(ANN, RUN, 600)
    await shares.make(ROOT, RUN, 600)
    await shares.end(OTHER, access.records.shares_of(OTHER)[0].share_id)
    await shares.make(ANN, RUN, 600)
    assert access.records.made_by("ann") == 5 and access.records.made_by("root") == 1


async def test_a_browser_keeps_the_cookies_of_some_links_only() -> None:
    access = access_of(tokens())
    shares = access.shares
    assert shares is not None
    cookies: dict[str, str] = {SESSION: "x"}
    for number in range(MAX_OPENED):
        test_id = f"00000000-0000-4000-8000-{number:012}"
        assert shares.surplus(cookies, test_id) == []
        made = await shares.make(ANN, test_id, 600 - number)
        name, _, value = cookie_of(shares.open(test_id, made.secret)[1]).partition("=")
        cookies[name] = value
    assert shares.surplus(cookies, RUN) == [], "it takes the place of its own"
    last = f"00000000-0000-4000-8000-{MAX_OPENED - 1:012}"
    assert shares.surplus(cookies, NEW) == [share_cookie(last)], "the one that ends first"
    cookies[share_cookie(RUN)] = "damaged"
    assert shares.surplus(cookies, NEW) == [share_cookie(RUN)]


# -- the records ------------------------------------------------------------------------------------------------------


async def test_edges_put_back_what_a_deleted_bucket_held() -> None:
    bucket, clock = MemoryBucket(), Clock()
    records = Records(bucket, clock)
    following = await follow(records, bucket)
    access = ProofAccess(tokens(), records, SESSION_KEY, clock)
    share_id, secret, _ = await share(access)
    await records.revoke(token_proof("t1"), START_S + 3600, "root")
    await records.revoke(token_proof("for ever"), None, "root")
    bucket.delete_all()
    await until(lambda: len(bucket.values) == 3)
    assert bucket.ttls[f"revoked.{token_proof('for ever')}"] is None
    later = Records(bucket, clock)
    also = await follow(later, bucket)
    assert later.filled and later.revoked("t1") and later.revoked("for ever") and not later.revoked("t2")
    assert later.share(RUN, share_id) is not None
    for task in (following, also):
        task.cancel()
    assert ProofAccess(tokens(), later, SESSION_KEY, clock).shares is not None and secret


async def test_a_revocation_outlives_the_clocks_differences_and_then_goes() -> None:
    clock, bucket = Clock(), MemoryBucket()
    records = Records(bucket, clock)
    records.filled = True
    await records.revoke(token_proof("t1"), START_S + 10, "root")
    clock.now += 69
    records.prune()
    assert records.revoked("t1")
    clock.now += 2
    records.prune()
    assert not records.revoked("t1")
    assert records.statistics().revoked == 0


async def test_what_cannot_be_read_revokes_and_shows_nothing() -> None:
    bucket = MemoryBucket()
    for value in (
        b"",
        b"{",
        b"[]",
        b"1",
        b'{"secret":1}',
        b'{"secret":"x","expiresAt":"never","createdAt":1,"by":"a"}',
    ):
        bucket.values[f"share.{RUN}.{len(bucket.values)}"] = value
    bucket.values |= {"share.x": b"{}", "other.x": b"{}", "used.x": b"1", f"revoked.{token_proof('t')}": b"not JSON"}
    records = Records(bucket, Clock())
    following = await follow(records, bucket)
    assert records.shares_of(RUN) == []
    assert records.revoked("t"), "its key says enough"
    following.cancel()


async def test_a_link_that_was_not_stored_does_not_count() -> None:
    bucket = MemoryBucket()
    access = access_of(tokens(), bucket)
    bucket.is_away = True
    with pytest.raises(BrokerUnavailable):
        await share(access)
    assert access.records.shares_of(RUN) == []
