"""Listening sockets on uvloop."""

from __future__ import annotations

import asyncio
import socket

import uvloop

from ws_edge.transport.listener import accept_sockets, listen


def test_several_connections_are_accepted_in_a_turn_of_the_loop() -> None:
    async def play() -> int:
        """The most that were accepted in one turn."""
        loop = asyncio.get_running_loop()
        [listening] = listen("127.0.0.1", 0)
        waiting = [socket.create_connection(listening.getsockname()) for _ in range(40)]
        a_turn, most, accepted = 0, 0, 0
        everybody = loop.create_future()

        class Accepted(asyncio.Protocol):
            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                nonlocal a_turn, accepted
                a_turn, accepted = a_turn + 1, accepted + 1
                if accepted == len(waiting):
                    everybody.set_result(None)

        def turn() -> None:
            nonlocal a_turn, most
            most, a_turn = max(most, a_turn), 0
            if not everybody.done():
                loop.call_soon(turn)

        servers = [await loop.create_server(Accepted, sock=each) for each in accept_sockets(listening)]
        turn()
        async with asyncio.timeout(20):
            await everybody
        turn()
        for server in servers:
            server.close()
        for each in waiting:
            each.close()
        return most

    assert uvloop.run(play()) >= 4
