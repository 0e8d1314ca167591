"""How often the RPC may be called: what kind of call each method is, and against whom it counts."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Final

from starlette.requests import Request

from broker.contract.errors import TestcastError
from ws_edge.access import Action, Principal
from ws_edge.api.outside import limited_address_of
from ws_edge.node import Node
from ws_edge.transport.buckets import TooManyRequests
from ws_edge.transport.quotas import Kind, own_subject

_BY_NAME: Final[Mapping[str, Kind]] = {
    "createRun": "submits",
    "signIn": "sign-ins",
    "openShare": "sign-ins",
    "getConfig": "reads",
    "getSession": "reads",
    "getShot": "pictures",
    "signOut": "reads",
}
_BY_ACTION: Final[Mapping[Action | None, Kind]] = {
    Action.LIST: "lists",
    Action.WATCH: "reads",
    Action.SUBMIT: "submits",
    Action.CANCEL: "cancels",
    Action.PUBLISH: "publishes",
    Action.DELETE: "cancels",
    Action.ADMIN: "cancels",
    None: "sign-ins",
}
_IN_TURN: Final = frozenset({"getEvents"})
"""Their answers are megabytes, of which several copies exist while they are made."""


def kind_of(name: str, action: Action | None) -> Kind:
    """The quota that a method counts against.

    Args:
        action: what it asks for; None for a method that anybody may call.
    """
    return _BY_NAME.get(name) or _BY_ACTION[action]


def count(node: Node, request: Request, name: str, action: Action | None, principal: Principal | None) -> None:
    """Counts a call against its address and its principal.

    Raises:
        TooManyRequests: with when to try again.
    """
    subject = None if principal is None else own_subject(principal)
    node.quotas.take(kind_of(name, action), limited_address_of(node.config, request), subject)


def judged(node: Node, request: Request, error: TestcastError) -> TestcastError:
    """The error to answer with: proofs that are refused are counted, and who sends too many is told so."""
    if error.code != "unauthenticated":
        return error
    try:
        node.quotas.take("sign-ins", limited_address_of(node.config, request))
    except TooManyRequests as too_many:
        return too_many
    return error


@asynccontextmanager
async def turn(node: Node, request: Request, name: str) -> AsyncIterator[None]:
    """Waits until the node has room for the answer of this method.

    Raises:
        TooManyRequests: it had none in time.
    """
    if name not in _IN_TURN:
        yield
        return
    async with node.quotas.turn(limited_address_of(node.config, request)):
        yield
