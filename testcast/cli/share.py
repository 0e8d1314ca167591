"""The command `share`: links that show one run to people without an account. It works through an edge."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import urljoin

import orjson

from broker.contract.durations import duration
from broker.contract.errors import BadInput, NotFound
from testcast import config
from testcast.cli.moments import full
from testcast.cli.names import resolve
from testcast.cli.server import Server
from testcast.cli.terminal import Terminal
from testcast.cli.text import printable
from testcast.client.rpc import RpcClient
from testcast.exit_codes import EXIT_COMPLETED

_SHORTEST_S: Final = 60
_LONGEST_S: Final = 90 * 24 * 3600
"""What edges take."""


async def make(run: str, for_s: int, server: Server, terminal: Terminal, *, as_json: bool) -> int:
    """Makes a link and prints it. It is in this output and nowhere else.

    Raises:
        BadInput: no link lasts that long, or that short. NotFound, EdgeRefused, ConnectionLost.
    """
    if not _SHORTEST_S <= for_s <= _LONGEST_S:
        raise BadInput(f"--for: a link lasts {duration(_SHORTEST_S)} to {duration(_LONGEST_S)}")
    test_id, edge = await _meant(run, server)
    async with RpcClient(edge) as rpc:
        answer = await rpc.call("shareTest", testId=test_id, forSeconds=for_s)
        link = urljoin(f"{rpc.url}/", str(answer["path"]).lstrip("/"))
    if as_json:
        shown = {name: answer.get(name) for name in ("shareId", "expiresAt")}
        terminal.raw(orjson.dumps({"testId": test_id, "link": link, **shown}))
        return EXIT_COMPLETED
    terminal.say(link)
    terminal.note(f"it shows this test alone, until {full(answer['expiresAt'])}")
    terminal.note(f"to end it before: testcast share {test_id} --revoke {printable(str(answer['shareId']))}")
    return EXIT_COMPLETED


async def show(run: str, server: Server, terminal: Terminal, *, as_json: bool) -> int:
    """Prints the links of a run that work at the moment; their secrets are kept nowhere.

    Raises:
        NotFound, EdgeRefused, ConnectionLost.
    """
    test_id, edge = await _meant(run, server)
    async with RpcClient(edge) as rpc:
        shares: list[dict[str, Any]] = (await rpc.call("listShares", testId=test_id))["shares"]
    for each in shares:
        if as_json:
            terminal.raw(orjson.dumps(each))
        else:
            by, share_id = printable(str(each.get("by", ""))), printable(str(each["shareId"]))
            terminal.say(f"{share_id}  until {full(each['expiresAt'])}  by {by}")
    if not shares and not as_json:
        terminal.note("there is no link to this test")
    return EXIT_COMPLETED


async def revoke(run: str, share_id: str, server: Server, terminal: Terminal, *, as_json: bool) -> int:
    """Ends a link: whoever has opened it sees the run no longer.

    Raises:
        BadInput: there is no such link. EdgeRefused, ConnectionLost.
    """
    test_id, edge = await _meant(run, server)
    async with RpcClient(edge) as rpc:
        try:
            await rpc.call("unshareTest", testId=test_id, shareId=share_id)
        except NotFound:
            link = printable(share_id)
            raise BadInput(f"there is no test {test_id}, or it has no link {link!r} that works: see --list") from None
    if as_json:
        terminal.raw(orjson.dumps({"testId": test_id, "shareId": share_id, "ended": True}))
    else:
        terminal.say(f"ended {printable(share_id)}")
    return EXIT_COMPLETED


async def _meant(run: str, server: Server) -> tuple[str, str]:
    """The test id that a name stands for, and the address of the edge that is asked."""
    edge = server.edge or config.local_edge()
    return await resolve(run, Server(edge, None, None)), edge
