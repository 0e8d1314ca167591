"""The watch of an embedded broker's disk, with a disk that the test fills."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from broker.local.disk_watch import FULL_BYTES, ROOM_BYTES, DiskWatch


class Disk:
    """Free space, and a server that counts its restarts."""

    def __init__(self, directory: Path) -> None:
        self.free = 10 * ROOM_BYTES
        self.restarts = 0
        self.log = directory / "server.log"
        self.log.write_text("[INF] Server is ready\n[ERR] write: no space left on device, of an earlier life\n")
        self.watch = DiskWatch(directory, self.log, self.restart, lambda _path: self.free)

    async def restart(self) -> None:
        self.restarts += 1


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    return Disk(tmp_path)


async def test_a_disk_with_room_is_not_spoken_of(disk: Disk, caplog: pytest.LogCaptureFixture) -> None:
    await disk.watch.look()
    disk.free = ROOM_BYTES - 1
    await disk.watch.look()
    assert disk.watch.statistics() == (False, 0) and disk.restarts == 0 and not caplog.records


@pytest.mark.parametrize("sign", ["free", "write 1.blk: No space left on device", "critical write error: x", "quota"])
async def test_a_full_disk_is_named_once_and_the_server_restarted_with_room(
    disk: Disk, caplog: pytest.LogCaptureFixture, sign: str
) -> None:
    caplog.set_level(logging.WARNING)
    if sign == "free":
        disk.free = FULL_BYTES - 1
    else:
        disk.free = ROOM_BYTES - 1
        with disk.log.open("a") as log:
            log.write("[ERR] disk quota exceeded\n" if sign == "quota" else f"[ERR] {sign}\n")
    for _ in range(3):
        await disk.watch.look()
    assert disk.watch.statistics() == (True, 0) and disk.restarts == 0
    assert ["the broker's disk is full" in record.getMessage() for record in caplog.records] == [True]
    disk.free = ROOM_BYTES
    for _ in range(3):
        await disk.watch.look()
    assert disk.watch.statistics() == (False, 1) and disk.restarts == 1
    assert "has room again" in caplog.records[-1].getMessage()
