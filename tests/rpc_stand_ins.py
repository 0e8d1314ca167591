"""An edge with access control in this process, and what calls its RPC as a browser does."""

from __future__ import annotations

from typing import Any, Final

import httpx
from starlette.types import Receive, Scope, Send

from broker.contract.projects import DEFAULT
from tests.access_stand_ins import SESSION_KEY, MemoryBucket, NamedTokens
from ws_edge.access import ALL_ACTIONS, Action, Principal
from ws_edge.access.proofs import ProofAccess
from ws_edge.access.records import Records
from ws_edge.api.app import make_app
from ws_edge.config import EdgeConfig
from ws_edge.node import Node
from ws_edge.origins import Origins

HOST: Final = "edge.example"
OWN: Final = f"https://{HOST}"
FRIEND: Final = "https://friend.example"
RUN: Final = "00000000-0000-4000-8000-000000000001"
FOREIGN_RUN: Final = "00000000-0000-4000-8000-000000000002"
LATER: Final = 4_000_000_000.0
ANN: Final = Principal("ann", frozenset({DEFAULT}), ALL_ACTIONS, expires_at=LATER, token_id="a1")
CONFIG: Final = EdgeConfig(allowed_origins=Origins([FRIEND]))


class Edge:
    """An edge in this process, whose broker is away and whose bucket is in memory."""

    def __init__(self, node: Node, config: EdgeConfig) -> None:
        self.node = node
        self.bucket = MemoryBucket()
        self.records = Records(self.bucket)
        self.records.filled = True
        self.tokens = NamedTokens(
            {
                "ann": ANN,
                "root": Principal("root", None, ALL_ACTIONS, expires_at=LATER, token_id="r1"),
                "publisher": ANN._replace(subject="publisher", actions=frozenset({Action.PUBLISH})),
            },
            projects={RUN: DEFAULT},
            elsewhere={FOREIGN_RUN: "red"},
        )
        node.access = node.proofs = ProofAccess(self.tokens, self.records, SESSION_KEY)
        self._app = make_app("", 1, config, lambda _: None)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app({**scope, "state": {"node": self.node}}, receive, send)


class Browser:
    """Sends what a page's script sends, with the cookies that were set."""

    def __init__(self, edge: Edge, origin: str | None = OWN, host: str = HOST) -> None:
        self._client = httpx.AsyncClient(transport=httpx.ASGITransport(edge), base_url=f"http://{host}")
        self._origin = origin
        self.cookies: dict[str, str] = {}

    async def __call__(self, method: str, /, headers: Any = None, **params: Any) -> httpx.Response:
        given = {"cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items())}
        if self._origin is not None:
            given["origin"] = self._origin
        if not self.cookies:
            del given["cookie"]
        answer = await self._client.post(f"/rpc/{method}", json=params, headers=given | (headers or {}))
        for each in answer.headers.get_list("set-cookie"):
            name, _, rest = each.partition("=")
            value, _, attributes = rest.partition("; ")
            assert attributes.endswith("; Path=/; Secure; HttpOnly; SameSite=Lax") and name.startswith("__Host-")
            self.cookies.pop(name, None)
            if value:
                self.cookies[name] = value
        return answer


def code_of(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}
