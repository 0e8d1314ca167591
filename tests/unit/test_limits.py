"""What one game may take (agent_worker/games/chromium/limits.py, processes.py, confinement.py)."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from playwright.async_api import TimeoutError as PlaywrightTimeoutError

from agent_worker.games.chromium import confinement
from agent_worker.games.chromium.browser import Browser
from agent_worker.games.chromium.confinement import (
    Place,
    Walls,
    Workshop,
    may_change_user,
    open_to_others,
    wanted_walls,
)
from agent_worker.games.chromium.limits import Limits, Usage
from agent_worker.games.chromium.processes import Process, Watch, end, measure, members, process, size_of
from agent_worker.games.errors import BrowserMissing
from tests.harness import until

MB = 1 << 20


@pytest.mark.parametrize(
    ("usage", "what"),
    [
        (Usage(100 * MB, 4, 64, 10 * MB), None),
        (Usage(memory_bytes=100 * MB + 1), "took more than 100 MB of memory"),
        (Usage(processes=5), "started more than 4 processes"),
        (Usage(threads=65), "started more than 64 threads"),
        (Usage(disk_bytes=10 * MB + 1), "wrote more than 10 MB to the disk"),
    ],
)
def test_what_is_beyond_a_limit(usage: Usage, what: str | None) -> None:
    assert Limits(100, 4, 10).exceeded(usage) == what


def test_the_kernel_keeps_bounds_too() -> None:
    bounds = Limits(100, 4, 10).of_the_kernel(own_user=True)
    assert bounds == {"RLIMIT_CORE": 0, "RLIMIT_DATA": 200 * MB, "RLIMIT_FSIZE": 10 * MB, "RLIMIT_NPROC": 64}
    assert "RLIMIT_NPROC" not in Limits().of_the_kernel(own_user=False)  # it would count the user's other programs


TREE = "import os, subprocess, sys, time; d = b'x' * 30_000_000; subprocess.Popen(sys.argv[1:]); time.sleep(1000)"


@pytest.fixture
def tree() -> Iterator[tuple[subprocess.Popen[bytes], Process]]:
    """A process with a child that has left its session, and a name that confuses readers of /proc."""
    child = [sys.executable, "-c", "import os, time; os.setsid(); print('up', flush=True); time.sleep(1000)"]
    command = [sys.executable, "-c", TREE, *child]
    with subprocess.Popen(command, start_new_session=True, stdout=subprocess.PIPE) as started:
        found = process(started.pid)
        assert started.stdout is not None
        assert started.stdout.readline() == b"up\n"  # a child that comes after the end of its tree would stay
        yield started, found
        end(found)


Tree = tuple[subprocess.Popen[bytes], Process]


async def test_a_tree_of_processes_is_measured_and_ended_as_a_whole(tree: Tree, tmp_path: Path) -> None:
    started, first = tree
    (tmp_path / "file").write_bytes(b"x" * MB)
    await until(lambda: measure(first, None).memory_bytes > 30_000_000 and len(members(first)) == 2)
    usage = measure(first, tmp_path)
    assert usage.processes == 2 and usage.threads == 2 and usage.disk_bytes >= MB
    assert os.getpid() not in members(first)
    child = process(members(first)[1])
    end(first)
    started.wait()
    await until(lambda: members(first) == [] and measure(first, None) == Usage())
    await until(lambda: members(child) == [])
    end(first)  # harmless


async def test_a_number_that_another_process_has_by_now_is_not_ended(tree: Tree) -> None:
    started, first = tree
    assert first.started > 0 and members(first)[0] == first.pid
    earlier = Process(first.pid, first.started - 1)
    assert members(earlier) == []
    end(earlier)
    assert started.poll() is None


async def test_a_watch_ends_what_takes_too_much(tree: Tree, tmp_path: Path) -> None:
    started, first = tree
    watch = Watch(first, tmp_path, Limits(memory_mb=20))
    watch.start()
    await until(lambda: watch.exceeded)
    assert watch.exceeded == "took more than 20 MB of memory" and watch.most.processes >= 1
    assert started.wait() == -9 and "took more" in repr(watch)
    watch.stop()


async def test_a_watch_that_is_stopped_looks_no_more(tmp_path: Path) -> None:
    looks: list[Path | None] = []

    def look(browser: Process, directory: Path | None) -> Usage:
        looks.append(directory)
        return Usage()

    watch = Watch(Process(2**30, 1), tmp_path, Limits(), look)
    watch.start()
    await until(lambda: len(looks) >= 2)
    watch.stop()
    watch._thread.join()
    assert looks[0] == tmp_path and looks[1] is None and watch.exceeded is None


def test_a_status_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "7").mkdir()
    assert process(7, tmp_path) == (7, 0)
    assert members(Process(7, 99), tmp_path) == [] and size_of(tmp_path / "none") == 0
    (tmp_path / "7" / "stat").write_text("7 (a) b) (c) S 1 7 7 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 99 0")
    assert process(7, tmp_path) == (7, 99)
    assert members(Process(7, 99), tmp_path) == [7]
    assert measure(Process(7, 99), None, tmp_path) == Usage(0, 1, 0, 0)


# -- walls ------------------------------------------------------------------------------------------------------------


def test_walls_are_given_up_one_by_one_and_never_the_user() -> None:
    tried = Walls().attempts()
    assert tried[0] == Walls() and tried[-1] == Walls(own_user=True, sandbox=False, own_network=False)
    assert len(tried) == 4 and all(each.own_user for each in tried)
    assert Walls(sandbox=False, own_network=False).attempts() == [Walls(sandbox=False, own_network=False)]
    assert Walls().describe() == "a user of its own, Chromium's sandbox, a network of its own"
    assert Walls(sandbox=False).describe().endswith("; without Chromium's sandbox")


@pytest.mark.parametrize(
    ("allowed", "expected"), [(False, None), (True, Walls(own_user=False, sandbox=False))], ids=["refused", "allowed"]
)
def test_root_that_cannot_become_another_user(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, allowed: bool, expected: Walls | None
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(confinement, "may_change_user", lambda: False)
    workshop = Workshop(tmp_path)
    if expected is None:
        with pytest.raises(BrowserMissing, match="TESTCAST_AGENT_ALLOW_ROOT=1"):
            wanted_walls("/bin/sh", workshop, allowed)
    else:
        assert wanted_walls("/bin/sh", workshop, allowed) == expected
    workshop.close()


def test_a_browser_that_only_root_can_run_is_not_run_as_root(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(confinement, "may_change_user", lambda: True)
    hidden = tmp_path / "hidden"
    hidden.mkdir(mode=0o700)
    (hidden / "chromium").write_text("#!/bin/sh\n")
    workshop = Workshop(tmp_path)
    with pytest.raises(BrowserMissing, match="no other user can run"):
        wanted_walls(str(hidden / "chromium"), workshop, False)
    workshop.close()


def test_another_user_runs_the_browser_of_a_worker_that_is_none_of_root(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert wanted_walls("/bin/sh", Workshop(tmp_path), False) == Walls(own_user=False)


def test_capabilities_decide_whether_root_may_become_another_user(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    status = tmp_path / "status"
    status.write_text("Name:\tx\nCapEff:\t00000000a80425fb\n")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert may_change_user(status)
    status.write_text("CapEff:\t0000000000000000\n")
    assert not may_change_user(status) and not may_change_user(tmp_path / "none")
    monkeypatch.setattr(os, "geteuid", lambda: 1)
    assert not may_change_user(status)


def test_a_file_is_open_to_others_when_every_folder_is(tmp_path: Path) -> None:
    assert open_to_others(Path("/bin/sh")) and not open_to_others(tmp_path / "none")
    (tmp_path / "file").write_text("")
    (tmp_path / "file").chmod(0o750)
    assert not open_to_others(tmp_path / "file")


def test_directories_of_workers_that_were_killed_are_removed(tmp_path: Path) -> None:
    killed = Workshop(tmp_path)
    os.close(killed._lock)  # as the kernel does
    other = tmp_path / "testcast-agent-made-by-hand"
    other.mkdir()
    (tmp_path / "testcast-agent-link").symlink_to(other)
    running = Workshop(tmp_path)
    assert not killed.path.exists() and running.path.exists() and other.exists()
    another = Workshop(tmp_path)
    assert running.path.exists()
    for each in (running, another):
        each.close()
        assert not each.path.exists()


def test_a_place_says_what_its_browser_is_told(tmp_path: Path) -> None:
    place = Place(tmp_path, own_user=False)
    environment = place.environment({"PATH": "/bin"})
    assert environment.keys() == {"PATH", "HOME", "TMPDIR", "XDG_CONFIG_HOME", "XDG_CACHE_HOME"}
    program = Path(place.program("/usr/bin/chromium", Walls(own_user=False), Limits()))
    assert os.access(program, os.X_OK) and "chromium" in program.read_text() and place.uid is None
    place.remove()
    assert not place.path.exists()
    with pytest.raises(OSError):
        place.receive()


def test_waiting_for_a_browser_that_does_not_start_ends_with_its_place(tmp_path: Path) -> None:
    place = Place(tmp_path, own_user=False)
    began = time.monotonic()
    threading.Timer(0.05, place.remove).start()
    with pytest.raises(OSError):
        place.receive()
    assert time.monotonic() - began < 15  # its own deadline is 20 s


class Launches:
    """Stands for `Browser._launch` on a machine where only some walls stand."""

    def __init__(self, stands: Callable[[Walls], bool], cause: Exception | None = None) -> None:
        self.stands = stands
        self.cause = cause
        self.tried: list[Walls] = []

    async def __call__(self, walls: Walls) -> object:
        self.tried.append(walls)
        if not self.stands(walls):
            raise BrowserMissing("it ended at once") from self.cause
        return SimpleNamespace(way_out=object() if walls.own_network else None)


@pytest.mark.parametrize(
    ("stands", "expected"),
    [
        (lambda walls: True, Walls()),
        (lambda walls: not walls.own_network, Walls(own_network=False)),
        (lambda walls: not walls.sandbox, Walls(sandbox=False)),
        (lambda walls: not walls.sandbox and not walls.own_network, Walls(sandbox=False, own_network=False)),
    ],
)
async def test_the_strongest_walls_that_stand(
    monkeypatch: pytest.MonkeyPatch, stands: Callable[[Walls], bool], expected: Walls
) -> None:
    browser, launches = Browser(), Launches(stands)
    monkeypatch.setattr(browser, "_launch", launches)
    await browser._first()
    assert browser.walls == expected == launches.tried[-1]


async def test_a_browser_that_never_starts_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    browser, launches = Browser(), Launches(lambda walls: False)
    monkeypatch.setattr(browser, "_launch", launches)
    with pytest.raises(BrowserMissing):
        await browser._first()
    assert len(launches.tried) == 4


async def test_a_slow_machine_takes_no_wall_down(monkeypatch: pytest.MonkeyPatch) -> None:
    browser, launches = Browser(), Launches(lambda walls: False, PlaywrightTimeoutError("30 s"))
    monkeypatch.setattr(browser, "_launch", launches)
    with pytest.raises(BrowserMissing):
        await browser._first()
    assert launches.tried == [Walls()]
