"""What the tests of the egress proxy share: a server behind it, a resolver, and requests as bytes."""

from __future__ import annotations

import asyncio

from agent_worker.games.chromium.egress_proxy import EgressProxy


class Upstream:
    """A server that records what it is sent, and answers every request without closing."""

    def __init__(self) -> None:
        self.heads: list[str] = []
        self.port = 0
        self.answer = b"HTTP/1.1 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nhi"
        self.closes = False
        self.behind = bytearray()
        """What came behind the head of a request with a body."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                self.heads.append(head.decode("latin-1"))
                if head.startswith(b"POST"):
                    while not self.behind.endswith(b"end\r\n0\r\n\r\n" if b"chunked" in head else b"end"):
                        self.behind += await reader.read(1000)
                writer.write(self.answer)
                if self.closes:
                    return
        except (OSError, EOFError):
            pass
        finally:
            writer.close()


class Names:
    """A resolver that answers from a script, one line a question."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    async def __call__(self, host: str, port: int) -> list[str]:
        self.asked.append(host)
        if not self.answers:
            raise OSError("no such name")
        return self.answers.pop(0)


async def ask(proxy: EgressProxy, request: str, size: int | None = None) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", int(proxy.url.rpartition(":")[2]))
    try:
        writer.write(request.encode("latin-1"))
        async with asyncio.timeout(10):
            return await (reader.readexactly(size) if size else reader.read())
    finally:
        writer.close()


def get(url: str) -> str:
    return f"GET {url} HTTP/1.1\r\nHost: a.example\r\nProxy-Connection: keep-alive\r\nX-Mine: 1\r\n\r\n"


def request(*fields: str, method: str = "POST", body: str = "", target: str = "http://a.example/") -> str:
    return "\r\n".join([f"{method} {target} HTTP/1.1", "Host: a.example", *fields, "", body])
