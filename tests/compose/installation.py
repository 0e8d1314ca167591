"""docker-compose.yml, brought up with testcontainers, and what a test does to it."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import docker
from testcontainers.compose import DockerCompose

from tests.harness import free_port
from tests.tools import debian_tool

ROOT: Final = Path(__file__).resolve().parents[2]
PROJECT: Final = "testcast-test"
FILES: Final = ["docker-compose.yml"]
_MARK: Final = "it begins"
_TRIES: Final = 20


class _Compose(DockerCompose):
    """Compose 1, which is a command of its own, as Debian has it."""

    @property
    def compose_command_property(self) -> list[str]:
        """The command up to its first argument."""
        files = [part for file in self.compose_file_name or () for part in ("-f", file)]
        settings = [part for file in self.env_file or () for part in ("--env-file", file)]
        return [str(self.docker_command_path), *files, *settings]


def executed(container: Any, *command: str) -> tuple[int, str]:
    """Runs a command in a container: its exit status, and all that it printed. It may run more than once.

    docker-py loses what comes in one piece with the head of the engine's answer: it goes on reading below the buffer
    that has read the head. So the output begins with a mark, and without it the command is run again.
    """
    for _ in range(_TRIES):
        status, printed = container.exec_run(["sh", "-c", f'echo {_MARK}; exec "$@"', "sh", *command])
        whole = str(printed, errors="replace")
        if whole.startswith(f"{_MARK}\n"):
            return int(status), whole.removeprefix(f"{_MARK}\n")
    raise AssertionError(f"the engine has lost the output of {command[0]} {_TRIES} times")


class Installation:
    """The containers of one Compose project.

    Args:
        settings: what its file `.env` would say.
        env_file: where to write that.
    """

    def __init__(self, client: docker.DockerClient, settings: Mapping[str, str], env_file: Path) -> None:
        self._client = client
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.made_s = self.up_s = 0.0
        """How long its images took, and until its containers stood."""
        lines = {**settings, "TESTCAST_PORT": str(self.port), "COMPOSE_PROJECT_NAME": PROJECT}
        env_file.write_text("".join(f"{name}={value}\n" for name, value in lines.items()))
        self.compose = _Compose(
            ROOT,
            compose_file_name=FILES,
            env_file=str(env_file),
            wait=False,
            keep_volumes=False,
            docker_command_path=debian_tool("docker-compose"),
        )

    def command(self, *arguments: str) -> str:
        """Runs docker-compose and returns what it printed."""
        command = [*self.compose.compose_command_property, *arguments]
        return str(self.compose._run_command(command).stdout, errors="replace")

    def containers(self, service: str = "", *, ended: bool = False) -> list[Any]:
        """The containers of a service, or of all services, by name."""
        labels = [f"com.docker.compose.project={PROJECT}"]
        labels += [f"com.docker.compose.service={service}"] if service else []
        found = self._client.containers.list(all=ended, filters={"label": labels})
        return sorted(found, key=lambda each: str(each.name))

    def container(self, service: str) -> Any:
        """The first running container of a service."""
        return self.containers(service)[0]

    def leader(self, stream: str) -> str:
        """The service of the NATS server that leads a stream; empty while none does, or none is asked."""
        for service in ("nats-1", "nats-2", "nats-3"):
            for container in self.containers(service):
                address = "http://127.0.0.1:8222/jsz?accounts=1&streams=1"
                status, printed = executed(container, "wget", "-q", "-O", "-", address)
                accounts = json.loads(printed)["account_details"] if status == 0 else []
                for each in (stream for account in accounts for stream in account.get("stream_detail", [])):
                    if each["name"] == stream and each.get("cluster", {}).get("leader"):
                        return str(each["cluster"]["leader"])
        return ""


@contextmanager
def installed(client: docker.DockerClient, settings: Mapping[str, str], folder: Path) -> Iterator[Installation]:
    """An installation with four edges and without a first run, taken down with its volumes and networks."""
    installation = Installation(client, settings, folder / ".env")
    try:
        installation.command("up", "--detach", "--no-build", "--scale", "ws_edge=4", "--scale", "first_run=0")
        yield installation
    finally:
        installation.command("down", "--volumes", "--timeout", "5")


def compose_v2() -> str | None:
    """The path of Compose 2, where this machine has it."""
    own = Path("~/.docker/cli-plugins").expanduser()
    folders = ("/usr/libexec/docker/cli-plugins", "/usr/lib/docker/cli-plugins", str(own))
    return shutil.which("docker-compose", path=os.pathsep.join(folders))
