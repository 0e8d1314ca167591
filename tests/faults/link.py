"""A TCP proxy that fails on demand: cut, half-open, delayed, throttled. It does not parse what it forwards."""

from __future__ import annotations

import asyncio
from typing import Final, NamedTuple, Self

_CHUNK_BYTES: Final = 16 * 1024
_QUEUED: Final = 64  # chunks in flight: a delayed link buffers this many before it stops reading


class Weather(NamedTuple):
    """The condition of a link."""

    cut: bool = False
    """Existing connections are reset, new ones are refused."""
    stalled: bool = False
    """Half-open: connections stay open and are accepted, but bytes are held back until this ends."""
    delay_s: float = 0.0
    """Delay in each direction."""
    bytes_per_s: float = 0.0
    """Limit per direction and connection; 0 for no limit."""


CLEAR: Final = Weather()
"""A link without faults."""


class Link:
    """Forwards to one port of this machine. `weather` may be set at any time. An async context manager."""

    def __init__(self, target_port: int) -> None:
        self.target_port = target_port
        self.port = 0
        self._weather = CLEAR
        self._changed = asyncio.Event()
        self._server: asyncio.Server
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()

    def __repr__(self) -> str:
        return f"<Link {self.port}->{self.target_port} {self._weather} connections={len(self._writers) // 2}>"

    @property
    def weather(self) -> Weather:
        """The current condition. Setting it affects existing connections too."""
        return self._weather

    @weather.setter
    def weather(self, weather: Weather) -> None:
        self._weather = weather
        self._changed.set()
        self._changed = asyncio.Event()
        if weather.cut:
            for writer in self._writers:
                writer.transport.abort()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, backlog=1024)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._writers.add(writer)
        onward: asyncio.StreamWriter | None = None
        try:
            if self._weather.cut:
                return
            await self._until_clear()
            answers, onward = await asyncio.open_connection("127.0.0.1", self.target_port)
            self._writers.add(onward)
            async with asyncio.TaskGroup() as group:
                group.create_task(self._carry(reader, onward))
                group.create_task(self._carry(answers, writer))
        except (OSError, ExceptionGroup, asyncio.CancelledError):
            pass  # one side ended, so the other is closed
        finally:
            for each in filter(None, (writer, onward)):
                each.transport.abort()
                self._writers.discard(each)
            self._tasks.discard(task)

    async def _carry(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        """Forwards one direction. Raises when either side ends."""
        way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_QUEUED)
        clock = asyncio.get_running_loop().time

        async def take_in() -> None:
            data = b"."
            while data:
                data = await source.read(_CHUNK_BYTES)
                await way.put((clock() + self._weather.delay_s, data))

        async def put_out() -> None:
            while True:
                due, data = await way.get()
                if (early_s := due - clock()) > 0:
                    await asyncio.sleep(early_s)
                await self._until_clear()
                if not data:
                    raise ConnectionResetError
                if self._weather.bytes_per_s:
                    await asyncio.sleep(len(data) / self._weather.bytes_per_s)
                sink.write(data)
                await sink.drain()

        async with asyncio.TaskGroup() as group:
            group.create_task(take_in())
            group.create_task(put_out())

    async def _until_clear(self) -> None:
        while self._weather.stalled:
            await self._changed.wait()
