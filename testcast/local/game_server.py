"""Serves the bundled demo game: files from one folder, and nothing else."""

from __future__ import annotations

import functools
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources

from broker.contract.errors import BadInput


class _Handler(SimpleHTTPRequestHandler):
    def end_headers(self) -> None:
        self.send_header("Cache-Control", "no-store")
        super().end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing: who plays is told by the run."""


def serve(host: str, port: int) -> int:
    """Serves until it is stopped.

    Raises:
        BadInput: one cannot listen there.
    """
    folder = str(resources.files("agent_worker") / "games" / "demo_game")
    try:
        server = ThreadingHTTPServer((host, port), functools.partial(_Handler, directory=folder))
    except OSError as error:
        raise BadInput(f"cannot listen on {host}:{port}: {error.strerror}") from None
    with server:
        server.serve_forever()
    return 0
