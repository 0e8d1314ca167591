"""What can go wrong while playing, as one tree."""

from __future__ import annotations


class AgentError(Exception):
    """Base of the errors of this package's playing part."""


class BrowserMissing(AgentError):
    """No Chromium could be started: the worker's host lacks something. The message says how to get it."""


class LoadFailed(AgentError):
    """The game could not be opened: the address or the game's server is at fault.

    Attributes:
        code: `game_unreachable`, `http_<status>`, `load_timeout`, `not_html`, `tls_error` or `url_refused`.
        message: What happened and what to look at, for the person who gave the address.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class PageHung(AgentError):
    """The page's main thread did not answer in time: the game's fault.

    Attributes:
        waited_s: For how long.
        while_doing: What was asked of it.
    """

    def __init__(self, waited_s: float, while_doing: str) -> None:
        super().__init__(f"the page did not answer for {waited_s:g} s while {while_doing}")
        self.waited_s = waited_s
        self.while_doing = while_doing


class PageGone(AgentError):
    """The page's process or the whole browser is gone. The message says which."""


class TimeUp(AgentError):
    """The run's time ended in the middle of waiting; that says nothing about the page."""
