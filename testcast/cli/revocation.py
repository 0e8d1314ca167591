"""The command `token revoke`."""

from __future__ import annotations

from typing import Any

from broker.contract import tokens as contract
from broker.contract.errors import BadInput
from testcast.cli.terminal import Terminal
from testcast.cli.tokens import given_token
from testcast.client.rpc import RpcClient
from testcast.exit_codes import EXIT_COMPLETED


async def revoke(edge: str, file: str | None, jti: str | None, terminal: Terminal) -> int:
    """Revokes a token by an edge's `revokeToken`. Returns the exit status.

    Args:
        edge: the edge's address.
        file: of the token; None or `-`: standard input. Nothing is read where `jti` is given.
        jti: the id of the token.

    Raises:
        BadInput: the token has no id, or is none.
        EdgeRefused, ConnectionLost: it was not revoked.
    """
    if jti is not None and file is not None:
        raise BadInput("give either --jti or a token, not both")
    wanted: dict[str, Any] = {"jti": jti} if jti is not None else _named(given_token(file))
    async with RpcClient(edge) as rpc:
        await rpc.call("revokeToken", **wanted)
    terminal.note(f"revoked the token {wanted['jti']}: no edge takes it any more")
    return EXIT_COMPLETED


def _named(text: str) -> dict[str, Any]:
    """What names a token. Its signature is of no interest: nobody is let in by being refused."""
    claims = contract.parse(text).claims
    jti, until = claims.get("jti"), claims.get("exp")
    if not isinstance(jti, str) or not jti:
        raise BadInput("this token has no id (jti), so it cannot be revoked: it counts until it expires")
    return {"jti": jti, "until": until if isinstance(until, int | float) and not isinstance(until, bool) else None}
