"""Who sends a request: tokens that are remembered still expire, are revoked, and lose their key."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from broker.contract.errors import InvalidSetting, NotFound
from broker.contract.token_keys import MAX_KEYS, MAX_KEYS_BYTES, MalformedKeys, parse_keys
from tests.harness import NO_SUCH_TEST, until
from tests.tokens import NOW, SECRET, a_key, a_token, claims, jwks, public
from ws_edge.access import AccessDenied, Action, NotAuthenticated, Principal, Undecided
from ws_edge.access.access import Header
from ws_edge.access.keys import KeyAddress, KeyFile, read_keys
from ws_edge.access.settings import AccessConfig, Secret
from ws_edge.access.token_access import ProjectRuns, TokenAccess


class Clock:
    """A clock that stands until it is set."""

    def __init__(self, now: float = NOW) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class NoRuns:
    """Knows no run."""

    def authorize(self, principal: Principal, action: Action, test_id: str | None) -> None:
        raise AssertionError

    async def authorize_later(self, principal: Principal, action: Action, test_id: str) -> None:
        raise AssertionError


class Key:
    """A file of keys and an access that uses it."""

    def __init__(self, path: Path, **settings: object) -> None:
        self.path = path
        self.clock, self.monotonic = Clock(), Clock(0)
        self.write(jwks())
        config = AccessConfig(keys=str(path))._replace(**settings)  # type: ignore[arg-type]
        self.access = TokenAccess(config, NoRuns(), KeyFile(path, self.monotonic), self.clock)

    def write(self, content: bytes) -> None:
        fresh = self.path.with_suffix(".new")
        fresh.write_bytes(content)
        os.replace(fresh, self.path)  # noqa: PTH105
        self.monotonic.now += 1


@pytest.fixture
def key(tmp_path: Path) -> Key:
    return Key(tmp_path / "keys.json")


def header(**headers: str) -> Header:
    return {name.replace("_", "-"): value for name, value in headers.items()}.get


def bearer(token: str) -> Header:
    return header(authorization=f"Bearer {token}")


def test_a_token_is_checked_once(key: Key) -> None:
    token = a_token()
    found = [key.access.identify(bearer(token)) for _ in range(3)]
    assert found[0] == found[1] == found[2] and found[0].subject == "ann"
    statistics = key.access.statistics()
    assert (statistics.verified, statistics.hits, statistics.remembered) == (1, 2, 1)


def test_what_is_remembered_expires(key: Key) -> None:
    token = a_token(body=claims(exp=NOW + 60))
    key.access.identify(bearer(token))
    key.clock.now += 60 + 29
    assert key.access.identify(bearer(token)).subject == "ann", "clocks may differ by half a minute"
    key.clock.now += 2
    with pytest.raises(NotAuthenticated, match="expired"):
        key.access.identify(bearer(token))


def test_what_is_remembered_can_be_revoked(key: Key) -> None:
    revoked: set[str] = set()
    key.access.revoked = revoked.__contains__
    key.access.identify(bearer(a_token()))
    revoked.add("token-1")
    with pytest.raises(NotAuthenticated, match="revoked"):
        key.access.identify(bearer(a_token()))
    assert key.access.identify(bearer(a_token(body=claims(jti="token-2")))).subject == "ann"


def test_what_is_remembered_goes_with_its_key(key: Key) -> None:
    token = a_token()
    key.access.identify(bearer(token))
    key.write(jwks(public(a_key("ES256"), "ES256")))
    with pytest.raises(NotAuthenticated, match="not known"):
        key.access.identify(bearer(token))
    assert key.access.identify(bearer(a_token("ES256"))).subject == "ann"


def test_a_key_of_the_same_id_is_another_key(key: Key) -> None:
    token = a_token()
    key.access.identify(bearer(token))
    key.write(jwks(public(a_key("EdDSA", 1), "EdDSA")))
    with pytest.raises(NotAuthenticated, match="signature"):
        key.access.identify(bearer(token))


def test_memory_is_bounded(key: Key, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ws_edge.access.token_access._MAX_VERIFIED", 3)
    tokens = [a_token(body=claims(jti=f"token-{number}")) for number in range(5)]
    for each in tokens:
        key.access.identify(bearer(each))
    assert key.access.statistics().remembered == 3
    key.access.identify(bearer(tokens[4]))
    key.access.identify(bearer(tokens[0]))
    assert key.access.statistics().verified == 6


def test_wrong_tokens_are_not_remembered(key: Key) -> None:
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
    """Neither for reading as anybody, nor for a good cookie that comes with it."""
    key = Key(tmp_path / "keys.json", anonymous=frozenset(("open",)))
    key.access.proofs = (Cookie(),)
    wrong = header(authorization=given.replace("{}", a_token()), cookie="good")
    with pytest.raises(NotAuthenticated):
        key.access.identify(wrong)
    with pytest.raises(NotAuthenticated):
        asyncio.run(key.access.identify_later(wrong))
    for scheme in ("Bearer", "bearer", "BEARER"):
        assert key.access.identify(header(authorization=f"{scheme} {a_token()}", cookie="good")).subject == "ann"


class Cookie:
    """Another proof: the cookie says who it is, "wrong" is refused, "elsewhere" is not known here."""

    def identify(self, header: Header) -> Principal | None:
        given = header("cookie")
        if given == "wrong":
            raise NotAuthenticated("the cookie is wrong")
        if given == "elsewhere":
            raise Undecided
        return None if given is None else Principal(f"cookie {given}")

    async def identify_later(self, header: Header) -> Principal | None:
        return Principal("cookie elsewhere") if header("cookie") == "elsewhere" else self.identify(header)


async def test_other_proofs_are_asked_where_there_is_no_token(tmp_path: Path) -> None:
    access = Key(tmp_path / "keys.json", anonymous=frozenset(("open",))).access
    access.proofs = (Cookie(),)
    assert access.identify(header(cookie="bob")).subject == "cookie bob"
    with pytest.raises(NotAuthenticated):
        access.identify(header(cookie="wrong"))
    with pytest.raises(Undecided):
        access.identify(header(cookie="elsewhere"))
    assert (await access.identify_later(header(cookie="elsewhere"))).subject == "cookie elsewhere"
    assert access.identify(header()).subject == (await access.identify_later(header())).subject == "anonymous"


def test_without_any_proof_only_named_projects_may_be_read(tmp_path: Path) -> None:
    closed = Key(tmp_path / "closed.json").access
    with pytest.raises(NotAuthenticated, match="send a token"):
        closed.identify(header())
    found = Key(tmp_path / "open.json", anonymous=frozenset(("open",))).access.identify(header())
    assert found == Principal("anonymous", frozenset(("open",)), frozenset((Action.LIST, Action.WATCH)))


def test_a_secret_needs_no_keys() -> None:
    access = TokenAccess(AccessConfig(secret=Secret(SECRET), algorithms=("HS256",)), NoRuns(), clock=Clock())
    assert access.identify(bearer(a_token("HS256"))).subject == "ann"
    with pytest.raises(NotAuthenticated, match="algorithm"):
        access.identify(bearer(a_token("EdDSA")))


# -- files of keys --------------------------------------------------------------------------------------------------

BROKEN = [
    b"",
    b"{",
    b"[]",
    b'{"keys": {}}',
    b'{"keys": [5]}',
    b'{"keys": []' + b" " * MAX_KEYS_BYTES + b"}",
    jwks(*[public(a_key("EdDSA"), f"k{number}") for number in range(MAX_KEYS + 1)]),
    jwks({**a_key("EdDSA").as_dict(private=True), "kid": "EdDSA"}),
    jwks({**a_key("RS256").as_dict(private=True), "kid": "RS256"}),
    jwks(public(a_key("EdDSA"), "one"), public(a_key("EdDSA", 1), "one")),
]


@pytest.mark.parametrize("content", BROKEN, ids=lambda content: content[:20].decode())
def test_a_broken_file_is_refused_at_the_start_and_changes_nothing_later(content: bytes, key: Key) -> None:
    token = a_token()
    key.access.identify(bearer(token))
    key.write(content)
    assert key.access.identify(bearer(token)).subject == "ann"
    assert key.access.statistics().keys.failures == 1
    with pytest.raises(InvalidSetting, match=r"^TESTCAST_ACCESS_KEYS: "):
        read_keys(key.path)
    key.write(jwks(public(a_key("ES256"), "ES256")))
    with pytest.raises(NotAuthenticated):
        key.access.identify(bearer(token))


def test_a_file_that_is_gone_changes_nothing(key: Key) -> None:
    key.path.unlink()
    key.monotonic.now += 1
    assert key.access.identify(bearer(a_token())).subject == "ann"


def test_a_file_is_looked_at_once_a_second(key: Key) -> None:
    key.access.identify(bearer(a_token()))
    key.write(jwks(public(a_key("ES256"), "ES256")))
    key.monotonic.now -= 0.5
    assert key.access.identify(bearer(a_token())).subject == "ann"
    key.monotonic.now += 0.5
    with pytest.raises(NotAuthenticated):
        key.access.identify(bearer(a_token()))


UNUSABLE = [
    {"kty": "oct", "k": "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0", "alg": "HS256", "kid": "EdDSA"},
    public(a_key("EdDSA"), "EdDSA", use="enc"),
    public(a_key("EdDSA"), "EdDSA", alg="ES256"),
    public(a_key("EdDSA"), "EdDSA", alg="HS256"),
    public(a_key("EdDSA"), "EdDSA", key_ops=["encrypt"]),
    public(a_key("EdDSA"), "EdDSA", crv="X25519"),
    public(a_key("EdDSA"), "EdDSA", crv="Ed448"),
    public(a_key("EdDSA"), "EdDSA", x="AAAA"),
    public(a_key("EdDSA"), "EdDSA", x=5),
    public(a_key("ES256"), "ES256", crv="P-384"),
    public(a_key("ES256"), "ES256", x="AAAA"),
    public(a_key("RS256"), "RS256", n="AQAB"),
    public(a_key("RS256"), "RS256", e="AQ"),
    {**public(a_key("EdDSA"), None), "kid": 5},
    {"kty": ["OKP"], "crv": "Ed25519"},
    {},
]


@pytest.mark.parametrize("member", UNUSABLE, ids=str)
def test_keys_that_are_of_no_use_are_left_out(member: dict[str, object]) -> None:
    found = parse_keys(jwks(member, public(a_key("EdDSA", 2), "good")))
    assert (list(found.keys), found.ignored) == ([("EdDSA", "good")], 1)


def test_a_set_with_no_key_of_use_is_refused_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "keys.json").write_bytes(jwks(UNUSABLE[0]))
    with pytest.raises(InvalidSetting, match="no public key"):
        read_keys(tmp_path / "keys.json")


# -- addresses of keys ----------------------------------------------------------------------------------------------


class Provider:
    """Answers with `content`, or fails with it, once it is let go."""

    def __init__(self, content: bytes | Exception = b"") -> None:
        self.content = content or jwks()
        self.fetches = 0
        self.open = asyncio.Event()
        self.open.set()

    async def __call__(self, _address: str) -> bytes:
        self.fetches += 1
        await self.open.wait()
        if isinstance(self.content, Exception):
            raise self.content
        return self.content


def fetched(provider: Provider, clock: Callable[[], float]) -> tuple[KeyAddress, TokenAccess]:
    keys = KeyAddress("https://login.example/keys", provider, clock)
    return keys, TokenAccess(AccessConfig(keys="https://login.example/keys"), NoRuns(), keys, Clock())


async def test_the_first_token_waits_for_the_keys() -> None:
    _keys, access = fetched(Provider(), Clock(0))
    with pytest.raises(Undecided):
        access.identify(bearer(a_token()))
    assert (await access.identify_later(bearer(a_token()))).subject == "ann"
    assert access.identify(bearer(a_token())).subject == "ann"


async def test_all_who_wait_share_one_fetch() -> None:
    provider = Provider()
    provider.open.clear()
    _keys, access = fetched(provider, Clock(0))
    waiting = [asyncio.create_task(access.identify_later(bearer(a_token()))) for _ in range(20)]
    await until(lambda: provider.fetches > 0)
    waiting[0].cancel()
    provider.open.set()
    found = await asyncio.gather(*waiting, return_exceptions=True)
    assert isinstance(found[0], asyncio.CancelledError)
    assert all(isinstance(each, Principal) for each in found[1:])
    assert provider.fetches == 1


async def test_unknown_keys_are_looked_for_seldom() -> None:
    """Anyone can send tokens that name unknown keys: they are refused, and cost a fetch every 10 s at most."""
    provider, clock = Provider(), Clock(0)
    keys, access = fetched(provider, clock)
    await keys.learn()
    unknown = bearer(a_token(header={"kid": "unknown"}))
    for _ in range(5):
        with pytest.raises(NotAuthenticated, match="not known"):
            access.identify(unknown)
        with pytest.raises(NotAuthenticated, match="not known"):
            await access.identify_later(unknown)
    assert provider.fetches == 1
    clock.now = 10
    with pytest.raises(Undecided):
        access.identify(unknown)
    provider.content = jwks(public(a_key("EdDSA"), "unknown"))
    assert (await access.identify_later(unknown)).subject == "ann"
    assert provider.fetches == 2


FAILURES: list[bytes | Exception] = [
    TimeoutError(),
    OSError("no route to host"),
    MalformedKeys("too large"),
    b"<html>",
    jwks({**a_key("EdDSA").as_dict(private=True), "kid": "EdDSA"}),
]


@pytest.mark.parametrize("failure", FAILURES, ids=lambda failure: str(failure)[:20])
async def test_keys_outlive_their_address_for_a_day(failure: bytes | Exception) -> None:
    provider, clock = Provider(), Clock(0)
    keys, access = fetched(provider, clock)
    await keys.learn()
    provider.content = failure
    clock.now = 24 * 3600
    await keys.learn()
    assert access.identify(bearer(a_token())).subject == "ann"
    clock.now += 1
    with pytest.raises(NotAuthenticated, match="no key"):
        access.identify(bearer(a_token()))
    clock.now += 9
    with pytest.raises(NotAuthenticated, match="no key"):
        await access.identify_later(bearer(a_token()))


async def test_a_key_that_the_address_withdraws_counts_no_more() -> None:
    provider, clock = Provider(), Clock(0)
    keys, access = fetched(provider, clock)
    await keys.learn()
    access.identify(bearer(a_token()))
    provider.content, clock.now = b'{"keys": []}', 10
    await keys.learn()
    with pytest.raises(NotAuthenticated):
        access.identify(bearer(a_token()))


async def test_keys_are_fetched_at_the_start() -> None:
    provider = Provider()
    keys, access = fetched(provider, Clock(0))
    running = asyncio.create_task(keys.run())
    await until(lambda: bool(keys.current().keys))
    assert access.identify(bearer(a_token())).subject == "ann"
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


# -- runs ----------------------------------------------------------------------------------------------------------


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
