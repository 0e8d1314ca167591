"""What a page reports while it is played, as candidates for findings. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final
from urllib.parse import urlsplit

from agent_worker.games.chromium.page_state import REJECTION, Incident
from agent_worker.games.findings.finding import Candidate, Kind, Severity, Sighting, cut, error_signature, with_inputs
from agent_worker.games.inputs import Inputs
from agent_worker.games.owned_time.trace import Happened

_KINDS: Final[dict[str, Kind]] = {
    "pageerror": "error",
    "console": "error",
    "request": "asset",
    "left": "left",
    "popup": "left",
}
"""Kinds of incidents that a person calls a fault; a dialog or a download is none."""
_NOT_NEEDED: Final = re.compile(
    r"favicon|apple-touch-icon|\.map(?:[?#]|$)|manifest\.json|\.webmanifest|robots\.txt|sw\.js|service-?worker", re.I
)
"""Files that a page can do without, or that only browsers and tools ask for."""
_STATUS: Final = re.compile(r": HTTP (\d{3})$")
_MISSING: Final = ("404", "410")
_SCRIPT: Final = re.compile(r"\.(?:m?js|wasm)(?:[?#:]|$)", re.I)


def candidates_of(
    happened: Iterable[tuple[int, Incident]], inputs: Inputs, game_url: str, until: int | None = None
) -> list[Candidate]:
    """What may be wrong, of what has happened while `inputs` were played; each once.

    Args:
        happened: Frames and incidents, oldest first.
        until: The frame at which each has shown at the latest; None: that at which it was reported.
    """
    found: dict[tuple[str, str], Candidate] = {}
    for frame, incident in happened:
        candidate = candidate_of(incident, game_url)
        if candidate is not None and candidate.key not in found:
            last = max(1, frame if until is None else until)
            found[candidate.key] = with_inputs(candidate, inputs.before(last), last)
    return list(found.values())


def candidate_of(incident: Incident, game_url: str) -> Candidate | None:
    """What may be wrong, of one incident; None: nothing, or it says nothing of the game."""
    kind = _KINDS.get(incident.kind)
    signature = signature_of(incident)
    if kind is None or (kind == "asset" and not _needed(incident.detail, game_url)):
        return None
    severity: Severity | None = None
    if incident.kind == "console":
        severity = "low"
    elif kind == "asset" and _SCRIPT.search(incident.detail):
        severity = "high"
    title = cut(_title(incident), 160)
    return Candidate(kind, title, signature=signature, detail=incident.detail, stack=incident.stack, severity=severity)


def in_incidents(happened: Sequence[Happened], kind: str, signature: str) -> Sighting | None:
    """The first incident of this kind and signature; one without a stack's frame is that of any frame, and
    an empty one of any incident of the kind."""
    for frame, incident in happened:
        if _KINDS.get(incident.kind) == kind and (not signature or signature in signatures_of(incident)):
            return Sighting(frame, incident.detail, incident.stack)
    return None


def signatures_of(incident: Incident) -> set[str]:
    """Its signature, with and without where it was thrown."""
    return {signature_of(incident), signature_of(replace(incident, stack=""))}


def signature_of(incident: Incident) -> str:
    """Equal for two incidents that are one fault."""
    if incident.kind == "pageerror":
        return error_signature(incident.detail, incident.stack)
    if incident.kind == "console":
        return f"console {error_signature(incident.detail)}"
    return f"{incident.kind} {incident.detail.partition('?')[0]}"


def _needed(detail: str, game_url: str) -> bool:
    """Whether a request that failed is a fault of the game: a file that its server, or another, does not have.

    A foreign host that cannot be reached from here says nothing of the game.
    """
    url = detail.split(" ")[0].removesuffix(":")
    if _NOT_NEEDED.search(url):
        return False
    status = _STATUS.search(detail)
    if urlsplit(url).netloc == urlsplit(game_url).netloc:
        return True
    return status is not None and status[1] in _MISSING


def _title(incident: Incident) -> str:
    text = incident.detail
    if incident.kind == "pageerror":
        in_promise = text.startswith(REJECTION)
        return f"Unhandled promise rejection: {text.removeprefix(REJECTION)}" if in_promise else f"Uncaught {text}"
    if incident.kind == "console":
        return f"Error on the console: {text}"
    if incident.kind == "request":
        return f"Missing file: {text}" if any(f"HTTP {code}" in text for code in _MISSING) else f"Request fails: {text}"
    return f"The page leaves for {text}" if incident.kind == "left" else f"The page opens a window: {text}"
