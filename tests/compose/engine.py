"""A container engine of the test's own, where none answers: Debian's dockerd, started here and gone afterwards."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import docker
import pytest
from docker.errors import DockerException

from broker.local.child_process import Child
from tests.compose.own_network import own_network
from tests.tools import debian_tool

_START_S: Final = 60
_TALK_S: Final = 600
"""For one answer of the engine: a build is one, and this machine may be busy."""


def answering() -> docker.DockerClient | None:
    """The engine that the environment names, None when none answers."""
    try:
        client = docker.from_env(timeout=_TALK_S)
        client.ping()
    except DockerException:
        return None
    return client


@contextmanager
def engine() -> Iterator[docker.DockerClient]:
    """A client of a container engine, which `DOCKER_HOST` names meanwhile.

    Raises:
        pytest.skip.Exception: none answers, and none can be started.
    """
    if (client := answering()) is not None:
        yield client
        return
    if os.geteuid() != 0:
        pytest.skip("no container engine answers, and only root can start one (Debian and Ubuntu: package docker.io)")
    dockerd = debian_tool("dockerd", "docker.io")
    for command in ("docker", "docker-compose"):  # nothing can be fetched from within
        debian_tool(command, "docker.io" if command == "docker" else None)
    with _apart(), tempfile.TemporaryDirectory(prefix="testcast-engine-", ignore_cleanup_errors=True) as folder:
        directory = Path(folder)
        process = _start(dockerd, directory)
        outside = os.environ.get("DOCKER_HOST")
        os.environ["DOCKER_HOST"] = f"unix://{directory}/docker.sock"
        try:
            yield _wait(process, directory)
        finally:
            if outside is None:
                del os.environ["DOCKER_HOST"]
            else:
                os.environ["DOCKER_HOST"] = outside
            _end(process, directory)


@contextmanager
def _apart() -> Iterator[None]:
    """`own_network`. Root of a container may make none, as a rule."""
    network = own_network()
    try:
        network.__enter__()
    except OSError as error:
        pytest.skip(f"no container engine answers, and this root cannot start one: {error.strerror}")
    try:
        yield
    finally:
        network.__exit__(None, None, None)


def _start(dockerd: str, directory: Path) -> Child:
    """No rules of iptables: containers reach each other and nothing else, and this machine stays as it is.

    An engine ends its containers when it is told to end, and it is also told when these tests are killed.
    """
    options = {
        "host": f"unix://{directory}/docker.sock",
        "data-root": str(directory / "data"),
        "exec-root": str(directory / "exec"),
        "pidfile": str(directory / "pid"),
        "storage-driver": "overlay2",
        "bridge": "none",
        "iptables": "false",
        "ip6tables": "false",
    }
    return Child([dockerd, *(f"--{name}={value}" for name, value in options.items())], directory / "log")


def _wait(process: Child, directory: Path) -> docker.DockerClient:
    deadline = time.monotonic() + _START_S
    while (client := answering()) is None:
        if process.exit_code is not None or time.monotonic() > deadline:
            pytest.skip(f"no container engine answers, and Debian's does not start here: {process.last_lines(1)}")
        time.sleep(0.1)
    return client


def _end(process: Child, directory: Path) -> None:
    """Whatever still runs in containers ends with the engine; its mounts and files go."""
    client = answering() if process.exit_code is None else None
    if client is not None:
        for container in client.containers.list(all=True):
            container.remove(force=True, v=True)
        client.networks.prune()
        client.close()
    asyncio.run(process.stop(60))
    for line in reversed(Path("/proc/self/mounts").read_text().splitlines()):
        if (mounted := line.split()[1]).startswith(f"{directory}/"):
            subprocess.run(["umount", "--lazy", mounted], check=False)
    shutil.rmtree(directory, ignore_errors=True)
