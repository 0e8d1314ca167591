"""What a webhook sends: the body by format, its signature, and when it is tried again. Pure.

Signatures and headers are those of Standard Webhooks (standardwebhooks.com), so that its libraries verify them.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import orjson

from broker.contract.moments import utc
from broker.contract.snapshot import Snapshot
from ws_edge.webhooks.settings import Webhook

if TYPE_CHECKING:
    import random

VERSION: Final = "v1"
_MAX_HEADER_CHARS: Final = 150
"""Of a header block: Slack refuses a longer one."""
_MAX_TEXT_CHARS: Final = 500
_MARKS: Final = {"completed": "✅", "failed": "❌", "cancelled": "⊘"}


def wants(webhook: Webhook, run: Snapshot) -> bool:
    """Whether the webhook is to be told of how the run stands."""
    allowed = webhook.projects is None or run.project in webhook.projects
    return run.ended and allowed and run.list_status in webhook.on


def ended_ms(run: Snapshot) -> int:
    """When a run has ended, by the broker's clock."""
    return run.finished_at or run.updated_at


def message_id(run: Snapshot) -> str:
    """Names the end of a run: whoever receives it twice can tell."""
    return f"{run.test_id}.{ended_ms(run)}"


def body(webhook: Webhook, run: Snapshot, page: str | None) -> bytes:
    """The message about a run that has ended. It is the same at every try."""
    return orjson.dumps(_slack(run, page) if webhook.form == "slack" else _testcast(run, page))


def headers(webhook: Webhook, name: str, content: bytes, now_s: int) -> dict[str, str]:
    """The headers of one try.

    Args:
        name: of the message: `message_id`.
        now_s: seconds since 1970; the receiver refuses a message that is minutes old.
    """
    made = {"content-type": "application/json", "webhook-id": name, "webhook-timestamp": str(now_s)}
    if webhook.secret is not None:
        made["webhook-signature"] = signature(webhook.secret, name, now_s, content)
    return made


def signature(secret: bytes, name: str, now_s: int, content: bytes) -> str:
    """The value of `webhook-signature`: HMAC-SHA256 over `<id>.<timestamp>.<body>`, in base64."""
    signed = f"{name}.{now_s}.".encode() + content
    return f"{VERSION},{base64.b64encode(hmac.digest(secret, signed, hashlib.sha256)).decode()}"


def pause_s(retry_s: Sequence[float], age_s: float, rng: random.Random) -> float | None:
    """How long to wait after a failure; None: it is given up.

    Tries have places in time, counted from the end of the run: one that came late, as after an edge's end, takes none
    of the others away.

    Args:
        retry_s: the pauses.
        age_s: how long ago the first try was due.
        rng: spreads tries that failed together by up to a tenth.
    """
    due_s = 0.0
    for each in retry_s:
        due_s += each
        if due_s - age_s >= each / 2:
            return (due_s - age_s) * (1 + rng.random() / 10)
    return None


def _testcast(run: Snapshot, page: str | None) -> dict[str, Any]:
    data = {
        "testId": run.test_id,
        "status": run.list_status,
        "score": run.score,
        "title": run.title,
        "gameUrl": run.game_url,
        "project": run.project,
        "labels": run.labels or {},
        "message": run.message,
        "error": run.error if run.status == "failed" else None,
        "errorCode": run.error_code if run.status == "failed" else None,
        "attempt": run.attempt,
        "createdAt": run.created_at,
        "startedAt": run.started_at,
        "finishedAt": ended_ms(run),
        "page": page,
    }
    kept = {name: value for name, value in data.items() if value is not None}
    return {"type": f"run.{run.list_status}", "timestamp": f"{utc(ended_ms(run)):%FT%T}Z", "data": kept}


def _slack(run: Snapshot, page: str | None) -> dict[str, Any]:
    """Texts of strangers stand in `plain_text`, where Slack finds neither mentions nor links."""
    how = run.list_status if run.score is None else f"{run.list_status}, score {run.score:g} of 100"
    head = f"{_MARKS.get(run.list_status, '')} {_cut(run.title, 90)}: {how}"
    blocks: list[dict[str, Any]] = [{"type": "header", "text": _plain(_cut(head, _MAX_HEADER_CHARS))}]
    if run.status == "failed" and (said := run.error or run.message):
        blocks.append({"type": "section", "text": _plain(_cut(said, _MAX_TEXT_CHARS))})
    if page is not None:
        blocks.append(
            {
                "type": "section",
                "text": {"type": "mrkdwn", "text": f"<{_escaped(page).replace('|', '%7C')}|Open the run>"},
            }
        )
    facts = [run.game_url, run.project, *(f"{name}={value}" for name, value in (run.labels or {}).items())]
    said = " · ".join(each for each in facts if each)
    if said:
        blocks.append({"type": "context", "elements": [_plain(_cut(said, _MAX_TEXT_CHARS))]})
    return {"text": _escaped(head), "blocks": blocks, "unfurl_links": False}


def _plain(text: str) -> dict[str, Any]:
    return {"type": "plain_text", "text": text, "emoji": False}


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def _escaped(text: str) -> str:
    """Slack's three characters: without them no mention, link or command begins."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
