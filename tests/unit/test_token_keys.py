"""Where keys come from: a source that is broken or away changes nothing, and a key that it withdraws counts no more."""

from __future__ import annotations

import asyncio
import gzip
import ssl
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from broker.contract.errors import InvalidSetting
from broker.contract.token_keys import MAX_KEYS, MAX_KEYS_BYTES, MalformedKeys, parse_keys
from tests.harness import until
from tests.token_access import Clock, KeysInAFile, NoRuns, bearer
from tests.tokens import a_key, a_token, jwks, public
from ws_edge.access import NotAuthenticated, Principal, Undecided
from ws_edge.access.keys import KeyAddress, fetch, read_keys
from ws_edge.access.settings import AccessConfig
from ws_edge.access.token_access import TokenAccess


@pytest.fixture
def key(tmp_path: Path) -> KeysInAFile:
    return KeysInAFile(tmp_path / "keys.json")


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


@pytest.mark.parametrize("content", BROKEN, ids=range(len(BROKEN)))
def test_a_broken_file_is_refused_at_the_start_and_changes_nothing_later(content: bytes, key: KeysInAFile) -> None:
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


def test_a_file_that_is_gone_changes_nothing(key: KeysInAFile) -> None:
    key.path.unlink()
    key.monotonic.now += 1
    assert key.access.identify(bearer(a_token())).subject == "ann"


def test_a_file_is_looked_at_once_a_second(key: KeysInAFile) -> None:
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


@pytest.mark.parametrize("member", UNUSABLE, ids=range(len(UNUSABLE)))
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


@pytest.mark.parametrize("failure", FAILURES, ids=range(len(FAILURES)))
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
    assert not keys.read
    await until(lambda: bool(keys.current().keys))
    assert keys.read
    assert access.identify(bearer(a_token())).subject == "ann"
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


# -- fetching -------------------------------------------------------------------------------------------------------


class Server:
    """An https server on loopback that answers every request with `answer`."""

    def __init__(self, directory: Path) -> None:
        self.answer = b""
        self.asked = b""
        self.trusting = ssl.create_default_context(cadata=self._certificate(directory))
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._tls.load_cert_chain(directory / "both.pem")

    def _certificate(self, directory: Path) -> str:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
        now = datetime.now(UTC)
        certificate = (
            x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
            .sign(key, hashes.SHA256())
        )
        pem = certificate.public_bytes(Encoding.PEM)
        (directory / "both.pem").write_bytes(pem + key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return pem.decode()

    async def __aenter__(self) -> Server:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._tls)
        self.address = f"https://localhost:{self._server.sockets[0].getsockname()[1]}/keys?from=edge"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            self.asked = await reader.readuntil(b"\r\n\r\n")
            writer.write(self.answer)
            await writer.drain()
            writer.close()


def http(body: bytes, status: str = "200 OK", **headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "connection: close", "", ""]).encode() + body


@pytest.fixture
def direct(monkeypatch: pytest.MonkeyPatch) -> None:
    """Variables that would lead a client elsewhere, or make it trust or tell others."""
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")


@pytest.mark.usefixtures("direct")
async def test_keys_are_fetched_directly_over_tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "netrc").write_text("machine localhost login ann password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    async with Server(tmp_path) as server:
        server.answer = http(jwks())
        assert await fetch(server.address, server.trusting) == jwks()
        assert server.asked.startswith(b"GET /keys?from=edge HTTP/1.1")
        assert b"authorization" not in server.asked.lower() and b"accept-encoding: identity" in server.asked.lower()
        with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
            await fetch(server.address)


ANSWERS = {
    "too large": (http(b" " * (MAX_KEYS_BYTES + 1)), "larger than"),
    "compressed": (http(gzip.compress(b" " * 10_000_000), content_encoding="gzip"), "compressed"),
    "a redirect": (http(b"", "302 Found", location="https://evil.example/keys"), "HTTP 302"),
    "an error": (http(jwks(), "500 Oops"), "HTTP 500"),
    "not allowed": (http(jwks(), "203 Changed"), "HTTP 203"),
}


@pytest.mark.parametrize("what", ANSWERS)
async def test_other_answers_are_refused(what: str, tmp_path: Path) -> None:
    async with Server(tmp_path) as server:
        server.answer, reason = ANSWERS[what]
        with pytest.raises(MalformedKeys, match=reason):
            await fetch(server.address, server.trusting)


async def test_what_is_no_http_is_a_failure(tmp_path: Path) -> None:
    async with Server(tmp_path) as server:
        server.answer = b"hello\r\n\r\n"
        keys = KeyAddress(server.address, lambda address: fetch(address, server.trusting), Clock(0))
        await keys.learn()
        assert keys.statistics().failures == 1
