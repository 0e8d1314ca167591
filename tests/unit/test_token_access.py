"""Who sends a request: tokens that are remembered still expire, are revoked, and lose their key."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from broker.contract.errors import NotFound
from tests.harness import NO_SUCH_TEST
from tests.token_access import Clock, KeysInAFile, NoRuns, bearer, header
from tests.tokens import NOW, SECRET, a_key, a_token, claims, jwks, public
from ws_edge.access import AccessDenied, Action, NotAuthenticated, Principal, Undecided
from ws_edge.access.settings import AccessConfig, Secret
from ws_edge.access.token_access import ProjectRuns, TokenAccess


@pytest.fixture
def key(tmp_path: Path) -> KeysInAFile:
    return KeysInAFile(tmp_path / "keys.json")


def test_a_token_is_checked_once(key: KeysInAFile) -> None:
    token = a_token()
    found = [key.access.identify(bearer(token)) for _ in range(3)]
    assert found[0] == found[1] == found[2] and found[0].subject == "ann"
    statistics = key.access.statistics()
    assert (statistics.verified, statistics.hits, statistics.remembered) == (1, 2, 1)


def test_what_is_remembered_expires(key: KeysInAFile) -> None:
    token = a_token(body=claims(exp=NOW + 60))
    key.access.identify(bearer(token))
    key.clock.now += 60 + 29
    assert key.access.identify(bearer(token)).subject == "ann", "clocks may differ by half a minute"
    key.clock.now += 2
    with pytest.raises(NotAuthenticated, match="expired"):
        key.access.identify(bearer(token))


def test_what_is_remembered_can_be_revoked(key: KeysInAFile) -> None:
    revoked: set[str] = set()
    key.access.revoked = revoked.__contains__
    key.access.identify(bearer(a_token()))
    revoked.add("token-1")
    with pytest.raises(NotAuthenticated, match="revoked"):
        key.access.identify(bearer(a_token()))
    assert key.access.identify(bearer(a_token(body=claims(jti="token-2")))).subject == "ann"


def test_what_is_remembered_goes_with_its_key(key: KeysInAFile) -> None:
    token = a_token()
    key.access.identify(bearer(token))
    key.write(jwks(public(a_key("ES256"), "ES256")))
    with pytest.raises(NotAuthenticated, match="not known"):
        key.access.identify(bearer(token))
    assert key.access.identify(bearer(a_token("ES256"))).subject == "ann"


def test_a_key_of_the_same_id_is_another_key(key: KeysInAFile) -> None:
    token = a_token()
    key.access.identify(bearer(token))
    key.write(jwks(public(a_key("EdDSA", 1), "EdDSA")))
    with pytest.raises(NotAuthenticated, match="signature"):
        key.access.identify(bearer(token))


def test_memory_is_bounded(key: KeysInAFile, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ws_edge.access.token_access._MAX_VERIFIED", 3)
    tokens = [a_token(body=claims(jti=f"token-{number}")) for number in range(5)]
    for each in tokens:
        key.access.identify(bearer(each))
    assert key.access.statistics().remembered == 3
    key.access.identify(bearer(tokens[4]))
    key.access.identify(bearer(tokens[0]))
    assert key.access.statistics().verified == 6
    monkeypatch.setattr("ws_edge.access.token_access._MAX_VERIFIED_BYTES", 2 * len(tokens[0]))
    key.access.identify(bearer(tokens[1]))
    assert key.access.statistics().remembered == 2


def test_wrong_tokens_are_not_remembered(key: KeysInAFile) -> None:
    for number in range(10):
        with pytest.raises(NotAuthenticated):
            key.access.identify(bearer(a_token(key=a_key("EdDSA", 1), body=claims(jti=str(number)))))
    statistics = key.access.statistics()
    assert (statistics.remembered, statistics.refused) == (0, 10)


WRONG_HEADERS = [
    "",
    "Bearer",
    "Bearer ",
    "Basic YW5uOnNlY3JldA==",
    "Bearer null",
    "Bearer a b",
    "Token {}",
    "Bearer{}",
    "Bearer {}, Bearer {}",
    "Bearer {}, Basic YTpi",
    "{}",
]


@pytest.mark.parametrize("given", WRONG_HEADERS)
def test_a_wrong_token_is_never_left_aside(given: str, tmp_path: Path) -> None:
    """Not for reading as anybody either."""
    key = KeysInAFile(tmp_path / "keys.json", anonymous=frozenset(("open",)))
    wrong = header(authorization=given.replace("{}", a_token()))
    with pytest.raises(NotAuthenticated):
        key.access.identify(wrong)
    with pytest.raises(NotAuthenticated):
        asyncio.run(key.access.identify_later(wrong))
    for scheme in ("Bearer", "bearer", "BEARER"):
        assert key.access.identify(header(authorization=f"{scheme} {a_token()}")).subject == "ann"


def test_without_any_proof_only_named_projects_may_be_read(tmp_path: Path) -> None:
    closed = KeysInAFile(tmp_path / "closed.json").access
    with pytest.raises(NotAuthenticated, match="send a token"):
        closed.identify(header())
    found = KeysInAFile(tmp_path / "open.json", anonymous=frozenset(("open",))).access.identify(header())
    assert found == Principal("anonymous", frozenset(("open",)), frozenset((Action.LIST, Action.WATCH)))


def test_a_secret_needs_no_keys() -> None:
    access = TokenAccess(AccessConfig(secret=Secret(SECRET), algorithms=("HS256",)), NoRuns(), clock=Clock())
    assert access.identify(bearer(a_token("HS256"))).subject == "ann"
    with pytest.raises(NotAuthenticated, match="algorithm"):
        access.identify(bearer(a_token("EdDSA")))


async def test_runs_are_decided_by_their_project() -> None:
    known, later = {"of-red": "red"}, {"of-red": "red", "of-blue": "blue", "new-red": "red"}

    async def look(test_id: str) -> str | None:
        return later.get(test_id)

    runs = ProjectRuns(known.get, look)
    red = Principal("ann", frozenset(("red",)), frozenset((Action.WATCH,)))
    runs.authorize(red, Action.WATCH, "of-red")
    with pytest.raises(AccessDenied):
        runs.authorize(red, Action.CANCEL, "of-red")
    with pytest.raises(AccessDenied):
        runs.authorize(red, Action.LIST, None)
    for test_id in ("of-blue", "new-red", NO_SUCH_TEST):
        with pytest.raises(Undecided):
            runs.authorize(red, Action.WATCH, test_id)
    await runs.authorize_later(red, Action.WATCH, "new-red")
    for test_id in ("of-blue", NO_SUCH_TEST):
        with pytest.raises(NotFound):
            await runs.authorize_later(red, Action.WATCH, test_id)
