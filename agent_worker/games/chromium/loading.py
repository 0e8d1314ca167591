"""Why a game could not be opened, in words for the person who gave its address. Pure."""

from __future__ import annotations

from http import HTTPStatus
from urllib.parse import urlsplit

from agent_worker.games.chromium.egress_proxy import Trouble
from agent_worker.games.errors import LoadFailed

_PAGE_TYPES = ("text/html", "application/xhtml+xml", "image/svg+xml")


def origin(url: str) -> tuple[str, int | None]:
    """The host and port that a game has to stay on; `www.` and the step from http to https make no difference."""
    parts = urlsplit(url)
    port = None if parts.port in (80, 443) else parts.port
    return (parts.hostname or parts.scheme).removeprefix("www."), port


def explain_status(status: int, text: str, content_type: str | None) -> LoadFailed | None:
    """What is wrong with the status or content type of an answer, or None if it is a page."""
    if status >= 400:
        known = {each.value: each.phrase for each in HTTPStatus}
        phrase = text or known.get(status, "")
        named = f"{status} ({phrase})" if phrase else str(status)
        hint = "Is the address right?" if status < 500 else "The fault is on the game's server."
        return LoadFailed(f"http_{status}", f"The game's address answered {named}. {hint}")
    kind = (content_type or "text/html").partition(";")[0].strip().lower()
    if kind not in _PAGE_TYPES:
        return LoadFailed("not_html", f"The address answered with {kind}, not with a page.")
    return None


def explain_failure(
    url: str, error: str | None, trouble: Trouble | None, timeout_s: float, connected: bool = False
) -> LoadFailed:
    """Why a page could not be opened.

    Args:
        url: What was asked for.
        error: Chromium's message, or None when the time was up.
        trouble: The egress proxy's trouble with it, if any.
        timeout_s: How long it was waited for.
        connected: Whether the game's server took a connection.
    """
    parts = urlsplit(url)
    host = parts.hostname or url
    port = parts.port or (443 if parts.scheme == "https" else 80)
    if trouble:
        if trouble.code == "url_refused":
            redirected = "" if trouble.host == host else "The game's address redirects. "
            return LoadFailed("url_refused", f"{redirected}{trouble.message}")
        if trouble.code == "dns_not_found":
            return LoadFailed(
                "game_unreachable", f"The game's host was not found ({trouble.message}). Is the address right?"
            )
        if trouble.code == "bad_answer":
            return LoadFailed("game_unreachable", f"The game's answer cannot be read ({trouble.message}).")
        hint = f" Is it running on port {trouble.port}?" if trouble.code != "connection_lost" else ""
        return LoadFailed("game_unreachable", f"The game did not answer ({trouble.message}).{hint}")
    if error is None:
        what = "takes connections but sends nothing" if connected else "cannot be reached"
        return LoadFailed("load_timeout", f"The game did not answer within {timeout_s:g} s ({host}:{port} {what}).")
    if "ERR_CERT" in error or "ERR_SSL" in error:
        return LoadFailed("tls_error", f"The game's https connection cannot be trusted ({_net_code(error)}).")
    if "ERR_TOO_MANY_REDIRECTS" in error:
        return LoadFailed("game_unreachable", "The game's address redirects in a circle.")
    return LoadFailed("game_unreachable", f"The game could not be opened ({_net_code(error)}).")


def _net_code(error: str) -> str:
    start = error.find("net::")
    return error[start:].split()[0] if start >= 0 else error
