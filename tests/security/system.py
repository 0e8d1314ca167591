"""The system under attack: a nats-server, two edges with tokens, two projects with runs; and clients for attackers."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import os
import ssl
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import httpx
import orjson
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from broker import identity
from broker.jetstream import topology
from broker.jetstream.api import Streams
from broker.jetstream.connection import Connection
from broker.local.embedded_server import EmbeddedServer
from tests.harness import EdgeProcess, PatientStreams, publish, store_picture, until
from tests.security.mint import Keys

DEADLINE_S: Final = 20.0
"""How long an answer may take on a busy machine."""
_NO_TLS: Final = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""One for all clients: httpx reads every certificate of the machine for each of its own."""
OTHER_ISSUER: Final = "other-issuer"
ALLOWED_PAGE: Final = "https://team.example"
"""The origin of another site's pages that may open sockets, with tickets."""


class Planted(NamedTuple):
    """A run, and the words by which an answer gives it away."""

    test_id: str
    title: str
    message: str
    picture: bytes
    last_seq: int

    @property
    def words(self) -> tuple[str, ...]:
        """What must not stand in any answer to a stranger. The test id is not among them: the stranger sent it."""
        return self.title, self.message, self.picture.decode("latin-1")


async def plant(streams: Streams, project: str) -> Planted:
    """Publishes a run with a picture in a project, still running."""
    test_id, mark = identity.new_test_id(), os.urandom(4).hex()
    run = Planted(test_id, f"Title-{project}-{mark}", f"Message-{project}-{mark}", b"\xff\xd8\xff " + mark.encode(), 0)
    data = {"title": run.title, "gameUrl": "http://game.example/", "project": project}
    await publish(streams, test_id, "Queued", "status", status="queued", data=data)
    await publish(streams, test_id, run.message, "status", status="running", data={"attempt": 1, "worker": "w1"})
    await store_picture(streams, test_id, run.picture)
    stored = await publish(streams, test_id, run.message, data={"action": run.message})
    return run._replace(last_seq=stored.seq)


class System:
    """Everything that is attacked. All but `planted` is started once per process of tests.

    `edge` takes tokens of `keys`, and `other` those of `other_keys`, by another issuer, and of an HS256 secret. There,
    anybody may read the project `public`. Both edges share the broker and the key of sessions.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.broker = EmbeddedServer(directory / "nats")
        self.keys, self.other_keys = Keys.make(), Keys.make()
        self.edge: EdgeProcess
        self.other: EdgeProcess
        self.alpha: Planted
        self.beta: Planted
        self._addresses = itertools.count(2)
        self._logged = [0, 0]

    async def start(self) -> None:
        """Starts all of it, and returns when both edges know both runs."""
        await self.broker.start()
        await self._plant()
        session_key = self.directory / "session.key"
        session_key.write_bytes(os.urandom(32))
        session_key.chmod(0o600)
        common = {
            "TESTCAST_ACCESS_SESSION_KEY_FILE": str(session_key),
            "TESTCAST_EDGE_ALLOWED_ORIGINS": ALLOWED_PAGE,
            "TESTCAST_AGENT_ALLOW_PRIVATE": "0",
        }
        for name in ("edge", "other"):
            (self.directory / name).mkdir()
        secret = self.directory / "other" / "secret"
        secret.write_bytes(self.other_keys.secret)
        secret.chmod(0o600)
        others = {
            "TESTCAST_ACCESS_ISSUER": OTHER_ISSUER,
            "TESTCAST_ACCESS_ANONYMOUS": "public",
            "TESTCAST_ACCESS_SECRET_FILE": str(secret),
            "TESTCAST_ACCESS_ALGORITHMS": "EdDSA,ES256,RS256,HS256",
        }
        self.edge = self._edge("edge", self.keys, common)
        self.other = self._edge("other", self.other_keys, common | others)
        for edge in (self.edge, self.other):
            edge.spawn()
        await asyncio.gather(self.edge.until_ready(), self.other.until_ready())
        await self.until_known(self.alpha, self.beta)

    def _edge(self, name: str, keys: Keys, settings: dict[str, str]) -> EdgeProcess:
        folder = self.directory / name
        return EdgeProcess(self.broker.url, folder, **settings, **keys.write(folder))

    async def _plant(self) -> None:
        async with self.streams() as streams:
            await topology.apply(streams.nats)
            self.alpha, self.beta = await plant(streams, "alpha"), await plant(streams, "beta")

    @contextlib.asynccontextmanager
    async def streams(self) -> AsyncIterator[Streams]:
        """JetStream of the broker, past every edge."""
        nats = await Connection.connect(self.broker.url, name="attacks")
        try:
            yield PatientStreams(nats)
        finally:
            await nats.close()

    async def planted(self, project: str) -> Planted:
        """A run of this attack's own, known to both edges."""
        async with self.streams() as streams:
            run = await plant(streams, project)
        await self.until_known(run)
        return run

    async def until_known(self, *planted: Planted) -> None:
        """Waits until both edges have folded all events of these runs."""
        for edge, issuer, keys in ((self.edge, None, self.keys), (self.other, OTHER_ISSUER, self.other_keys)):
            changes = {"iss": issuer} if issuer else {}
            async with self.visitor(keys.good("admin", projects="*", **changes), edge=edge) as admin:
                for run in planted:
                    await until(functools.partial(_is_folded, admin, run), within_s=30, what=edge.url)

    async def stop(self) -> None:
        """Ends every process."""
        for name in ("edge", "other"):
            edge: EdgeProcess | None = getattr(self, name, None)
            if edge is not None:
                await edge.stop()
        await self.broker.stop()

    def address(self) -> str:
        """A loopback address that nobody has used, so that limits by address hold no attack for another's."""
        number = next(self._addresses)
        return f"127.{1 + os.getpid() % 250}.{number // 250}.{1 + number % 250}"

    @contextlib.asynccontextmanager
    async def visitor(
        self, token: str | None = None, *, edge: EdgeProcess | None = None, address: str | None = None
    ) -> AsyncIterator[Visitor]:
        """A client at an address of its own.

        Args:
            token: sent as a bearer token with each request.
            edge: None for `edge`.
        """
        visitor = Visitor(edge or self.edge, token, address or self.address())
        async with visitor.http:
            yield visitor

    def ann(self, **changes: Any) -> str:
        """A good token of project alpha with all actions, of a subject that has used up no limit."""
        return self.keys.good(f"ann-{next(self._addresses)}", **changes)

    def bob(self, **changes: Any) -> str:
        """A good token of project beta with all actions, of a subject that has used up no limit."""
        return self.keys.good(f"bob-{next(self._addresses)}", **({"projects": ["beta"]} | changes))

    def admin(self) -> str:
        """A good token of every project."""
        return self.keys.good("admin", projects="*")

    def mark_log(self) -> None:
        """`log` begins here."""
        self._logged = [edge.log.stat().st_size for edge in (self.edge, self.other)]

    def log(self) -> str:
        """What both edges have logged since `mark_log`."""
        texts = [edge.log.read_bytes()[at:] for edge, at in zip((self.edge, self.other), self._logged, strict=True)]
        return b"\n".join(texts).decode(errors="replace")


async def _is_folded(admin: Visitor, run: Planted) -> bool:
    answer = await admin.query("getTest", testId=run.test_id)
    if answer.status_code == 401:
        raise AssertionError(f"a good token is refused: {answer.text}")
    return answer.status_code == 200 and answer.json()["test"]["seq"] >= run.last_seq


class Refused(NamedTuple):
    """How a socket was refused: by an HTTP status, or by a close code after the handshake."""

    code: int
    text: str = ""


class Visitor:
    """One client of an edge: HTTP, sockets and plain bytes, from one address."""

    def __init__(self, edge: EdgeProcess, token: str | None, address: str) -> None:
        self.edge, self.token, self.address = edge, token, address
        self.heard: list[str] = []
        """What the newest socket of `refusal` was told."""
        # No connection is used twice: an edge may close one that rests just when the next request goes out.
        alone = httpx.Limits(max_keepalive_connections=0)
        transport = httpx.AsyncHTTPTransport(_NO_TLS, local_address=address, limits=alone, trust_env=False)
        self.http = httpx.AsyncClient(transport=transport, base_url=edge.url, timeout=DEADLINE_S, trust_env=False)

    @property
    def origin(self) -> str:
        """The origin of the edge's own pages."""
        return self.edge.url

    def _headers(self, headers: dict[str, str] | None) -> dict[str, str]:
        proof = {"authorization": f"Bearer {self.token}".rstrip()} if self.token is not None else {}
        return proof | (headers or {})

    async def get(self, path: str, headers: dict[str, str] | None = None) -> httpx.Response:
        """GET, with the token if there is one. The path goes out as it is."""
        return await self.http.get(path, headers=self._headers(headers))

    async def query(self, method: str, headers: dict[str, str] | None = None, **params: Any) -> httpx.Response:
        """GET of an RPC method."""
        return await self.http.get(f"/rpc/{method}", params=params, headers=self._headers(headers))

    async def rpc(
        self, method: str, params: Any = None, headers: dict[str, str] | None = None, content: bytes | None = None
    ) -> httpx.Response:
        """POST of an RPC method, as a page of the edge sends it."""
        standard = {"content-type": "application/json", "origin": self.origin}
        body = content if content is not None else orjson.dumps({} if params is None else params)
        return await self.http.post(f"/rpc/{method}", content=body, headers=self._headers(standard | (headers or {})))

    @contextlib.asynccontextmanager
    async def socket(
        self, query: str = "", headers: dict[str, str] | None = None, *, subprotocols: Sequence[str] = (), **more: Any
    ) -> AsyncIterator[ClientConnection]:
        """An open socket.

        Raises:
            InvalidStatus: the upgrade is refused.
        """
        async with connect(
            self.edge.ws_url + query,
            additional_headers=self._headers(headers),
            subprotocols=list(subprotocols) or None,  # type: ignore[arg-type]
            local_addr=(self.address, 0),
            compression=None,
            open_timeout=DEADLINE_S,
            max_size=None,
            **more,
        ) as connection:
            yield connection

    async def refusal(
        self,
        query: str = "",
        headers: dict[str, str] | None = None,
        *,
        say: Sequence[dict[str, Any]] = (),
        subprotocols: Sequence[str] = (),
        within_s: float = DEADLINE_S,
    ) -> Refused:
        """How a socket is refused.

        Args:
            say: messages to send once it is open.

        Raises:
            AssertionError: it was opened and stays open.
        """
        heard = self.heard = []
        try:
            async with self.socket(query, headers, subprotocols=subprotocols) as connection:
                for message in say:
                    await connection.send(orjson.dumps(message).decode())
                async with asyncio.timeout(within_s):
                    while True:
                        heard.append(str(await connection.recv()))
        except InvalidStatus as refused:
            return Refused(refused.response.status_code, (refused.response.body or b"").decode())
        except ConnectionClosed as closed:
            return Refused(closed.rcvd.code if closed.rcvd else 1006, "\n".join(heard))
        except TimeoutError:
            raise AssertionError(f"the socket is open: {heard}") from None

    async def raw(self, *pieces: bytes) -> bytes:
        """Sends bytes and reads until the edge closes the connection.

        Raises:
            TimeoutError: it does not close. Ask for it with `Connection: close`.
        """
        async with self.stream() as (reader, writer):
            received = b""
            async with asyncio.timeout(DEADLINE_S):
                with contextlib.suppress(ConnectionError):
                    for piece in pieces:
                        writer.write(piece)
                        await writer.drain()
                    while chunk := await reader.read(65536):
                        received += chunk
            return received

    @contextlib.asynccontextmanager
    async def stream(self) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        """A connection of plain bytes."""
        opened = asyncio.open_connection("127.0.0.1", self.edge.port, local_addr=(self.address, 0))
        async with asyncio.timeout(DEADLINE_S):
            reader, writer = await opened
        try:
            yield reader, writer
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    @contextlib.asynccontextmanager
    async def upgraded(
        self, target: str = "/ws", *lines: str
    ) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        """An open socket of plain bytes: the 101 is read."""
        async with self.stream() as (reader, writer):
            writer.write(self.upgrade(target, *lines))
            async with asyncio.timeout(DEADLINE_S):
                head = await reader.readuntil(b"\r\n\r\n")
            assert status_of(head) == 101, head
            assert b"extensions" not in head.lower()
            yield reader, writer

    async def framed(self, *sent: bytes, target: str = "/ws", lines: Sequence[str] = ()) -> bytes:
        """Opens a socket, sends bytes on it, and returns all that the edge sends until it closes the connection.

        Raises:
            TimeoutError: it does not close.
        """
        async with self.upgraded(target, *lines) as (reader, writer):
            received = b""
            async with asyncio.timeout(DEADLINE_S):
                with contextlib.suppress(ConnectionError):
                    for piece in sent:
                        writer.write(piece)
                        await writer.drain()
                with contextlib.suppress(ConnectionError):
                    while chunk := await reader.read(65536):
                        received += chunk
            return received

    def head(self, target: str, *lines: str, method: str = "GET", host: str | None = None) -> bytes:
        """A request head with Host, the token and these lines."""
        proof = [f"Authorization: Bearer {self.token}"] if self.token is not None else []
        first = [f"{method} {target} HTTP/1.1", f"Host: {host or f'127.0.0.1:{self.edge.port}'}"]
        return "\r\n".join([*first, *proof, *lines, "", ""]).encode("latin-1")

    def upgrade(self, target: str = "/ws", *lines: str, host: str | None = None) -> bytes:
        """The head of an upgrade request."""
        standard = ("Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13")
        return self.head(target, *standard, "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", *lines, host=host)


def status_of(answer: bytes) -> int:
    """The status of a raw answer; 0 where there is none."""
    first = answer.split(b"\r\n", 1)[0].split(b" ")
    return int(first[1]) if len(first) > 1 and first[0].startswith(b"HTTP/1.") else 0


def statuses_of(answer: bytes) -> list[int]:
    """The statuses of all answers on one connection."""
    return [int(line.split(b" ")[1]) for line in answer.split(b"\r\n") if line.startswith(b"HTTP/1.1 ")]


def code_of(answer: httpx.Response) -> str:
    """The code of an RPC's error; empty where it is none."""
    try:
        body = answer.json()
    except ValueError:
        return ""
    return str(body.get("error", {}).get("code", "")) if isinstance(body, dict) else ""


def says_nothing_of(text: str | bytes, *planted: Planted) -> None:
    """Asserts that an answer has no word of these runs."""
    shown = text.decode("latin-1") if isinstance(text, bytes) else text
    for run in planted:
        for word in run.words:
            assert word not in shown, f"{word!r} got out: {shown[:500]}"
