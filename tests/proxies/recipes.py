"""The recipes of `deploy/proxies/`, run as they are: only the values on lines marked CHANGE are filled in."""

from __future__ import annotations

import asyncio
import itertools
import os
import re
import ssl
import subprocess
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NamedTuple

from broker.local.certificates import certify
from broker.local.child_process import Child
from broker.local.private_files import folder
from tests.harness import free_port, until
from tests.tools import debian_tool

FOLDER: Final = Path(__file__).parents[2] / "deploy" / "proxies"
FILES: Final = {"nginx": "nginx.conf", "haproxy": "haproxy.cfg", "caddy": "Caddyfile"}
NAMES: Final = tuple(FILES)
_MARK: Final = re.compile(r"\s# CHANGE$")
_MARK_BELOW: Final = "# CHANGE the line above"
"""`caddy fmt` lets no comment stand behind a brace."""


def filled(text: str, values: Mapping[str, str]) -> str:
    """Returns a recipe with the values of the marked lines replaced.

    Args:
        values: what a recipe says -> what takes its place.

    Raises:
        AssertionError: a marked line has none of the values, or a line that is not marked has one.
    """
    lines = []
    given = text.splitlines()
    for line, below in itertools.zip_longest(given, given[1:], fillvalue=""):
        found = [old for old in values if old in line]
        if _MARK.search(line) or below.strip() == _MARK_BELOW:
            assert found, f"a marked line that nothing was changed on: {line}"
            for old in found:
                line = line.replace(old, values[old])
        else:
            assert not found or line.lstrip().startswith("#"), f"to be changed, and not marked: {line}"
        lines.append(line)
    return "\n".join(lines) + "\n"


class Certificate(NamedTuple):
    """A certificate for `localhost`, and who signed it."""

    ca: Path
    chain: Path
    key: Path
    both: Path

    @classmethod
    def make(cls, directory: Path) -> Certificate:
        """Makes one below `directory`."""
        for each in (directory, directory / "ca", directory / "server"):
            folder(each)
        certify(directory / "ca", directory / "server", ["localhost"], datetime.now(UTC))
        chain, key, both = (
            directory / "server" / "server.pem",
            directory / "server" / "server.key",
            directory / "both.pem",
        )
        both.write_bytes(chain.read_bytes() + key.read_bytes())
        return cls(directory / "ca" / "ca.pem", chain, key, both)

    def context(self, *protocols: str) -> ssl.SSLContext:
        """For a client that offers these protocols (ALPN)."""
        context = ssl.create_default_context(cafile=str(self.ca))
        context.set_alpn_protocols(list(protocols or ("http/1.1",)))
        return context


class RecipeProxy:
    """One proxy with its recipe in front of two servers of this machine.

    Args:
        name: one of `NAMES`.
        directory: for its configuration and log.
        upstreams: the ports of the two.

    Raises:
        pytest.skip.Exception: the program is missing and cannot be installed.
    """

    def __init__(self, name: str, directory: Path, upstreams: Sequence[int], certificate: Certificate) -> None:
        self.name = name
        self.port, self.plain_port = free_port(), free_port()
        self.url = f"https://localhost:{self.port}/testcast"
        self.certificate = certificate
        self._tool = debian_tool(name)
        self._directory = directory / f"{name}-{self.port}"
        self._directory.mkdir()
        self._config = self._directory / FILES[name]
        text = filled((FOLDER / FILES[name]).read_text(), self._values(upstreams))
        if name == "nginx":  # its usual ones belong to root
            kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
            mine = "".join(f"{kind}_temp_path {self._directory}/{kind};\n" for kind in kinds)
            text = text.replace("http {\n", f"http {{\n{mine}", 1)
        self._config.write_text(text)
        self.log = self._directory / "output.log"
        self.child: Child

    def __repr__(self) -> str:
        return f"<RecipeProxy {self.name} {self.port}>"

    def _values(self, upstreams: Sequence[int]) -> dict[str, str]:
        first, second = (f"127.0.0.1:{port}" for port in upstreams)
        common = {"10.0.0.11:8000": first, "10.0.0.12:8000": second}
        given = self.certificate
        if self.name == "nginx":
            return common | {
                "rlimit_nofile 65536": "rlimit_nofile 4096",
                "worker_connections 30000": "worker_connections 2000",
                "listen 80": f"listen 127.0.0.1:{self.plain_port}",
                "listen 443": f"listen 127.0.0.1:{self.port}",
                "tests.example.org": "localhost",
                "/etc/ssl/testcast/fullchain.pem": str(given.chain),
                "/etc/ssl/testcast/privkey.pem": str(given.key),
            }
        if self.name == "haproxy":
            return common | {
                "maxconn 30000": "maxconn 2000",
                "testcast-once": f"testcast-test-{self.port}",
                "bind :80": f"bind 127.0.0.1:{self.plain_port}",
                "bind :443": f"bind 127.0.0.1:{self.port}",
                "tests.example.org": "localhost",
                "/etc/ssl/testcast/chain-and-key.pem": str(given.both),
            }
        return common | {
            "localhost:2019": f"127.0.0.1:{free_port()}",
            "http_port 80": f"http_port {self.plain_port}",
            "https_port 443": f"https_port {self.port}",
            "default_bind 0.0.0.0": "default_bind 127.0.0.1",
            "tests.example.org": "localhost",
            "/etc/ssl/testcast/fullchain.pem": str(given.chain),
            "/etc/ssl/testcast/privkey.pem": str(given.key),
        }

    def _argv(self) -> list[str]:
        config = str(self._config)
        if self.name == "nginx":
            main = f"daemon off; pid {self._directory}/pid; error_log stderr;"
            if os.geteuid() == 0:
                main += " user root;"  # the directory of a test is root's own
            return [self._tool, "-c", config, "-p", str(self._directory), "-e", "stderr", "-g", main]
        if self.name == "haproxy":
            return [self._tool, "-db", "-f", config]
        return [self._tool, "run", "--adapter", "caddyfile", "--config", config]

    def checked(self) -> str:
        """What the program says of the configuration, without starting it.

        Raises:
            AssertionError: it refuses it.
        """
        argv = self._argv()
        if self.name == "caddy":
            argv = [self._tool, "validate", *argv[2:]]
        else:
            argv = [*argv, "-t" if self.name == "nginx" else "-c"]
        done = subprocess.run(argv, capture_output=True, text=True, env=self._environment(), timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    def _environment(self) -> dict[str, str]:
        return {"HOME": str(self._directory), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "GOMAXPROCS": "1"}

    async def start(self) -> RecipeProxy:
        """Starts it and waits until it accepts connections."""
        self.child = Child(self._argv(), self.log, self._environment())
        await until(self._accepts, within_s=30, what=f"{self.name} accepts; its log: {self.log}")
        return self

    async def _accepts(self) -> bool:
        assert self.child.exit_code is None, self.child.last_lines(20)
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError:
            return False
        writer.close()
        return True

    async def stop(self) -> None:
        """Ends it."""
        await self.child.stop(5)

    async def connect(self, *protocols: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A TLS connection that offers these protocols, HTTP/1.1 by default."""
        context = self.certificate.context(*protocols)
        return await asyncio.open_connection("127.0.0.1", self.port, ssl=context, server_hostname="localhost")
