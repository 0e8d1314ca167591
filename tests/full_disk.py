"""A broker that runs out of room: a small disk of its own, or a small limit of its storage."""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Final

from broker import identity
from broker.contract import subjects
from broker.contract.errors import BrokerUnavailable, TestcastError
from broker.jetstream.api import Streams
from broker.jetstream.connection import Connection
from broker.local.child_process import Child
from broker.local.embedded_server import find_binary
from tests.harness import free_port, until

_CHUNK: Final = b"x" * 48 * 1024
_CONFIG: Final = """\
listen: 127.0.0.1:{port}
max_payload: 512KB
jetstream {{ store_dir: "{store}", max_file_store: {limit}, sync_interval: always }}
"""


class CannotMount(Exception):
    """No small disk can be made on this machine."""


@contextlib.contextmanager
def small_disk(directory: Path, mib: int = 16) -> Iterator[Path]:
    """A file system of this size at `directory`.

    Raises:
        CannotMount: this process may not mount one.
    """
    directory.mkdir(parents=True, exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={mib}m", "tmpfs", str(directory)]
    try:
        mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise CannotMount(str(error)) from None
    if mounted.returncode:
        raise CannotMount(mounted.stderr.strip())
    try:
        yield directory
    finally:
        subprocess.run(["umount", "-l", str(directory)], check=False)


def can_mount() -> bool:
    """Whether a small disk can be made on this machine."""
    with tempfile.TemporaryDirectory() as directory:
        try:
            with small_disk(Path(directory), 1):
                return True
        except CannotMount:
            return False


class Filler:
    """A file that takes all the room of a disk."""

    def __init__(self, directory: Path) -> None:
        self._file = directory / "filler"

    def fill(self) -> None:
        """Takes what is left."""
        with contextlib.suppress(OSError), self._file.open("ab", buffering=0) as file:
            while True:
                file.write(b"\0" * 4096)

    def clear(self) -> None:
        """Gives it back."""
        with contextlib.suppress(FileNotFoundError):
            self._file.unlink()


class SmallBroker:
    """A nats-server with JetStream in `store`, and a limit of its storage."""

    def __init__(self, directory: Path, store: Path, limit: str = "1G") -> None:
        self._port = free_port()
        self._config = directory / "small.conf"
        self._config.write_text(_CONFIG.format(port=self._port, store=store, limit=limit))
        self._log = directory / "small-broker.log"
        self.url = f"nats://127.0.0.1:{self._port}"
        self._child: Child

    def start(self) -> None:
        """Starts it, or starts it again."""
        self._child = Child([find_binary(), "-c", str(self._config)], self._log)

    async def stop(self) -> None:
        """Stops it."""
        await self._child.stop(5)


@contextlib.asynccontextmanager
async def running(broker: SmallBroker) -> AsyncIterator[Connection]:
    """The broker started, and a connection to it."""
    broker.start()
    try:
        nats = await Connection.connect(broker.url, name="test", timeout_s=20)
        try:
            yield nats
        finally:
            await nats.close()
    finally:
        await broker.stop()


async def write_until_refused(streams: Streams) -> tuple[TestcastError, str]:
    """Publishes large events until the broker takes no more. Returns the refusal, and the run that was written to."""
    test_id = identity.new_test_id()

    async def refused() -> TestcastError | None:
        try:
            await streams.store(subjects.events(test_id), _CHUNK, timeout_s=1.0)
        except BrokerUnavailable as error:
            return error
        return None

    return await until(refused, within_s=30, what="the broker refuses to store"), test_id
