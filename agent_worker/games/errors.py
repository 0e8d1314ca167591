"""What can go wrong while a game is played, as one tree. The message of each says what to look at."""

from __future__ import annotations


class AgentError(Exception):
    """Base of the errors of this folder."""


class BrowserMissing(AgentError):
    """Chromium could not be started. The message says how to install it, or how to name another one."""


class LoadFailed(AgentError):
    """The game could not be opened: its address or its server is at fault.

    Attributes:
        code: `game_unreachable`, `http_<status>`, `load_timeout`, `not_html`, `tls_error` or `url_refused`.
        message: What happened and what to look at, for the person who gave the address.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class PageHung(AgentError):
    """The page's main thread did not answer in time: the game is at fault.

    Attributes:
        waited_s: For how long it was waited.
        while_doing: What was asked of the page.
    """

    def __init__(self, waited_s: float, while_doing: str) -> None:
        super().__init__(f"the page did not answer for {waited_s:g} s while {while_doing}")
        self.waited_s = waited_s
        self.while_doing = while_doing


class PageGone(AgentError):
    """The page's process or the whole browser is gone. The message says which."""


class TimeUp(AgentError):
    """The run's time ended while the page was waited for. Says nothing about the page."""


class DocumentLeft(AgentError):
    """The page went to another document of its own while its clock was moved. Its Stage goes on there."""
