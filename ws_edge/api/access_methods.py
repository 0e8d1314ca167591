"""The methods of signing in, of tickets and of share links.

Times in answers are ms since 1970. No answer of these methods may be kept by anybody (`no-store`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec
import orjson
from starlette.requests import Request

from broker.contract.errors import BadInput, BrokerRefused, BrokerUnavailable, NotFound
from ws_edge.access import AccessDenied, Action, NotAuthenticated, Principal, Undecided, audit
from ws_edge.access.access import bearer
from ws_edge.access.cookies import SESSION, clear_cookie, own_cookies
from ws_edge.access.records import MAX_SHARE_S, MIN_SHARE_S, Share, session_proof, token_proof
from ws_edge.api.calls import Answer, Method, NoParams, Params, RunParams, principal_of
from ws_edge.api.outside import address_of, header_of, is_foreign_page, proofs_of
from ws_edge.node import Node

if TYPE_CHECKING:
    from ws_edge.access.proofs import ProofAccess
    from ws_edge.access.shares import Shares

_MAX_TOKEN_CHARS: Final = 8 * 1024


class SignIn(Params):
    """`signIn`."""

    token: Annotated[str, msgspec.Meta(min_length=1, max_length=_MAX_TOKEN_CHARS)]


class ShareTest(RunParams):
    """`shareTest`."""

    for_seconds: Annotated[float, msgspec.Meta(ge=MIN_SHARE_S, le=MAX_SHARE_S)]


class UnshareTest(RunParams):
    """`unshareTest`."""

    share_id: Annotated[str, msgspec.Meta(max_length=64)]


class OpenShare(RunParams):
    """`openShare`."""

    secret: Annotated[str, msgspec.Meta(max_length=100)]


class RevokeToken(Params):
    """`revokeToken`."""

    jti: Annotated[str, msgspec.Meta(min_length=1, max_length=255)]
    until: Annotated[float, msgspec.Meta(ge=0, lt=2**53)] | None = None
    """When the token expires, seconds since 1970 as in its `exp`."""


# -- sessions -----------------------------------------------------------------------------------------------------


async def get_session(node: Node, request: Request, _params: NoParams) -> Answer:
    """Who asks, as far as it can be told, and how to sign in. Cookies that do not count are removed."""
    proofs = node.proofs
    if proofs is None:
        return _answer({"required": False, "ways": []})
    header = proofs_of(node.config, request)
    try:
        try:
            principal: Principal | None = proofs.identify(header)
        except Undecided:
            principal = await proofs.identify_later(header)
    except NotAuthenticated:
        principal = None
    return _answer(_session(node, principal), *proofs.wrong_cookies(header))


async def sign_in(node: Node, request: Request, params: SignIn) -> Answer:
    """Begins a session for the browser that sends a token."""
    proofs = _proofs(node)
    _check_own_page(node, request)
    if proofs.sessions is None:
        raise _no_session_key()
    try:
        principal = await proofs.identify_later(bearer(params.token))
    except NotAuthenticated as error:
        audit.refused("sign in", error.code, subject="unknown", address=address_of(node.config, request))
        raise
    new = proofs.sessions.begin(principal)
    audit.acted("sign in", subject=principal.subject, address=address_of(node.config, request))
    return _answer(_session(node, new.principal), new.cookie)


async def sign_out(node: Node, request: Request, _params: NoParams) -> Answer:
    """Ends the session on every edge, and removes its cookie. `ended`: also for whoever has copied it."""
    proofs, ended = _proofs(node), False
    _check_own_page(node, request)
    try:
        principal = proofs.session_in(proofs_of(node.config, request))
        if principal is not None and principal.session_id is not None:
            proof = session_proof(principal.session_id)
            await proofs.records.revoke(proof, principal.expires_at, principal.subject)
            ended = True
            audit.acted("sign out", subject=principal.subject, address=address_of(node.config, request))
    except (NotAuthenticated, BrokerUnavailable, BrokerRefused):
        pass  # the browser forgets it all the same
    return _answer({"ended": ended}, clear_cookie(SESSION))


async def get_ticket(node: Node, request: Request, _params: NoParams) -> Answer:
    """A ticket that opens one socket, for a page of the Origin that asks."""
    proofs, principal = _proofs(node), principal_of(request)
    if principal.expires_at is None:
        raise NotAuthenticated("a ticket is for who has a token or a session")
    if proofs.tickets is None:
        raise _no_session_key()
    ticket, for_s = proofs.tickets.issue(principal, header_of(request)("origin"))
    return _answer({"ticket": ticket, "expiresInMs": int(for_s * 1000)})


async def revoke_token(node: Node, request: Request, params: RevokeToken) -> Answer:
    """Revokes a token and all sessions and tickets that were made from it, on every edge, also on open sockets."""
    proofs, principal = _proofs(node), principal_of(request)
    if principal.projects is not None:
        raise AccessDenied("only who may see all projects may revoke a token")
    await proofs.records.revoke(token_proof(params.jti), params.until, principal.subject)
    until = None if params.until is None else int(params.until * 1000)
    return _answer({"jti": params.jti, "until": until})._replace(about=params.jti)


# -- share links ----------------------------------------------------------------------------------------------------


async def share_test(node: Node, request: Request, params: ShareTest) -> Answer:
    """Makes a link that shows one run. Its secret is in this answer and nowhere else."""
    new = await _shares(node).make(principal_of(request), params.test_id, params.for_seconds)
    path = f"/tests/{params.test_id}#share={new.secret}"
    answer = {"shareId": new.share.share_id, "path": path, "expiresAt": _ms(new.share.expires_at)}
    return _answer(answer)._replace(about=new.share.share_id)


async def list_shares(node: Node, request: Request, params: RunParams) -> Answer:
    """The links of a run that count at the moment."""
    _check_sharer(request)
    found = _shares(node).of(params.test_id)
    return _answer({"shares": [_shown(each) for each in found]})


async def unshare_test(node: Node, request: Request, params: UnshareTest) -> Answer:
    """Ends a link: whoever has opened it sees the run no longer."""
    _check_sharer(request)
    ended = await _shares(node).end(params.test_id, params.share_id)
    return _answer({"shareId": ended.share_id})._replace(about=ended.share_id)


async def open_share(node: Node, request: Request, params: OpenShare) -> Answer:
    """Takes the secret of a link, and gives the cookie that shows its run."""
    shares = _shares(node)
    _check_own_page(node, request)
    who: dict[str, Any] = {"address": address_of(node.config, request), "test_id": params.test_id}
    try:
        share, cookie = shares.open(params.test_id, params.secret)
    except NotFound as error:
        audit.refused("open share", error.code, subject="unknown", **who)
        raise
    audit.acted("open share", subject=f"share {share.share_id} of {share.by}", **who)
    surplus = shares.surplus(_cookies(node, request), share.test_id)
    answer = {"testId": share.test_id, "expiresAt": _ms(share.expires_at)}
    return _answer(answer, cookie, *map(clear_cookie, surplus))


# -- parts ------------------------------------------------------------------------------------------------------------


def _proofs(node: Node) -> ProofAccess:
    if node.proofs is None:
        raise BadInput("everybody may do everything here: this edge has no authentication", code="access_is_open")
    return node.proofs


def _shares(node: Node) -> Shares:
    shares = _proofs(node).shares
    if shares is None:
        raise _no_session_key()
    return shares


def _cookies(node: Node, request: Request) -> dict[str, str]:
    try:
        return own_cookies(proofs_of(node.config, request))
    except NotAuthenticated:
        return {}


def _no_session_key() -> BadInput:
    text = "this edge has no TESTCAST_ACCESS_SESSION_KEY_FILE, which signs cookies, tickets and share links"
    return BadInput(text, code="no_session_key")


def _check_own_page(node: Node, request: Request) -> None:
    """What sets a cookie is for this edge's own pages, over TLS: a browser would not keep it otherwise."""
    if is_foreign_page(node.config, request):
        text = "sign in and open links on this server's own pages, at an https address or at localhost: browsers keep "
        text += "its cookies nowhere else"
        raise BadInput(text, code="foreign_origin")


def _check_sharer(request: Request) -> None:
    if principal_of(request).expires_at is None:
        raise AccessDenied("only who has signed in may see and end share links")


def _session(node: Node, principal: Principal | None) -> dict[str, Any]:
    assert node.proofs is not None
    ways = [] if node.proofs.sessions is None else ["token"] if node.config.oidc is None else ["token", "oidc"]
    answer: dict[str, Any] = {"required": principal is None or principal.expires_at is not None, "ways": ways}
    if principal is None:
        return answer
    if principal.expires_at is not None:
        answer |= {"subject": principal.subject, "expiresAt": _ms(principal.expires_at)}
    answer["projects"] = "*" if principal.projects is None else sorted(principal.projects)
    answer["actions"] = sorted(each.value for each in principal.actions)
    return answer


def _shown(share: Share) -> dict[str, Any]:
    times = {"createdAt": _ms(share.created_at), "expiresAt": _ms(share.expires_at)}
    return {"shareId": share.share_id, "by": share.by, **times}


def _answer(answer: dict[str, Any], *cookies: str) -> Answer:
    return Answer(orjson.dumps(answer), cookies=cookies, cache_control="no-store")


def _ms(seconds: float) -> int:
    return int(seconds * 1000)


ACCESS_METHODS: Final[Mapping[str, Method]] = {
    "getSession": Method(None, NoParams, get_session, reads=True),
    "signIn": Method(None, SignIn, sign_in, reads=False),
    "signOut": Method(None, NoParams, sign_out, reads=False),
    "getTicket": Method(Action.WATCH, NoParams, get_ticket, reads=False),
    "shareTest": Method(Action.WATCH, ShareTest, share_test, reads=False),
    "listShares": Method(Action.WATCH, RunParams, list_shares, reads=True),
    "unshareTest": Method(Action.WATCH, UnshareTest, unshare_test, reads=False),
    "openShare": Method(None, OpenShare, open_share, reads=False),
    "revokeToken": Method(Action.ADMIN, RevokeToken, revoke_token, reads=False),
}
