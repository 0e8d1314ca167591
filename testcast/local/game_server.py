"""Serves the bundled demo game: the files of one directory."""

from __future__ import annotations

import functools
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources

from broker.contract.errors import BadInput
from broker.local.listening import reason, resolved


class _Handler(SimpleHTTPRequestHandler):
    def end_headers(self) -> None:
        self.send_header("Cache-Control", "no-store")
        super().end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Logs nothing."""


class _Server(ThreadingHTTPServer):
    """Its own class: the kind of address is an attribute of it."""


def serve(host: str, port: int) -> int:
    """Serves until the process is stopped.

    Raises:
        BadInput: it cannot listen on this address.
    """
    directory = str(resources.files("agent_worker") / "games" / "demo_game")
    try:
        family, address = resolved(host, port)
        _Server.address_family = family
        server = _Server(address[:2], functools.partial(_Handler, directory=directory))
    except OSError as error:
        raise BadInput(reason(host, port, error)) from None
    with server:
        server.serve_forever()
    return 0
