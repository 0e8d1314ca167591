"""A real nginx in front of an edge, with directives of the test's own. `tests/proxies/` tries the recipe."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Self

import httpx

from broker.local.child_process import Child
from tests.harness import free_port, until
from tests.tools import debian_tool


class Nginx:
    """One nginx process. An async context manager.

    Args:
        directory: for its configuration, log and temporary files.
        server: the directives of its `server` block; `EDGE` stands for the edge's address, like `127.0.0.1:8000`.
        edge_port: the edge's port.

    Raises:
        pytest.skip.Exception: nginx is missing and cannot be installed.
    """

    def __init__(self, directory: Path, server: str, edge_port: int) -> None:
        self._tool = debian_tool("nginx")
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._directory = directory / f"nginx-{self.port}"
        self._directory.mkdir()
        temporary = " ".join(
            f"{kind}_temp_path {self._directory};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        self._config = self._directory / "nginx.conf"
        self._config.write_text(
            f"daemon off; master_process off; pid {self._directory}/pid; error_log {self._directory}/error.log;\n"
            f"events {{}}\nhttp {{ access_log off; {temporary}\n"
            f"upstream edge {{ server 127.0.0.1:{edge_port}; }}\n"
            f"server {{ listen 127.0.0.1:{self.port};\n{server}\n}} }}\n"
        )
        self._child: Child

    def __repr__(self) -> str:
        return f"<Nginx {self.port}>"

    async def __aenter__(self) -> Self:
        argv = [self._tool, "-c", str(self._config), "-p", str(self._directory), "-e", f"{self._directory}/error.log"]
        self._child = Child(argv, self._directory / "output.log")
        async with httpx.AsyncClient() as client:
            await until(lambda: self._answers(client), what=f"nginx; see {self._directory}")
        return self

    async def _answers(self, client: httpx.AsyncClient) -> bool:
        assert self._child.exit_code is None, self._child.last_lines(20)
        try:
            await client.get(f"{self.url}/not-there")
        except httpx.TransportError:
            return False
        return True

    async def __aexit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        await self._child.stop(5)
