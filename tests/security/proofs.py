"""Proofs of who asks that are no tokens: session cookies, tickets, and how they are tampered with."""

from __future__ import annotations

import base64
from typing import Any, Final

import orjson
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from tests.harness import Reader
from tests.security.mint import b64, token
from tests.security.system import DEADLINE_S, Refused, Visitor

SESSION: Final = "__Host-testcast"
REFUSED: Final = (401, 403, 4401, 4403)


async def cookie_of(visitor: Visitor, given: str) -> str:
    """Signs in, and returns `name=value` of the session's cookie."""
    answer = await visitor.rpc("signIn", {"token": given})
    assert answer.status_code in (200, 204), answer.text
    return str(answer.headers["set-cookie"].split(";")[0])


async def ticket_of(visitor: Visitor, headers: dict[str, str] | None = None) -> str:
    """A ticket for the visitor's principal."""
    answer = await visitor.rpc("getTicket", headers=headers)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["ticket"])


async def is_opened(visitor: Visitor, ticket: str, origin: str | None, run: str) -> bool:
    """Whether a socket with this ticket is told of a run."""
    headers = {"origin": origin} if origin else {}
    offered = ["testcast.v1", f"ticket.{ticket}"]
    try:
        async with visitor.socket(f"?testId={run}", headers, subprotocols=offered) as connection:
            assert connection.subprotocol == "testcast.v1", "the ticket is not named in the answer"
            message = await Reader(connection).next(DEADLINE_S)
            return bool(message["type"] == "sync")
    except (InvalidHandshake, ConnectionClosed):
        return False


async def refused_ticket(visitor: Visitor, ticket: str, headers: dict[str, str] | None = None) -> Refused:
    """How a socket with this ticket is refused."""
    return await visitor.refusal("", headers, subprotocols=["testcast.v1", f"ticket.{ticket}"])


def changed(value: str) -> dict[str, str]:
    """A session's value with each of its parts changed."""
    parts = value.split(".")
    found = {"cut": value[:-2], "doubled": value + value, "empty": "", "dots": "..", "spaced": f" {value} x"}
    found["flipped"] = value[:-6] + ("A" if value[-6] != "A" else "B") + value[-5:]
    if len(parts) == 3:
        claims = orjson.loads(base64.urlsafe_b64decode(parts[1] + "==")) | {"projects": "*", "exp": 9999999999}
        found["projects changed"] = ".".join([parts[0], b64(orjson.dumps(claims)), parts[2]])
        header = orjson.loads(base64.urlsafe_b64decode(parts[0] + "=="))
        found["alg none"] = token(header | {"alg": "none"}, claims, None)
        found["HMAC with an empty key"] = token(header | {"alg": "HS256"}, claims, b"")
        found["HMAC with zeros"] = token(header | {"alg": "HS256"}, claims, bytes(32))
    return found


async def shared(visitor: Visitor, run: str, for_seconds: float = 600) -> tuple[str, str]:
    """Makes a share link. Returns its id and its secret."""
    answer = await visitor.rpc("shareTest", {"testId": run, "forSeconds": for_seconds})
    assert answer.status_code == 200, answer.text
    body = answer.json()
    path, _, secret = body["path"].partition("#share=")
    assert path == f"/tests/{run}" and len(secret) >= 22, "128 bits, behind the fragment's sign"
    return body["shareId"], secret


async def opened(visitor: Visitor, run: str, secret: Any) -> dict[str, str]:
    """Exchanges a secret for a cookie. Returns it as headers; empty where it was refused."""
    answer = await visitor.rpc("openShare", {"testId": run, "secret": secret})
    if answer.status_code not in (200, 204):
        assert answer.status_code in (400, 401, 403, 404, 429), answer.text
        assert "set-cookie" not in answer.headers
        return {}
    set_cookie = answer.headers["set-cookie"]
    assert set_cookie.startswith(f"__Host-testcast-share-{run}=")
    assert all(each in set_cookie.lower() for each in ("secure", "httponly", "samesite=lax", "path=/"))
    return {"cookie": set_cookie.split(";")[0]}
